"""How long others wait to write while their log is adopted: `python -m bench.adoption --rows N --kills N`.

A service adds, changes and deletes runs of a table that was never ours, while migrations adopt it and are
killed some times on the way. Prints the longest write of each kind, and compares every sum with a recount.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Event
from typing import Any

import psycopg

from bench.store import SCRATCH
from db.embedded import server as embedded
from db.migrations.runner import apply_migrations

TABLE = """
CREATE SCHEMA biz;
CREATE TABLE biz.ai_run_logs (id bigserial, site_id integer, app_type varchar(64), trigger_type varchar(64),
    member_id bigint, session_id text, request_prompt text, response_text text, tokens_used integer,
    latency_ms double precision, status varchar(32), error_message text, alert_status varchar(32),
    created_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz){partitioned};
"""
MONTHS = " PARTITION BY RANGE (created_at)"
ADD_MONTHS = """
DO $$
BEGIN
    FOR month IN 0..4 LOOP
        EXECUTE format(
            'CREATE TABLE biz.month_%s PARTITION OF biz.ai_run_logs FOR VALUES FROM (%L) TO (%L)', month,
            CASE month WHEN 0 THEN '-infinity'::timestamptz
                ELSE date_trunc('month', now(), 'UTC') - make_interval(months => 4 - month) END,
            CASE month WHEN 4 THEN 'infinity'::timestamptz
                ELSE date_trunc('month', now(), 'UTC') - make_interval(months => 3 - month) END
        );
    END LOOP;
END
$$;
"""
ADD_RUNS = """
INSERT INTO biz.ai_run_logs (site_id, app_type, trigger_type, member_id, session_id, request_prompt,
    response_text, tokens_used, latency_ms, status, error_message, created_at, finished_at)
SELECT 1 + n %% 20, 'app' || n %% 7, 'event', n %% 8191, 'session_' || n %% 100000, repeat('ask ', 20),
    repeat('tell ', 20), n %% 5000, n %% 30000, CASE WHEN n %% 25 = 0 THEN 'failed' ELSE 'success' END,
    CASE WHEN n %% 25 = 0 THEN 'no answer' END, now() - n * interval '90 days' / %(rows)s, now()
FROM generate_series(%(first)s::integer, %(last)s) AS n
"""
ADD = """
INSERT INTO biz.ai_run_logs (site_id, app_type, tokens_used, latency_ms, status, created_at)
VALUES (%(site)s, 'app1', %(tokens)s, 12.5, 'running', now() - %(days)s * interval '1 day')
"""
CHANGE = """
UPDATE biz.ai_run_logs SET status = 'success', tokens_used = coalesce(tokens_used, 0) + 1,
    created_at = created_at - interval '1 day'
WHERE id = %(id)s
"""
DELETE = "DELETE FROM biz.ai_run_logs WHERE id = %(id)s"
# Level 0 by status and hour beside the rows, in one snapshot; deltas are what is not folded yet.
DIFFERENCES = """
WITH counted AS (
    SELECT hour, status, calls, tokens, latency_ms_sum FROM runglass.run_usage WHERE level = 3
    UNION ALL
    SELECT date_bin('1 hour', quarter, '2000-01-01Z'), status, calls, tokens, latency_ms_sum
    FROM runglass.run_log_deltas
), rows AS (
    SELECT date_bin('1 hour', created_at, '2000-01-01Z') AS hour, coalesce(status, '') AS status,
        count(*) AS calls,
        sum(coalesce(tokens_used, 0)) AS tokens, sum(coalesce(latency_ms::bigint, 0)) AS latency_ms_sum
    FROM biz.ai_run_logs GROUP BY 1, 2
)
SELECT count(*) FROM (
    SELECT hour, status, sum(calls) AS calls, sum(tokens) AS tokens, sum(latency_ms_sum) AS latency_ms_sum
    FROM (
        SELECT * FROM counted UNION ALL SELECT hour, status, -calls, -tokens, -latency_ms_sum FROM rows
    ) AS shares
    GROUP BY 1, 2
    HAVING sum(calls) <> 0 OR sum(tokens) <> 0 OR sum(latency_ms_sum) <> 0
) AS different
"""


class Writer(AbstractContextManager["Writer"]):
    """A service that writes, on its own connection, until the block ends; it counts and times its writes."""

    def __init__(
        self, dsn: str, rows: int, seed: int = 1, tables: tuple[str, ...] = ("biz.ai_run_logs",)
    ) -> None:
        self.writes = 0
        self.longest: dict[str, float] = {}
        self._dsn, self._rows, self._tables = dsn, rows, tables
        self._random = random.Random(seed)
        self._stop = Event()
        self._threads = ThreadPoolExecutor(1)

    def __enter__(self) -> Writer:
        self._running = self._threads.submit(self._write)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._threads.shutdown()
        self._running.result()

    def _write(self) -> None:
        chance = self._random
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop.is_set():
                values = {
                    "site": chance.randrange(1, 21), "tokens": chance.randrange(5000),
                    "days": chance.choice((0, 0, 1, 40)),
                    "id": chance.randrange(1, self._rows + self.writes + 1),
                }  # fmt: skip
                kind = chance.choices(("add", "change", "delete", "together"), (5, 3, 1, 1))[0]
                began = time.monotonic()
                if kind == "together":
                    with connection.transaction():
                        connection.execute(ADD, values)
                        connection.execute(CHANGE, values)
                        connection.execute(DELETE, {"id": values["id"] // 2 + 1})
                else:
                    statement = {"add": ADD, "change": CHANGE, "delete": DELETE}[kind]
                    connection.execute(statement, values)
                self.longest[kind] = max(self.longest.get(kind, 0.0), time.monotonic() - began)
                self.writes += 1


def fill(dsn: str, rows: int, *, partitioned: bool) -> None:
    """Make the log as others have it, with this many rows of the last 90 days."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(TABLE.format(partitioned=MONTHS if partitioned else ""))
        if partitioned:
            connection.execute(ADD_MONTHS)
        connection.execute("SET synchronous_commit = off")
        for first in range(1, rows + 1, 100_000):
            values = {"rows": rows, "first": first, "last": min(rows, first + 99_999)}
            connection.execute(ADD_RUNS, values)
        connection.execute("ALTER TABLE biz.ai_run_logs ADD PRIMARY KEY (id, created_at)")
        connection.execute("ANALYZE biz.ai_run_logs")


def differences(dsn: str) -> int:
    """How many hours and statuses have sums that differ from their rows."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(DIFFERENCES).fetchone()
    return int(row[0]) if row else -1


def adopt(dsn: str, kills: int, seed: int = 1) -> None:
    """Migrate, in processes that are killed after a moment, and at last in one that ends."""
    chance = random.Random(seed)
    command = [sys.executable, "-c", MIGRATE, dsn]
    for _ in range(kills):
        process = subprocess.Popen(command)
        try:
            process.wait(chance.uniform(0.5, 5.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    asyncio.run(apply_migrations(dsn))


MIGRATE = (
    "import asyncio, sys; from db.migrations.runner import apply_migrations as a; asyncio.run(a(sys.argv[1]))"
)


def measure(dsn: str, rows: int, *, partitioned: bool, kills: int, say: Callable[[str], None]) -> None:
    """Fill, adopt beside a writer and print what came of it."""
    fill(dsn, rows, partitioned=partitioned)
    say(f"{rows:,} rows, {'five partitions' if partitioned else 'one table'}; {kills} kills")
    with Writer(dsn, rows) as writer:
        began = time.monotonic()
        adopt(dsn, kills)
        seconds = time.monotonic() - began
    told: list[Any] = [f"{kind} {longest * 1000:.0f} ms" for kind, longest in sorted(writer.longest.items())]
    say(f"adopted in {seconds:.1f} s beside {writer.writes:,} writes; the longest: {', '.join(told)}")
    say(f"hours that differ from a recount: {differences(dsn)}")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--partitioned", action="store_true")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="runglass-adoption-", dir=SCRATCH))
    folder.chmod(0o711)
    try:
        with embedded.start(folder / "store") as server:
            measure(
                server.dsn(),
                arguments.rows,
                partitioned=arguments.partitioned,
                kills=arguments.kills,
                say=print,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
