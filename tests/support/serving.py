"""A server process for tests that need a real connection: `runglass serve` on a port of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Server(NamedTuple):
    """Where a server answers, and the number of its process."""

    address: str
    process: int


@contextmanager
def serving(
    dsn: str, *options: str, log: Path | None = None, root: Path = ROOT, **settings: str
) -> Iterator[Server]:
    """A server on a database; `settings` are variables such as RUNGLASS_POOL_MAX_SIZE.

    What it logs goes to `log`, where one is given; `root` is where its code is. It stops without a
    time for draining.
    """
    environment = {**os.environ, "DATABASE_URL": dsn, "PORT": "0", "RUNGLASS_HOST": "127.0.0.1"}
    environment |= {"RUNGLASS_DRAIN_TIMEOUT": "0", **settings}
    command = [sys.executable, "-m", "graph", "serve", *options]
    with log.open("w") if log else nullcontext() as errors:
        process = subprocess.Popen(
            command,
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # Under nohup it would be ignored, and a server respects that.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
        )
        try:
            yield Server(f"http://127.0.0.1:{_port(process)}", process.pid)
        finally:
            process.terminate()
            process.communicate(timeout=40)


def _port(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := ADDRESS.search(line):
            return found[1]
    raise RuntimeError("the server did not start")
