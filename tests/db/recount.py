"""The roll-ups and a recount of the rows, side by side in one snapshot."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from db.postgres.connection import Connection
from db.sql.scope import EVERY_SITE, Scope, SiteStatement
from db.usage import rollups
from db.usage.model_usage import batch_usage, model_usage

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SITES = ("north", "south", "east")
SCOPES = (EVERY_SITE, Scope.of("north"), Scope.of("north", "east"), Scope(frozenset()))
BATCHES = [UUID(int=1), UUID(int=2)]
JOBS = (None, 1, 2, 3, 4, 5)
MODELS = (None, "", "small", "large")
PERCENTS = (0, 10, 50, 95, 99, 100)

ANY_RUN = "SELECT id FROM biz.ai_run_logs ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED"


def in_utc(dsn: str) -> str:
    return make_conninfo(dsn, options="-c TimeZone=UTC")


def add_run(connection: psycopg.Connection, **columns: Any) -> None:
    run = {"site_id": "north", "app_type": "chat", "status": "success", "created_at": NOW} | columns
    connection.execute(
        f"INSERT INTO biz.ai_run_logs ({', '.join(run)}) VALUES ({', '.join(['%s'] * len(run))})",
        list(run.values()),
    )


def connect(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True)


async def app_types(connection: Connection, scope: Scope) -> list[str]:
    """The apps that have runs by the roll-up of all time, sorted."""
    statement = SiteStatement(
        """
        SELECT app_type FROM (
            SELECT app_type, calls FROM runglass.run_totals WHERE {own_scope}
            UNION ALL
            SELECT app_type, calls FROM runglass.run_log_deltas WHERE {own_scope}
        ) AS counted
        WHERE app_type <> '' GROUP BY app_type HAVING sum(calls) <> 0"""
    )
    cursor = await connection.execute(statement.sql(scope), scope.parameters())
    return sorted(app for (app,) in await cursor.fetchall())


async def read(connection: Connection, scope: Scope, bounds: list[datetime]) -> dict[str, Any]:
    """What the read API says of a scope, over the whole of `bounds` and for each period between them."""
    whole = {"scope": scope, "start": bounds[0], "end": bounds[-1]}
    return {
        "whole": {
            tuple(row)
            for row in await connection.read(
                rollups.usage_by_period(scope=scope, bounds=bounds[:: len(bounds) - 1])
            )
        },
        "period": {
            tuple(row) for row in await connection.read(rollups.usage_by_period(scope=scope, bounds=bounds))
        },
        "app": {tuple(row) for row in await connection.read(rollups.usage_by_app(**whole))},
        "apps": await app_types(connection, scope),
        "models": {
            tuple(row)
            for by_app in (False, True)
            for row in await model_usage(connection, scope=scope, bounds=bounds, by_app=by_app)
        },
        "batches": {
            tuple(row) for row in await batch_usage(connection, scope=scope, ids=BATCHES) if row.calls
        },
        "percentiles": await connection.read(rollups.latency_percentiles(**whole, percents=PERCENTS)),
    }


async def recount(connection: Connection, scope: Scope, bounds: list[datetime]) -> dict[str, Any]:
    """The same from the rows."""
    sites = None if scope.sites is None else list(scope.sites)
    seen = "(%(sites)s::text[] IS NULL OR site_id::text = ANY (%(sites)s))"

    async def rows(columns: str, start: datetime, end: datetime, rest: str) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(
            f"SELECT {columns} FROM biz.ai_run_logs"
            f" WHERE {seen} AND created_at >= %(start)s AND created_at < %(end)s {rest}",
            {"sites": sites, "start": start, "end": end},
        )
        return await cursor.fetchall()

    usage = "model, count(*), sum(prompt_tokens), sum(completion_tokens)"
    priceable = (
        "AND model <> '' AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL"
        " AND coalesce(status, '') NOT IN ('pending', 'running')"
    )
    status = "coalesce(status, ''), count(*), coalesce(sum(tokens_used), 0)"
    latencies = "count(latency_ms), coalesce(sum(latency_ms::bigint), 0)"
    whole = (bounds[0], bounds[-1])
    timed = "array_agg(latency_ms ORDER BY latency_ms) FILTER (WHERE latency_ms IS NOT NULL)"
    nearest_rank = "greatest(1, ceil(count(latency_ms) * {} / 100.0))::integer"
    percentiles = ", ".join(f"({timed})[{nearest_rank.format(percent)}]" for percent in PERCENTS)
    cursor = await connection.execute(
        'SELECT DISTINCT app_type COLLATE "C" FROM biz.ai_run_logs'
        f" WHERE {seen} AND app_type <> '' ORDER BY 1",
        {"sites": sites},
    )
    return {
        "whole": {(0, *row) for row in await rows(f"{status}, {latencies}", *whole, "GROUP BY 1")},
        "period": {
            (index, *row)
            for index, (start, end) in enumerate(pairwise(bounds))
            for row in await rows(f"{status}, {latencies}", start, end, "GROUP BY 1")
        },
        "app": set(await rows(status.replace("status", "app_type"), *whole, "GROUP BY 1")),
        "apps": [app for (app,) in await cursor.fetchall()],
        "models": {
            (index, *row)
            for index, (start, end) in enumerate(pairwise(bounds))
            for app in ("''", "app_type")
            for row in await rows(f"{app}, {usage}", start, end, f"{priceable} GROUP BY 1, 2")
        },
        "batches": await recount_batches(connection, sites),
        "percentiles": list((await rows(percentiles, *whole, ""))[0]),
    }


async def recount_batches(connection: Connection, sites: list[str] | None) -> set[tuple[Any, ...]]:
    """What the runs of each batch's jobs come to, by quarter of an hour and model."""
    known = (
        "model <> '' AND run.prompt_tokens IS NOT NULL AND run.completion_tokens IS NOT NULL"
        " AND coalesce(run.status, '') NOT IN ('pending', 'running')"
    )
    cursor = await connection.execute(
        "SELECT batch.id, date_bin('15 minutes', run.created_at, '2000-01-01Z'::timestamptz),"
        f" CASE WHEN {known} THEN model ELSE '' END, count(*),"
        f" coalesce(sum(prompt_tokens) FILTER (WHERE {known}), 0)::bigint,"
        f" coalesce(sum(completion_tokens) FILTER (WHERE {known}), 0)::bigint"
        " FROM runglass.batches AS batch"
        " JOIN biz.ai_trigger_jobs AS job ON job.batch_id = batch.id"
        " JOIN biz.ai_run_logs AS run ON run.trigger_job_id = job.id"
        " WHERE %(sites)s::text[] IS NULL OR batch.site_id = ANY (%(sites)s) GROUP BY 1, 2, 3",
        {"sites": sites},
    )
    return set(await cursor.fetchall())


def add_batches(dsn: str) -> None:
    """Two confirmed batches: jobs 1 and 2 belong to one, job 3 to the other, job 4 to none."""
    with connect(dsn) as connection:
        for number, batch in enumerate(BATCHES, start=1):
            connection.execute(
                "INSERT INTO runglass.batches (id, site_id, app_types, member_ids, status, estimated_calls,"
                " estimated_tokens, app_estimates, created_by, expires_at, confirmed_at)"
                " VALUES (%s, %s, '{chat}', '{m}', 'confirmed', 1, 1, '[]', 'tests', now(), now())",
                (batch, SITES[number]),
            )
        for job, batch in ((1, BATCHES[0]), (2, BATCHES[0]), (3, BATCHES[1]), (4, None)):
            connection.execute(
                "INSERT INTO biz.ai_trigger_jobs (id, site_id, event_type, batch_id)"
                " VALUES (%s, 'north', 'batch', %s)",
                (job, batch),
            )


def assert_same(seen: dict[str, Any], counted: dict[str, Any]) -> None:
    close, exact = seen.pop("percentiles"), counted.pop("percentiles")
    assert seen == counted
    assert close == [None if value is None else pytest.approx(value, rel=0.05) for value in exact]


async def check(dsn: str, *bounds: list[datetime]) -> None:
    """Compare both, for every scope, in one snapshot."""
    async with await Connection.connect(dsn) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        for scope in SCOPES:
            for period in bounds:
                assert_same(await read(connection, scope, period), await recount(connection, scope, period))


def fold(dsn: str, **options: Any) -> int:
    async def run() -> int:
        async with await Connection.connect(dsn, autocommit=True) as connection:
            return await rollups.fold(connection, **options)

    return asyncio.run(run())


def rebuild(dsn: str) -> int:
    async def run() -> int:
        async with await Connection.connect(dsn, autocommit=True) as connection:
            return await rollups.rebuild(connection)

    return asyncio.run(run())


def days_of(zone: str, days: int = 4) -> list[datetime]:
    today = datetime(2026, 11, 24, tzinfo=ZoneInfo(zone))
    return [(today + timedelta(days=day)).astimezone(UTC) for day in range(1 - days, 2)]


# Midnights at :00, :30 and :15 of an hour UTC; and bounds that lie within one hour.
BOUNDS = [
    days_of("UTC"),
    days_of("Asia/Kolkata"),
    days_of("Asia/Kathmandu"),
    [NOW + quarter * 15 * MINUTE for quarter in (-5, -3, -2, 1, 3, 6)],
]


def write_at_random(dsn: str, seed: int, statements: int) -> None:
    random = Random(seed)
    with connect(dsn) as connection:
        for _ in range(statements):
            moment = NOW + timedelta(minutes=random.randint(-5000, 300))
            site, status = random.choice(SITES), random.choice(("running", "success", "failed"))
            roll = random.random()
            if roll < 0.6:
                add_run(
                    connection, site_id=site, status=status, tokens_used=random.randint(0, 9000),
                    latency_ms=random.choice((None, random.randint(0, 60_000))), created_at=moment,
                    model=random.choice(MODELS), prompt_tokens=random.choice((None, random.randint(0, 999))),
                    completion_tokens=random.randint(0, 999), trigger_job_id=random.choice(JOBS),
                )  # fmt: skip
            elif roll < 0.8:
                connection.execute(
                    "UPDATE biz.ai_run_logs SET status = %s, tokens_used = tokens_used + 1, created_at = %s,"
                    f" model = %s, prompt_tokens = completion_tokens + 1 WHERE id = ({ANY_RUN})",
                    (status, moment, random.choice(MODELS)),
                )
            else:
                connection.execute(f"DELETE FROM biz.ai_run_logs WHERE id = ({ANY_RUN})")
