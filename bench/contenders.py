"""The servers that are compared: how each is installed, started, asked and stopped.

Each is one process on loopback, on the same PostgreSQL over the same unix socket, with as many connections.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench.statements import write_peer_statements
from bench.store import ROOT, python_of
from web.build import find_node

PEERS = ROOT / "bench" / "peers"
TITLES = {
    "runglass": "Runglass",
    "mercurius": "mercurius",
    "bun": "Bun",
    "plain": "plain Strawberry",
    "tree": "the other checkout",
}
POOL_SIZE = 10  # the product's default
START_SECONDS = 30
INSTALL_SECONDS = 300


class ContenderError(Exception):
    """A contender cannot be installed, started or asked; the message is one line."""


@dataclass
class Contender:
    """A server that runs, on a database (`dsn`), asked with these headers."""

    name: str
    dsn: str
    port: int
    headers: Mapping[str, str]
    process: subprocess.Popen[bytes]
    log: Path

    def ask(self, body: str) -> Any:
        """The data of one answer. Raises ContenderError where there is none, or errors beside it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/graphql", body, dict(self.headers))
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ContenderError(f"{TITLES[self.name]} does not answer: {error!r}") from error
        finally:
            connection.close()
        if response.status != 200 or answer.get("errors") or not answer.get("data"):
            raise ContenderError(f"{TITLES[self.name]} answers {response.status}: {str(answer)[:300]}")
        return answer["data"]

    def processor_seconds(self) -> tuple[float, float]:
        """What its process and all of PostgreSQL have taken so far, together on all cores."""
        with psycopg.connect(self.dsn) as connection:
            postmaster = psutil.Process(connection.info.backend_pid).parent()
        assert postmaster
        return _seconds(psutil.Process(self.process.pid)), sum(map(_seconds, postmaster.children()))

    def resident_mib(self) -> float:
        """The memory that the process holds (RSS), in MiB."""
        return psutil.Process(self.process.pid).memory_info().rss / 2**20


def _seconds(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return times.user + times.system
    return 0.0


def sign_in(environment: Mapping[str, str], tree: Path = ROOT) -> dict[str, str]:
    """The headers of a caller that sees every site and text, and may change them."""
    command = [python_of(tree), "-m", "graph", "key", "create", "--name", "bench", "--role", "operator"]
    made = subprocess.run(
        [*command, "--all-sites", "--texts"],
        cwd=tree,
        env=os.environ | dict(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if made.returncode:
        raise ContenderError(f"no key could be made: {' '.join(made.stderr.split())[:200]}")
    key = made.stdout.strip()
    json_type = "application/json"
    return {"content-type": json_type, "accept": json_type, "authorization": f"Bearer {key}"}


@contextmanager
def running(
    name: str, dsn: str, headers: Mapping[str, str], folder: Path, tree: Path = ROOT
) -> Iterator[Contender]:
    """A contender that answers, until the block ends."""
    port = free_port()
    if name in ("mercurius", "bun"):
        command = [_bun() if name == "bun" else find_node()[0], str(PEERS / f"{name}.js")]
        environment = _peer_environment(dsn, port, folder)
    else:
        command = [python_of(tree), "-m", "graph", "serve", "--host", "127.0.0.1", "--port", str(port)]
        environment = {"DATABASE_URL": dsn, "RUNGLASS_DRAIN_TIMEOUT": "0"}
        environment |= {"RUNGLASS_FAST_PATHS": "off"} if name == "plain" else {}
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=tree,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        contender = Contender(name, dsn, port, headers, process, log)
        _await_port(contender)
        yield contender
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        if process.poll() is None:
            process.kill()
            process.wait()


def install_peers() -> None:
    """Install the pinned packages of npm where that is not done yet. Raises BuildFailed or ContenderError."""
    node, npm = find_node()
    stamp = PEERS / "node_modules" / ".package-lock.json"
    if stamp.is_file() and stamp.stat().st_mtime >= (PEERS / "package-lock.json").stat().st_mtime:
        return
    path = f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        done = subprocess.run(
            [*([node, npm] if npm.endswith(".js") else [npm]), "ci", "--loglevel=error"],
            cwd=PEERS,
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


def _bun() -> str:
    # Where the npm package of Bun has its binary before its install script, which is not run, links it.
    for program in sorted((PEERS / "node_modules" / "@oven").glob("bun-*/bin/bun*")):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run([program, "--version"], capture_output=True, check=True, timeout=60)
            return str(program)
    raise ContenderError("npm has no Bun for this machine")


def _peer_environment(dsn: str, port: int, folder: Path) -> dict[str, str]:
    statements = folder / "statements.json"
    write_peer_statements(statements)
    parts = conninfo_to_dict(dsn)
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
    return {
        "NODE_ENV": "production",
        "PORT": str(port),
        "POOL_SIZE": str(POOL_SIZE),
        "SCHEMA": str(ROOT / "schema.graphql"),
        "STATEMENTS": str(statements),
        **{variable: str(parts[part]) for variable, part in names.items()},
    }


def _await_port(contender: Contender) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and contender.process.poll() is None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", contender.port), timeout=1),
        ):
            return
        time.sleep(0.05)
    words = " ".join(contender.log.read_text(errors="replace").split())[-400:]
    raise ContenderError(f"{TITLES[contender.name]} did not start: {words}")
