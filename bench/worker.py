"""Jobs a second with an app that answers in 1 ms: 1, 2 and 4 workers, on an embedded server of its own.

PYTHONPATH=. python bench/worker.py [--jobs 1000]
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from db.embedded import server as embedded
from db.migrations.runner import apply_migrations
from db.postgres.pool import Database
from db.sql.scope import EVERY_SITE
from resolvers.access.callers import Caller, Role
from resolvers.jobs.batches import confirm_batch, estimate_batch

CALLER = Caller("bench", EVERY_SITE, Role.ADMIN)
SITES = 4

APP = """
import asyncio, json, sys
ANSWER = json.dumps({"status": "success", "tokens": 10, "model": "m", "response": "ok"}).encode()
async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.001)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})
import socket, uvicorn
# Not uvicorn's fd=, which takes the socket for a local one and leaves Nagle's algorithm on: 40 ms an answer.
server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--jobs", type=int, default=1000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # As root, another account runs the server.
        Path(folder).chmod(0o755)
        measure(Path(folder), wanted)


def measure(folder: Path, wanted: argparse.Namespace) -> None:
    """Measure on a server whose data lies in this folder."""
    with embedded.start(folder / "data") as server:
        dsn = server.dsn()
        asyncio.run(apply_migrations(dsn))
        with one_ms_app() as url:
            environment = settings(folder, dsn, url)
            print("workers  jobs/s")
            for workers in (1, 2, 4):
                print(f"{workers:7}  {rate(dsn, environment, workers, wanted.jobs):6.0f}", flush=True)


@contextlib.contextmanager
def one_ms_app() -> Iterator[str]:
    """The app as a process of its own; gives its address."""
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        listener.set_inheritable(True)
        number = listener.fileno()
        process = subprocess.Popen([sys.executable, "-c", APP, str(number)], pass_fds=(number,))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        finally:
            process.terminate()
            process.wait()


def settings(folder: Path, dsn: str, url: str) -> dict[str, str]:
    """The environment of the workers."""
    file = folder / "apps.toml"
    file.write_text(f"[apps.chat]\nurl = {json.dumps(url)}\nsecret_env = 'BENCH_SECRET'\n")
    return {
        **os.environ,
        "DATABASE_URL": dsn,
        "BENCH_SECRET": "s",
        "RUNGLASS_APPS_FILE": str(file),
        "RUNGLASS_LOG_LEVEL": "warning",
    }


def rate(dsn: str, environment: dict[str, str], workers: int, jobs: int) -> float:
    """Jobs a second of so many workers over batches of several sites, from the first end to the last."""
    asyncio.run(confirm(dsn, jobs))
    processes = [
        subprocess.Popen([sys.executable, "-m", "graph", "worker"], env=environment) for _ in range(workers)
    ]
    try:
        with psycopg.connect(dsn, autocommit=True) as connection:
            while connection.execute("SELECT 1 FROM runglass.batches WHERE finished_at IS NULL").fetchone():
                time.sleep(0.2)
            row = connection.execute(
                "SELECT count(*) / extract(epoch FROM max(finished_at) - min(started_at))"
                " FROM biz.ai_trigger_jobs"
            ).fetchone()
            connection.execute("TRUNCATE biz.ai_trigger_jobs, runglass.batches")
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait()
    assert row
    return float(row[0])


async def confirm(dsn: str, jobs: int) -> None:
    """Confirm one batch per site, so many calls together."""
    database = Database(dsn)
    await database.open()
    members = [str(number) for number in range(jobs // SITES)]
    for site in range(SITES):
        batch = await estimate_batch(
            database,
            CALLER,
            site_id=f"site{site}",
            app_types=["chat"],
            member_ids=members,
            lifetime_seconds=600,
        )
        await confirm_batch(database, CALLER, batch.id)
    await database.close()


if __name__ == "__main__":
    main()
