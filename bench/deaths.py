"""Processes of PostgreSQL that die under load: the longest request, and what the requests got.

python -m bench.deaths [--seconds 15] [--clients 8]

Every second a process of PostgreSQL is ended: by SIGTERM (it alone), SIGQUIT or SIGKILL (all start anew).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

import psycopg

from bench.aborts import DASHBOARDS, LIST, leased, pool_of, ready, started
from bench.contenders import Contender
from bench.store import ROOT, adopt, fill
from db.embedded import server as embedded

ROWS = 100_000
CONNECTIONS = 10
VICTIM = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'runglass'
ORDER BY state = 'active' DESC, random() LIMIT 1
"""


def main() -> None:
    """Load, kill, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        store(Path(folder)) as dsn,
        pool_of(CONNECTIONS),
        started(dsn, Path(folder)) as server,
        ThreadPoolExecutor(given.clients) as clients,
    ):
        while ready(server) != 200:
            time.sleep(0.1)
        end = time.monotonic() + given.seconds
        asked = [
            clients.submit(ask_until, server, end, (LIST, DASHBOARDS)[number % 2])
            for number in range(given.clients)
        ]
        deaths = kill_until(dsn, end)
        answers = [answer for each in asked for answer in each.result()]
        print(f"deaths: {dict(deaths)}")
        for kind, count in Counter(kind for kind, _ in answers).most_common():
            longest = max(seconds for each, seconds in answers if each == kind)
            print(f"{kind}: {count:,} requests, the longest took {longest:.2f} s")
        ended = time.monotonic()
        while leased(server) < CONNECTIONS and time.monotonic() < ended + 60:
            pass
        waited = time.monotonic() - ended
        print(f"{leased(server)} of {CONNECTIONS} connections can be leased, {waited:.0f} s later")


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """The address of a server that starts anew in no time, for it does not wait for a disk."""
    folder.chmod(0o755)  # as root, another account runs it
    with embedded.start(folder / "store", durable=False) as server:
        fill(server.dsn(), ROWS, print)
        yield adopt(server.dsn(), "deaths", ROOT, print)


def kill_until(dsn: str, end: float) -> Counter[str]:
    """Kill a process a second; gives how many died of what."""
    deaths: Counter[str] = Counter()
    for death in cycle((signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL)):
        if time.monotonic() > end:
            return deaths
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                row = connection.execute(VICTIM).fetchone()
            if row:
                os.kill(row[0], death)
                deaths[death.name] += 1
        except (psycopg.OperationalError, ProcessLookupError):
            pass  # It is being started anew.
        threading.Event().wait(1)
    raise AssertionError


def ask_until(server: Contender, end: float, query: str) -> list[tuple[str, float]]:
    """Ask again and again; gives what each request got, and how long it took."""
    answers: list[tuple[str, float]] = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body, headers = json.dumps({"query": query}), dict(server.headers)
    while time.monotonic() < end:
        started = time.monotonic()
        try:
            connection.request("POST", "/graphql", body, headers)
            kind = kind_of(json.loads(connection.getresponse().read()))
        except (OSError, http.client.HTTPException) as error:
            kind = type(error).__name__
            connection.close()
        answers.append((kind, time.monotonic() - started))
    connection.close()
    return answers


def kind_of(answer: dict[str, object]) -> str:
    """What an answer is: data, or the codes of its errors."""
    errors = answer.get("errors")
    if not isinstance(errors, list):
        return "data"
    return "+".join(sorted({str(error["extensions"]["code"]) for error in errors}))


if __name__ == "__main__":
    main()
