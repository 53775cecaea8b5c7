"""Measure how soon the server is there: importing it, and `runglass serve` until its first answer.

    python -m bench.start [--rounds N] [--data-dir DIR]

Prints medians in seconds, with the processor's time of the process beside the wall's: on a busy machine the
former says more. PostgreSQL's processes do not count there. What is imported has been compiled before, and
what is served has been started once before. The first answer is that to a signed-in query over HTTP; its
caller tries to connect every 2 milliseconds.
"""

from __future__ import annotations

import argparse
import http.client
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from bench.contenders import START_SECONDS, ContenderError, free_port, sign_in
from bench.store import ROOT, SCRATCH
from db.embedded import server as embedded
from db.embedded.server import EmbeddedServerError, exit_on_termination

QUERY = b'{"query":"{ runLogs(first: 20) { edges { node { id status } } } }"}'
IMPORT = """
from time import perf_counter, process_time
wall, cpu = perf_counter(), process_time()
import graph.app
print(perf_counter() - wall, process_time() - cpu)
"""
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


class Took(NamedTuple):
    """Seconds of the wall's clock, and of the processor for this one process."""

    wall: float
    cpu: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 when it is done, 1 with one line when it cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.start", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rounds", type=int, default=7, help="starts of each kind")
    parser.add_argument("--data-dir", type=Path, help="keep the database here, to use it again")
    options = parser.parse_args(arguments)
    exit_on_termination()
    try:
        _measure(options.rounds, options.data_dir)
    except (ContenderError, EmbeddedServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _measure(rounds: int, data_dir: Path | None) -> None:
    with _bytecode() as environment, _folder(data_dir) as folder:
        _report("import graph.app", rounds, lambda: import_app(environment))
        environment |= {"RUNGLASS_DATA_DIR": str(folder), "RUNGLASS_HOST": "127.0.0.1"}
        environment.pop("DATABASE_URL", None)
        headers = sign_in(environment)
        _report("serve, embedded", rounds, lambda: first_answer(environment, headers))
        with embedded.start(folder) as server:
            given = environment | {"DATABASE_URL": server.dsn()}
            _report("serve, DATABASE_URL", rounds, lambda: first_answer(given, headers))


def _report(name: str, rounds: int, measure: Callable[[], Took]) -> None:
    measure()  # The first one fills caches.
    taken = [measure() for _ in range(rounds)]
    walls, cpus = [took.wall for took in taken], [took.cpu for took in taken]
    print(
        f"{name:20} {statistics.median(walls):.2f} s ({min(walls):.2f} to {max(walls):.2f}), "
        f"processor {statistics.median(cpus):.2f} s ({min(cpus):.2f} to {max(cpus):.2f})",
        flush=True,
    )


def import_app(environment: Mapping[str, str]) -> Took:
    """What importing the application takes a new process, without Python's own start and end."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ContenderError(f"the application cannot be imported: {done.stderr.strip()[-200:]}")
    wall, cpu = map(float, done.stdout.split())
    return Took(wall, cpu)


def first_answer(environment: Mapping[str, str], headers: Mapping[str, str]) -> Took:
    """What `runglass serve` took from its start until it had answered its first query."""
    port = free_port()
    command = [sys.executable, "-m", "graph", "serve", "--port", str(port)]
    environment = {**environment, "RUNGLASS_DRAIN_TIMEOUT": "0"}
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        _ask(process, port, headers, started + START_SECONDS)
        return Took(time.perf_counter() - started, _cpu_seconds(process.pid))
    finally:
        process.terminate()
        process.communicate(timeout=START_SECONDS)


def _ask(process: subprocess.Popen[str], port: int, headers: Mapping[str, str], deadline: float) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    while True:
        try:
            connection.connect()
            break
        except ConnectionRefusedError:
            if process.poll() is not None or time.perf_counter() > deadline:
                raise ContenderError("the server did not start") from None
            time.sleep(0.002)
    connection.request("POST", "/graphql", QUERY, dict(headers))
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200 or b'"errors"' in body:
        raise ContenderError(f"the server answers {response.status}: {body[:200]!r}")


def _cpu_seconds(pid: int) -> float:
    """User and system time of a process that runs, without that of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


@contextmanager
def _bytecode() -> Iterator[dict[str, str]]:
    """The environment of an installed package, whose modules are compiled once and not with each start."""
    with tempfile.TemporaryDirectory(prefix="runglass-bench-") as folder:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        yield environment


@contextmanager
def _folder(data_dir: Path | None) -> Iterator[Path]:
    if data_dir:
        yield data_dir
        return
    folder = Path(tempfile.mkdtemp(prefix="runglass-bench-", dir=SCRATCH))
    folder.chmod(0o711)  # as root, another account runs PostgreSQL and has to reach its folder
    try:
        yield folder / "store"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
