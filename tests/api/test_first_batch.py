"""docs/first-batch.md, followed step by step on `runglass serve --demo` by a shell that only has HTTP."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

DEADLINE = 30.0
LONGEST = 150.0

# Fields whose values differ from one run of the page to the next; their types do not.
VARYING = {
    "id",
    "estimatedTokens",
    "tokensUsed",
    "used",
    "requested",
    "resetsAt",
    "finishedAt",
    "tokens",
    "runningJobs",
    "cancelledJobs",
    "exceededBudgets",
}

# Where a machine has no curl: as much of it as the page uses.
CURL = """#!{python}
import sys, urllib.request
headers, url, arguments = {{}}, "", iter(sys.argv[1:])
for argument in arguments:
    if argument == "-H":
        name, _, headers[name] = next(arguments).partition(": ")
    elif argument == "-d":
        assert next(arguments) == "@-"
    elif argument != "-s":
        url = argument
request = urllib.request.Request(url, sys.stdin.buffer.read(), headers)
print(urllib.request.urlopen(request, timeout=30).read().decode())
"""


class Step(NamedTuple):
    """A block of the page for the shell, and the answer that is shown below it, if any."""

    code: str
    shown: Any

    def is_answered_by(self, text: str) -> bool:
        """Whether this is the answer that the page shows."""
        return self.shown is None or _agrees(self.shown, json.loads(text))


def _agrees(shown: Any, given: Any, field: str = "") -> bool:
    if type(shown) is not type(given):
        return False
    if field in VARYING:
        return True
    if isinstance(shown, dict):
        return shown.keys() == given.keys() and all(_agrees(shown[key], given[key], key) for key in shown)
    if isinstance(shown, list):
        return len(shown) == len(given) and all(map(_agrees, shown, given))
    return shown == given


def steps_of(page: str) -> list[Step]:
    """The page's blocks in order."""
    blocks = re.findall(r"```(sh|json)\n(.*?)```", page, re.DOTALL)
    following = [*blocks[1:], ("", "")]
    return [
        Step(code, json.loads(after) if language == "json" else None)
        for (kind, code), (language, after) in zip(blocks, following, strict=True)
        if kind == "sh"
    ]


class Shell:
    """One shell that runs the blocks one after the other, and ends when a command of them fails."""

    def __init__(self, folder: Path) -> None:
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        self._process = subprocess.Popen(
            ["bash", "-euo", "pipefail"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PATH": path},
        )
        self._limit = threading.Timer(LONGEST, self._process.kill)
        self._limit.start()

    def run(self, code: str) -> str:
        """What a block prints."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{code}\necho '# end'\n")
        self._process.stdin.flush()
        lines: list[str] = []
        for line in self._process.stdout:
            if line == "# end\n":
                return "".join(lines)
            lines.append(line)
        raise AssertionError(f"this step ended the shell:\n{code}\n{''.join(lines)}")

    def close(self) -> None:
        """End it."""
        self._limit.cancel()
        self._process.kill()
        self._process.communicate()


@contextmanager
def shell_in(folder: Path, *, has_curl: bool) -> Iterator[Shell]:
    """A shell whose curl is the machine's own or the one of this module."""
    if not has_curl:
        curl = folder / "curl"
        curl.write_text(CURL.format(python=sys.executable))
        curl.chmod(0o755)
    shell = Shell(folder)
    try:
        yield shell
    finally:
        shell.close()


@pytest.fixture(scope="module")
def page(module_dsn: str) -> Iterator[str]:
    """The page with the address and the key of a server that was started as it says."""
    environment = {**os.environ, "DATABASE_URL": module_dsn, "RUNGLASS_HOST": "127.0.0.1", "PORT": "0"}
    environment.pop("RUNGLASS_APPS_FILE", None)
    environment["RUNGLASS_DRAIN_TIMEOUT"] = "0"
    root = Path(__file__).parents[2]
    server = subprocess.Popen(
        [sys.executable, "-m", "graph", "serve", "--demo"],
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout
        # The key is on the last line that it prints.
        said = ""
        while "rg_" not in said:
            line = server.stdout.readline()
            assert line, f"the server ended: {said}"
            said += line
        url, key = re.search(r"http://[\d.:]+", said), re.search(r"rg_\S+", said)
        assert url
        assert key
        text = (root / "docs" / "first-batch.md").read_text(encoding="utf-8")
        yield text.replace("http://127.0.0.1:8000", url[0]).replace("rg_…", key[0])
    finally:
        server.terminate()
        server.communicate(timeout=60)


def follow(shell: Shell, step: Step) -> None:
    """Take a step. One that only reads is taken again until it answers what the page shows."""
    end = time.monotonic() + DEADLINE
    while not step.is_answered_by(text := shell.run(step.code)):
        may_repeat = "mutation" not in step.code and '"errors"' not in text and time.monotonic() < end
        assert may_repeat, f"{step.code}\n{text}"
        time.sleep(0.1)


def test_every_step_answers_as_the_page_says(page: str, tmp_path: Path) -> None:
    steps = steps_of(page)
    assert sum(step.shown is not None for step in steps) == page.count("```json") > 12
    with shell_in(tmp_path, has_curl=shutil.which("curl") is not None) as shell:
        for step in steps:
            follow(shell, step)


def test_a_machine_without_curl_can_follow_it_as_well(page: str, tmp_path: Path) -> None:
    with shell_in(tmp_path, has_curl=False) as shell:
        for step in steps_of(page)[:3]:
            follow(shell, step)
