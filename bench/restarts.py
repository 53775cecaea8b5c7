"""What is left of batches when PostgreSQL crashes and starts again while workers are in the middle of them.

    PYTHONPATH=. python bench/restarts.py [--restarts 20] [--jobs 300] [--workers 2]

Starts a PostgreSQL of its own, durable as in production, workers, and an app that takes 50 ms. For each
restart (`pg_ctl restart -m immediate`) it prints how many jobs have not ended, how many failed, how many
calls reached the app twice, and how long the batch took. What has not ended after a minute counts as left.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg

from bench.worker import confirm
from db.embedded.place import Account, find_place, give
from db.migrations.runner import apply_migrations
from tests.support.workers import AppServer, Received, Reply, answer

PATIENCE = 60.0
LEASE = 3
APP_SECONDS = 0.05
UNFINISHED = "SELECT count(*) FROM biz.ai_trigger_jobs WHERE status IN ('pending', 'running')"


class Figures(NamedTuple):
    """What came of one batch."""

    jobs_left: int
    jobs_failed: int
    calls_twice: int
    seconds: float


class Cluster:
    """A PostgreSQL server that can be restarted as after a crash."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="runglass-bench-"))
        # As root, another account runs the server.
        self._folder.chmod(0o755)
        place = find_place(self._folder / "data")
        self._account: Account = place.account
        self._binaries = place.binaries
        self._sockets = Path(tempfile.mkdtemp(prefix="runglass-bench-", dir="/tmp"))
        self._data = place.folder / "cluster"
        self._data.mkdir(mode=0o700)
        for folder in (self._sockets, self._data):
            give(folder, self._account)
        self.dsn = f"postgresql://bench@/postgres?host={self._sockets}"

    def __enter__(self) -> Cluster:
        self._run("initdb", "-D", str(self._data), "-U", "bench", "--auth=trust", "-E", "UTF8", "--no-locale")
        self._control("start", "-o", f"-k {self._sockets} -c listen_addresses=''")
        return self

    def __exit__(self, *_: object) -> None:
        self._control("stop", "-m", "immediate")
        for folder in (self._sockets, self._folder):
            shutil.rmtree(folder)

    def crash(self) -> None:
        """Have every process of the server end at once, and start it again."""
        self._control("restart", "-m", "immediate")

    def _control(self, action: str, *more: str) -> None:
        log = str(self._sockets / "log")
        self._run("pg_ctl", action, "-D", str(self._data), "-w", "-l", log, *more)

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._binaries / program), *arguments],
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            check=True,
            cwd="/",
            umask=0o077,
            stdout=subprocess.DEVNULL,
            **self._account.popen_options(),
        )


@contextlib.contextmanager
def workers(folder: Path, dsn: str, app: AppServer, count: int) -> Iterator[None]:
    """So many workers on the app, until the end of the block."""
    file = folder / "apps.toml"
    file.write_text(
        f'[apps.chat]\nurl = "{app.url}/chat"\nsecret_env = "BENCH_SECRET"\ntimeout_seconds = 2\n'
        "retries = {max = 0}\n"
    )
    environment = {
        **os.environ,
        "DATABASE_URL": dsn,
        "BENCH_SECRET": "s",
        "RUNGLASS_APPS_FILE": str(file),
        "RUNGLASS_WORKER_LEASE": str(LEASE),
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "graph", "worker"], env=environment, stderr=subprocess.DEVNULL
        )
        for _ in range(count)
    ]
    try:
        yield
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            process.wait()


def app_of_50_ms() -> AppServer:
    """An app that answers after 50 ms."""

    def behave(_received: Received) -> Reply:
        time.sleep(APP_SECONDS)
        return answer()

    app = AppServer()
    app.behave("chat", behave)
    return app


def crashed_batch(cluster: Cluster, app: AppServer, jobs: int) -> Figures:
    """Confirm a batch, crash the server in the middle of it, and wait for its end."""
    app.received.clear()
    started = time.monotonic()
    asyncio.run(confirm(cluster.dsn, jobs))
    app.wait_for(jobs // 3)
    cluster.crash()
    with psycopg.connect(cluster.dsn, autocommit=True) as connection:

        def count(statement: psycopg.sql.SQL) -> int:
            row = connection.execute(statement).fetchone()
            return int(row[0]) if row else 0

        unfinished = psycopg.sql.SQL(UNFINISHED)
        while (left := count(unfinished)) and time.monotonic() - started < PATIENCE:
            time.sleep(0.1)
        failed = count(psycopg.sql.SQL("SELECT count(*) FROM biz.ai_trigger_jobs WHERE status = 'failed'"))
        seconds = time.monotonic() - started
        connection.execute("TRUNCATE biz.ai_trigger_jobs, runglass.batches, runglass.job_queue")
    twice = sum(times > 1 for times in Counter(call.key for call in app.received).values())
    return Figures(left, failed, twice, seconds)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--workers", type=int, default=2)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with Cluster() as cluster, contextlib.closing(app_of_50_ms()) as app:
            asyncio.run(apply_migrations(cluster.dsn))
            with workers(folder, cluster.dsn, app, wanted.workers):
                print("restart  jobs left  failed  calls twice  seconds")
                total = [0, 0, 0]
                for number in range(1, wanted.restarts + 1):
                    one = crashed_batch(cluster, app, wanted.jobs)
                    print(
                        f"{number:7}  {one.jobs_left:9}  {one.jobs_failed:6}  {one.calls_twice:11}"
                        f"  {one.seconds:7.1f}",
                        flush=True,
                    )
                    total = [had + more for had, more in zip(total, one[:3], strict=True)]
                print(f"    all  {total[0]:9}  {total[1]:6}  {total[2]:11}")


if __name__ == "__main__":
    main()
