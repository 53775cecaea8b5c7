"""Is the dashboard as fast over ten million run logs as over a hundred thousand?

Builds two databases (20 sites, 8 apps, 90 days, a daily and weekly rhythm, the same for every run), times the
statements of the dashboard and of the lists over both, and prints a table in Markdown:

    python bench/flat.py --dsn 'host=/run/pg user=postgres' [--rows 10000000] [--keep]

Times are medians in milliseconds, seen by the client: prepared statements, as a connection of the pool runs
them, over a warm cache. With --keep the databases stay, and the next run takes what a former one has left.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
from psycopg.conninfo import make_conninfo

sys.path.insert(0, str(Path(__file__).parent.parent))

from db.migrations.runner import apply_migrations
from db.postgres.pool import PLAN_ONCE, Connection
from db.runs.alerts import AlertFilter, list_alerts, recent_alerts
from db.runs.run_logs import RunLogFilter, list_run_logs
from db.sql.keyset import Key, PageRequest
from db.sql.scope import EVERY_SITE, Scope
from db.usage import rollups
from db.usage.dashboard import latest_runs
from db.usage.model_usage import model_usage
from resolvers.usage.estimates import estimate_apps

SMALL = 100_000
DAYS = 90
ONE_SITE = Scope.of("site_07")
DEEP = 100_000
BEING_BUILT = "runglass_flat_new"
KEPT = "SELECT datname FROM pg_database WHERE datname = %s"
Statement = Callable[[Connection], Awaitable[Any]]

# Run i of n on a day: its time follows the day's rhythm (busy at noon), the rest is hashed from both.
ADD_DAY = """
INSERT INTO biz.ai_run_logs (site_id, app_type, trigger_type, member_id, session_id, model, request_prompt,
    response_text, tokens_used, prompt_tokens, completion_tokens, latency_ms, status, error_message,
    alert_status, created_at, finished_at)
SELECT 'site_' || lpad((h & 255) * 20 / 256 + 1 || '', 2, '0'), 'app_' || ((h >> 8 & 127) * 8 / 128 + 1),
    'event', 'member_' || (h >> 16 & 8191), 'session_' || (h >> 18 & 1048575), 'model_' || (h & 3),
    'Summarise the open orders of member ' || (h & 8191) || ' and say which of them are late.',
    'There are ' || (h & 15) || ' open orders; the oldest was placed on Monday and will be sent tomorrow.',
    tokens, tokens * 3 / 4, tokens - tokens * 3 / 4,
    (exp(4 + 2 * sqrt(-2 * ln(u1 + 0.000001)) * cos(6.283 * u2)))::integer,
    status, CASE WHEN status <> 'success' THEN 'the provider did not answer in time' END,
    CASE WHEN status <> 'success' AND u2 < 0.9 THEN 'acknowledged' END, moment, moment + interval '2 seconds'
FROM (
    SELECT h, u1, u2, exp(5 + 3 * u1)::integer AS tokens,
        %(day)s + interval '86400 seconds' * (u - 0.7 * sin(6.283185307 * u) / 6.283185307) AS moment,
        CASE WHEN u1 < 0.96 THEN 'success' WHEN u1 < 0.985 THEN 'failed'
            WHEN u1 < 0.995 THEN 'timeout' ELSE 'circuit_open' END AS status
    FROM (
        SELECT (i - 0.5) / %(rows)s::float8 AS u, h, (h >> 24 & 65535) / 65536.0::float8 AS u1,
            (h >> 40 & 65535) / 65536.0::float8 AS u2
        FROM generate_series(1, %(rows)s) AS i,
            LATERAL (SELECT hashint8extended(i, %(seed)s) & 9223372036854775807 AS h) AS hash
    ) AS drawn
) AS run
"""


async def build(dsn: str, rows: int, today: datetime) -> None:
    """Fill a migrated database; indexes and roll-ups come after the rows, because that is faster."""
    connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    async with connection:
        await connection.execute("SET maintenance_work_mem = '512MB'; SET synchronous_commit = off")
        await connection.execute(
            "SELECT runglass.ensure_run_log_partitions(%s::date, %s::date)",
            (today - timedelta(days=DAYS), today),
        )
        indexes = await (
            await connection.execute(
                "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
                " WHERE indrelid = 'biz.ai_run_logs'::regclass AND NOT indisprimary"
            )
        ).fetchall()
        started = time.monotonic()
        await connection.execute("ALTER TABLE biz.ai_run_logs DISABLE TRIGGER USER")
        for name, _ in indexes:
            await connection.execute(f"DROP INDEX {name}")
        days = [today - timedelta(days=day) for day in range(DAYS - 1, -1, -1)]
        weights = [0.4 if day.weekday() > 4 else 1.0 for day in days]
        for day, weight in zip(days, weights, strict=True):
            share = round(rows * weight / sum(weights))
            await connection.execute(ADD_DAY, {"day": day, "rows": share, "seed": day.toordinal()})
        report(started, f"{rows:,} rows added")
        for _, definition in indexes:
            await connection.execute(definition.replace(" ON ONLY ", " ON "))
        await connection.execute("ALTER TABLE biz.ai_run_logs ENABLE TRIGGER USER")
        report(started, "indexes made")
        counted = await rollups.rebuild(connection)
        report(started, f"roll-ups built from {counted:,} rows")
        await connection.execute("VACUUM (ANALYZE)")
        report(started, "vacuumed")


def report(started: float, what: str) -> None:
    print(f"{time.monotonic() - started:7.1f} s  {what}", file=sys.stderr, flush=True)


def dashboard(scope: Scope, today: datetime) -> dict[str, Statement]:
    """Every statement of a dashboard, in a zone whose midnight lies at half an hour."""
    midnight = today.replace(tzinfo=ZoneInfo("Asia/Kolkata"))
    starts = [(midnight - timedelta(days=day)).astimezone(UTC) for day in range(-1, 90)]
    end, start, month = starts[0], starts[1], midnight.replace(day=1).astimezone(UTC)
    day = {"scope": scope, "start": start, "end": end}
    percentiles = rollups.latency_percentiles(**day, percents=(50, 95, 99))
    return {
        "today by status": lambda c: c.read(rollups.usage_by_period(scope=scope, bounds=[start, end])),
        "today's percentiles": lambda c: c.read(percentiles),
        "trend of 7 days": lambda c: c.read(rollups.usage_by_period(scope=scope, bounds=starts[7::-1])),
        "apps today": lambda c: c.read(rollups.usage_by_app(**day)),
        "newest run of each app": lambda c: c.read(latest_runs(scope=scope)),
        "budget": lambda c: rollups.tokens_since(c, scope=scope, starts=[month, start], end=end),
        "recent alerts": lambda c: c.read(recent_alerts(scope=scope)),
        "cost of 7 days": lambda c: model_usage(c, scope=scope, bounds=starts[7::-1]),
        "cost of apps today": lambda c: model_usage(c, scope=scope, bounds=[start, end], by_app=True),
    }


def beside(scope: Scope, today: datetime) -> dict[str, Statement]:
    """What else must be flat: the longest trend, an estimate, pages, filters that match little."""
    midnight = today.replace(tzinfo=ZoneInfo("Asia/Kolkata"))
    bounds = [(midnight - timedelta(days=day)).astimezone(UTC) for day in range(89, -2, -1)]
    apps = [f"app_{number}" for number in range(1, 9)]
    few = {
        "one member's failures": RunLogFilter(member_id="member_77", statuses=("failed",)),
        "a latency that no run had": RunLogFilter(latency_min=10_000_000),
        "a model that no run had": RunLogFilter(model="retired"),
        "an app that no run had": RunLogFilter(app_type="retired"),
        "a cause that no run had": RunLogFilter(trigger_type="retired"),
    }
    return {
        "trend of 90 days": lambda c: c.read(rollups.usage_by_period(scope=scope, bounds=bounds)),
        "an estimate": lambda c: estimate_apps(c, scope, dict.fromkeys(apps, 100)),
        "run logs, first page": lambda c: list_run_logs(
            c, scope=scope, filters=RunLogFilter(), page=PageRequest()
        ),
        "alerts, first page": lambda c: list_alerts(
            c, scope=scope, filters=AlertFilter(), page=PageRequest()
        ),
        **{
            name: lambda c, w=filters: list_run_logs(c, scope=scope, filters=w, page=PageRequest())
            for name, filters in few.items()
        },
    }


async def deep_page(connection: Connection, scope: Scope) -> Statement:
    """The page of run logs that begins DEEP rows down, or half way down where there are fewer."""
    where, values = ("TRUE", {}) if scope.sites is None else ("site_id = %(scope_site)s", scope.parameters())
    cursor = await connection.execute(
        f"SELECT created_at, id FROM biz.ai_run_logs WHERE {where} ORDER BY created_at DESC, id DESC LIMIT 1"
        f" OFFSET (SELECT least({DEEP}, count(*) / 2) FROM biz.ai_run_logs WHERE {where})",
        values,
    )
    row = await cursor.fetchone()
    assert row is not None
    page = PageRequest(after=Key(*row))
    return lambda c: list_run_logs(c, scope=scope, filters=RunLogFilter(), page=page)


async def statements(connection: Connection, today: datetime) -> dict[str, Statement]:
    """Everything that is timed, by its name; the dashboard's blocks come first."""
    found: dict[str, Statement] = {}
    for owner, scope in (("one site", ONE_SITE), ("all sites", EVERY_SITE)):
        deep = {"run logs, 100,000 deep": await deep_page(connection, scope)}
        for group, part in (("dashboard, ", dashboard(scope, today)), ("", beside(scope, today)), ("", deep)):
            found |= {f"{owner}: {group}{name}": statement for name, statement in part.items()}
    return found


async def milliseconds(connection: Connection, statement: Statement) -> float:
    started = time.perf_counter()
    await statement(connection)
    return (time.perf_counter() - started) * 1000


async def measure(
    connections: list[Connection], today: datetime, rounds: int
) -> dict[str, list[list[float]]]:
    """Milliseconds of each execution, by name and then by database."""
    ours = [await statements(connection, today) for connection in connections]
    # The first executions plan the statement and warm the cache.
    return {name: await in_turn(connections, [one[name] for one in ours], rounds, 10) for name in ours[0]}


async def in_turn(
    connections: list[Connection], same: list[Statement], rounds: int, unmeasured: int
) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in connections]
    for _ in range(unmeasured + rounds):
        for spent, connection, statement in zip(times, connections, same, strict=True):
            spent.append(await milliseconds(connection, statement))
    return [spent[unmeasured:] for spent in times]


def table(times: dict[str, list[list[float]]], rows: int) -> str:
    """Medians (and minima, which other work on the machine disturbs least) beside the limits of the issue."""
    lines = [
        f"| statement, ms: median (least) | {SMALL:,} rows | {rows:,} rows | ratio | limit |",
        "| --- | ---: | ---: | ---: | --- |",
    ]
    totals = {"one site": [0.0] * 4, "all sites": [0.0] * 4}
    for name, (small, large) in times.items():
        four = [statistics.median(small), min(small), statistics.median(large), min(large)]
        owner, _, what = name.partition(": ")
        if what.startswith("dashboard"):
            totals[owner] = [sum(pair) for pair in zip(totals[owner], four, strict=True)]
        lines.append(line(name, four, "1.5 times"))
    lines.append(line("one site: WHOLE DASHBOARD", totals["one site"], "10 ms, 1.5 times"))
    lines.append(line("all sites: WHOLE DASHBOARD", totals["all sites"], "25 ms, 1.5 times"))
    return "\n".join(lines)


def line(name: str, four: list[float], limit: str) -> str:
    small, small_least, large, large_least = four
    return (
        f"| {name} | {small:.2f} ({small_least:.2f}) | {large:.2f} ({large_least:.2f})"
        f" | {large / small:.2f} ({large_least / small_least:.2f}) | {limit} |"
    )


async def main(dsn: str, rows: int, keep: bool, rounds: int) -> None:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    databases = {size: f"runglass_flat_{size}" for size in (SMALL, rows)}
    maintenance = await psycopg.AsyncConnection.connect(dsn, dbname="postgres", autocommit=True)
    async with maintenance:
        for size, name in databases.items():
            if not await (await maintenance.execute(KEPT, (name,))).fetchall():
                await maintenance.execute(f"DROP DATABASE IF EXISTS {BEING_BUILT}")
                await maintenance.execute(f"CREATE DATABASE {BEING_BUILT}")
                await apply_migrations(make_conninfo(dsn, dbname=BEING_BUILT))
                await build(make_conninfo(dsn, dbname=BEING_BUILT), size, today)
                await maintenance.execute(f"ALTER DATABASE {BEING_BUILT} RENAME TO {name}")
            await apply_migrations(make_conninfo(dsn, dbname=name))
        connections = [
            await Connection.connect(make_conninfo(dsn, dbname=name), autocommit=True)
            for name in databases.values()
        ]
        for connection in connections:
            await connection.execute("SET TimeZone = 'UTC'")
            await connection.execute(PLAN_ONCE)
        print(table(await measure(connections, today, rounds), rows))
        for connection in connections:
            await connection.close()
        if not keep:
            for name in databases.values():
                await maintenance.execute(f"DROP DATABASE {name}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dsn", required=True, help="a server on which databases may be made and dropped")
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=31, help="executions of each statement")
    parser.add_argument("--keep", action="store_true", help="leave the databases where they are")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.dsn, arguments.rows, arguments.keep, arguments.rounds))
