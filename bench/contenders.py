"""The servers that are compared: how each is installed, started, asked and stopped.

Each is one process on loopback, on the same database over the same unix socket, with a pool of the same size.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from bench.cases import Case
from bench.statements import write_peer_statements

ROOT = Path(__file__).resolve().parent.parent
MERCURIUS = ROOT / "bench" / "peers" / "mercurius"
PLAIN = ROOT / "bench" / "peers" / "plain_strawberry.py"
POOL_SIZE = 10  # the product's default
START_SECONDS = 30
INSTALL_SECONDS = 300


class ContenderError(Exception):
    """A contender cannot be installed, started or asked; the message is one line."""


@dataclass
class Contender:
    """A server that runs. `title` names it in the report."""

    name: str
    title: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    headers: Mapping[str, str] = field(default_factory=dict)

    def ask(self, case: Case) -> Any:
        """The data of one answer. Raises ContenderError where there is none, or errors beside it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/graphql", case.body, request_headers(self.headers))
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ContenderError(f"{self.title} does not answer: {error!r}") from error
        finally:
            connection.close()
        if response.status != 200 or answer.get("errors") or not answer.get("data"):
            raise ContenderError(f"{self.title} answers {response.status}: {str(answer)[:300]}")
        return answer["data"]

    def last_words(self) -> str:
        """The end of what it has written, on one line."""
        return " ".join(self.log.read_text(errors="replace").split())[-400:]

    def resident_kib(self) -> int:
        """The memory that the process holds (RSS), in KiB."""
        shown = subprocess.run(
            ["ps", "-o", "rss=", "-p", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return int(shown.stdout)


@contextmanager
def stopped(idle: Sequence[Contender]) -> Iterator[None]:
    """Keep servers from running in the round of another: V8 collects garbage for seconds after its own."""
    for contender in idle:
        contender.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for contender in idle:
            contender.process.send_signal(signal.SIGCONT)


def request_headers(extra: Mapping[str, str]) -> dict[str, str]:
    """The headers of every request, the same for each contender but for its sign-in."""
    return {"content-type": "application/json", "accept": "application/json", **extra}


@contextmanager
def runglass(dsn: str, folder: Path) -> Iterator[Contender]:
    """The product as `runglass serve` starts it, with the settings it has by itself."""
    port = free_port()
    command = [sys.executable, "-m", "graph", "serve", "--host", "127.0.0.1", "--port", str(port)]
    environment = {"DATABASE_URL": dsn, "RUNGLASS_DRAIN_TIMEOUT": "0"}
    headers = sign_in(environment)
    with _running("runglass", "Runglass", port, command, environment, folder, headers) as contender:
        yield contender


def sign_in(environment: Mapping[str, str]) -> dict[str, str]:
    """The headers of a caller that sees every site; none while the product has no command to make a key."""
    command = [sys.executable, "-m", "graph", "key", "create", "--name", "bench", "--role", "viewer"]
    made = subprocess.run(
        [*command, "--all-sites"],
        cwd=ROOT,
        env=os.environ | dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if made.returncode == 2 and "No such command" in made.stderr:
        return {}
    if made.returncode:
        raise ContenderError(f"no key could be made: {' '.join(made.stderr.split())[:200]}")
    return {"authorization": f"Bearer {made.stdout.strip()}"}


@contextmanager
def mercurius(dsn: str, folder: Path, node: str) -> Iterator[Contender]:
    """mercurius with graphql-jit on fastify, resolvers by hand on pg."""
    port = free_port()
    parts = conninfo_to_dict(dsn)
    environment = {
        **_peer_environment(port, folder),
        "NODE_ENV": "production",
        "PGHOST": str(parts["host"]),
        "PGPORT": str(parts["port"]),
        "PGUSER": str(parts["user"]),
        "PGDATABASE": str(parts["dbname"]),
    }
    command = [node, str(MERCURIUS / "server.js")]
    with _running("mercurius", "mercurius + jit", port, command, environment, folder) as contender:
        yield contender


@contextmanager
def plain_strawberry(dsn: str, folder: Path) -> Iterator[Contender]:
    """Strawberry on its own ASGI view under uvicorn, with its parser and validation caches."""
    port = free_port()
    environment = {**_peer_environment(port, folder), "DATABASE_URL": dsn}
    command = [sys.executable, str(PLAIN)]
    with _running("plain", "plain Strawberry", port, command, environment, folder) as contender:
        yield contender


def install_mercurius(node: str, npm: list[str]) -> None:
    """Install the pinned packages where that is not done yet."""
    stamp = MERCURIUS / "node_modules" / ".package-lock.json"
    lock = MERCURIUS / "package-lock.json"
    if stamp.is_file() and stamp.stat().st_mtime >= lock.stat().st_mtime:
        return
    path = f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(
            [*npm, "ci", "--loglevel=error"],
            cwd=MERCURIUS,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ContenderError(f"npm ci failed: {type(error).__name__}") from error
    if done.returncode:
        raise ContenderError(f"npm ci failed with exit code {done.returncode}")


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _peer_environment(port: int, folder: Path) -> dict[str, str]:
    statements = folder / "statements.json"
    write_peer_statements(statements)
    return {"PORT": str(port), "POOL_SIZE": str(POOL_SIZE), "STATEMENTS": str(statements)}


@contextmanager
def _running(
    name: str,
    title: str,
    port: int,
    command: list[str],
    environment: Mapping[str, str],
    folder: Path,
    headers: Mapping[str, str] | None = None,
) -> Iterator[Contender]:
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        contender = Contender(name, title, port, process, log, headers or {})
        _await_port(contender)
        yield contender
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        if process.poll() is None:
            process.kill()
            process.wait()


def _await_port(contender: Contender) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and contender.process.poll() is None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", contender.port), timeout=1),
        ):
            return
        time.sleep(0.05)
    raise ContenderError(f"{contender.title} did not start: {contender.last_words()}")
