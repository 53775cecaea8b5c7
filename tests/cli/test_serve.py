"""`runglass serve --demo`, started as a newcomer starts it, twice, and ended by Ctrl-C."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest


@pytest.fixture
def data_dir() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="runglass-serve-", dir="/var/tmp"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(data_dir: Path) -> list[str]:
    """The command lines of processes that name the folder."""
    lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in lines.splitlines() if str(data_dir) in line]


def serve(data_dir: Path) -> tuple[subprocess.Popen[str], str]:
    """The server in a process group of its own, as a terminal starts it, and the address it prints."""
    command = [sys.executable, "-m", "graph", "serve", "--demo", "--port", "0", "--data-dir", str(data_dir)]
    server = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            return server, found[0]
    raise AssertionError("the server ended without an address")


def test_it_starts_twice_and_ctrl_c_leaves_no_process(data_dir: Path) -> None:
    for _ in range(2):
        server, address = serve(data_dir)
        try:
            assert httpx.get(f"{address}/healthz", timeout=30).json() == {"status": "ok"}
            assert httpx.get(f"{address}/readyz", timeout=30).status_code == 200
            refused = httpx.post(f"{address}/graphql", json={"query": "{ viewer { name } }"}, timeout=30)
            assert refused.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
        finally:
            os.killpg(server.pid, signal.SIGINT)
            server.communicate(timeout=60)
        assert processes_of(data_dir) == []
