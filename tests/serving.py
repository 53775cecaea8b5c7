"""A server process for tests that need a real connection: `runglass serve` on a port of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
ADDRESS = re.compile(r"http://127\.0\.0\.1:(\d+)")


class Server(NamedTuple):
    """Where a server answers, and the number of its process."""

    address: str
    process: int


@contextmanager
def serving(dsn: str, *options: str, **settings: str) -> Iterator[Server]:
    """A server on a database; `settings` are variables such as RUNGLASS_POOL_MAX_SIZE."""
    environment = {**os.environ, "DATABASE_URL": dsn, "PORT": "0", "RUNGLASS_HOST": "127.0.0.1", **settings}
    command = [sys.executable, "-m", "graph", "serve", *options]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        yield Server(f"http://127.0.0.1:{_port(process)}", process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def _port(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if found := ADDRESS.search(line):
            return found[1]
    raise RuntimeError("the server did not start")
