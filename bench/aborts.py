"""Clients that go away amid their requests: how many did, and what of the server's pool is left.

python -m bench.aborts [--seconds 60] [--clients 4]

Each client asks for three dashboards of three time zones and closes its connection within 12 ms.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path

import psycopg

from bench.contenders import Contender, running, sign_in
from bench.store import ROOT, adopt, filled_server

ROWS = 10_000
LONGEST_PATIENCE = 0.012
CONNECTIONS = 10
BLOCKS = "{ today { calls latency { p50 } } trend { calls } appHealth { appType } recentAlerts { id } }"
ZONES = ("America/Los_Angeles", "Asia/Kathmandu", "Europe/Berlin")
DASHBOARDS = (
    "{" + " ".join(f'z{n}: dashboard(timeZone: "{zone}") {BLOCKS}' for n, zone in enumerate(ZONES)) + "}"
)
LIST = "{ runLogs { edges { node { id } } } }"
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'runglass'
"""


def main() -> None:
    """Flood, look, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=4)
    given = parser.parse_args()
    with (
        filled_server(None, ROWS, print) as store,
        tempfile.TemporaryDirectory() as folder,
        pool_of(CONNECTIONS),
        started(adopt(store, "aborts", ROOT, print), Path(folder)) as server,
        ThreadPoolExecutor(given.clients) as clients,
    ):
        floods = [clients.submit(flood, server, seed, given.seconds) for seed in range(given.clients)]
        print(f"{sum(each.result() for each in floods):,} aborts in {given.seconds:.0f} s")
        ended = time.monotonic()
        status = ready(server)
        print(f"readyz {status} after {time.monotonic() - ended:.1f} s, when what had arrived was worked off")
        print(f"{leased(server)} of {CONNECTIONS} connections can be leased")


@contextmanager
def pool_of(size: int) -> Iterator[None]:
    """The size of the pool of servers that are started within."""
    os.environ |= {"RUNGLASS_POOL_MIN_SIZE": str(size), "RUNGLASS_POOL_MAX_SIZE": str(size)}
    # One caller takes all of them here.
    os.environ["RUNGLASS_CALLER_SHARE"] = "1"
    yield


def started(dsn: str, folder: Path) -> AbstractContextManager[Contender]:
    """Runglass on that database, until the block ends."""
    return running("runglass", dsn, sign_in({"DATABASE_URL": dsn}), folder)


def flood(server: Contender, seed: int, seconds: float) -> int:
    """Send and go, again and again; gives how often."""
    patience = random.Random(seed)
    end = time.monotonic() + seconds
    aborts = 0
    while time.monotonic() < end:
        with closing(send(server, DASHBOARDS)):
            time.sleep(patience.uniform(0, LONGEST_PATIENCE))
        aborts += 1
    return aborts


def send(server: Contender, query: str) -> socket.socket:
    """Send a request and leave the answer unread."""
    connection = socket.create_connection(("127.0.0.1", server.port))
    body = json.dumps({"query": query}).encode()
    headers = {"host": "localhost", "content-length": str(len(body)), **server.headers}
    head = "\r\n".join(["POST /graphql HTTP/1.1", *(f"{name}: {text}" for name, text in headers.items())])
    connection.sendall(f"{head}\r\n\r\n".encode() + body)
    return connection


def leased(server: Contender) -> int:
    """How many connections the server gives out at once: so many of its requests reach a lock."""
    dsn = server.dsn
    with psycopg.connect(dsn) as lock, psycopg.connect(dsn, autocommit=True) as store, ExitStack() as sent:
        lock.execute("LOCK TABLE biz.ai_run_logs IN ACCESS EXCLUSIVE MODE")
        for _ in range(CONNECTIONS + 2):
            sent.enter_context(closing(send(server, LIST)))
        time.sleep(2)
        (count,) = store.execute(WAITING).fetchone() or (0,)
        lock.rollback()
    return int(count)


def ready(server: Contender) -> int:
    """The status of /readyz."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    with closing(connection):
        connection.request("GET", "/readyz")
        return connection.getresponse().status


if __name__ == "__main__":
    main()
