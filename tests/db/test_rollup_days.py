"""Days beside hours: exact between any quarters of an hour, read in place of hours, made for old stores."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.postgres.connection import Connection
from db.sql.scope import EVERY_SITE, Scope
from db.usage import rollups
from db.usage.model_usage import SUM_MODELS_BY_APP, SUM_MODELS_BY_PERIOD, model_usage
from db.usage.ranges import ranges
from db.usage.rollups import SUM_LATENCY_BINS, SUM_USAGE_BY_APP, SUM_USAGE_BY_PERIOD, RollUpStatement
from tests.db.recount import (
    NOW,
    add_batches,
    check,
    connect,
    days_of,
    fold,
    in_utc,
    write_at_random,
)
from tests.support.prepared import numbered

NORTH = Scope.of("north")
QUARTER = timedelta(minutes=15)
# Two runs an hour of each of three apps of each of three sites, for forty days.
FILL = """
INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, latency_ms, model, prompt_tokens,
    completion_tokens, created_at)
SELECT site, 'app' || app, CASE WHEN half = 0 THEN 'success' ELSE 'failed' END, 5, 80 * app, 'small', 2, 3,
    %(now)s::timestamptz - make_interval(hours => hour, mins => 30 * half)
FROM unnest(ARRAY['north', 'south', 'east']) AS site, generate_series(1, 3) AS app,
    generate_series(1, 40 * 24) AS hour, generate_series(0, 1) AS half
"""
# Eight more years of latencies and a site that has few, beside which the rest looks dear.
FILL_YEARS = """
INSERT INTO runglass.run_latency
SELECT level, site, date_trunc('day', %(now)s::timestamptz, 'UTC') - make_interval(days => day), bin,
    1, 0, 0, 0
FROM (VALUES (5, 'north'), (5, 'east'), (7, '')) AS of (level, site), generate_series(100, 3000) AS day,
    generate_series(1, 20) AS bin
UNION ALL
SELECT 5, 'rare', date_trunc('day', %(now)s::timestamptz, 'UTC') - make_interval(days => day), 1, 1, 0, 0, 0
FROM generate_series(1, 200) AS day
"""


@pytest.fixture(scope="module")
def filled(module_dsn: str) -> str:
    database = in_utc(module_dsn)
    with connect(database) as connection:
        connection.execute(FILL, {"now": NOW})
        assert fold(database) == 40 * 24 * 18
        connection.execute(FILL_YEARS, {"now": NOW})
        connection.execute("ANALYZE")
    return database


def test_any_quarters_of_an_hour_bound_a_recount(database: str) -> None:
    add_batches(database)
    write_at_random(database, 11, 250)
    fold(database, limit=200)
    write_at_random(database, 12, 50)
    moments = st.integers(-5000 // 15, 300 // 15).map(lambda quarters: NOW + quarters * QUARTER)

    @settings(
        max_examples=40, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(moments, min_size=2, max_size=7).map(sorted))
    def compare(bounds: list[datetime]) -> None:
        asyncio.run(check(database, bounds))

    compare()


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Asia/Tokyo", "Asia/Kathmandu", "Europe/Berlin"])
def test_a_zone_has_its_own_days(database: str, zone: str) -> None:
    write_at_random(database, 13, 250)
    fold(database)
    bounds = days_of(zone)
    asyncio.run(check(database, bounds, bounds[1:3], [bounds[0], bounds[2], bounds[2], bounds[3]]))


def explain(
    dsn: str, statement: RollUpStatement, scope: Scope, bounds: list[datetime], mode: str = "generic"
) -> dict[str, Any]:
    """The statement's plan as it was run, made for any values (generic) or for these (custom)."""
    query, names = numbered(statement.sql(scope))
    values = ranges(bounds, scope)
    marks = ", ".join(["%s"] * len(names))
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(f"SET plan_cache_mode = force_{mode}_plan")
        connection.execute(b"PREPARE sums AS " + query)
        cursor = connection.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE sums ({marks})", [values[name] for name in names]
        )
        (((found,),),) = cursor.fetchall()
    return found["Plan"]


def rows_read(plan: dict[str, Any]) -> int:
    """How many rows of tables a plan read; more than one only along an index."""
    own = plan["Actual Rows"] * plan["Actual Loops"] if "Relation Name" in plan else 0
    assert own < 2 or plan["Node Type"] == "Index Scan", plan
    return round(own + sum(rows_read(part) for part in plan.get("Plans", ())))


@pytest.mark.parametrize("scope", [EVERY_SITE, NORTH])
def test_a_month_is_read_by_its_days(filled: str, scope: Scope) -> None:
    for zone, edges in (("UTC", 0), ("Asia/Kolkata", 2), ("Asia/Tokyo", 4), ("Europe/Berlin", 1)):
        month = [days_of(zone, 31)[0], days_of(zone)[-2]]
        # Two statuses, three apps, three latencies or one model of three apps a day or hour.
        for statement, keys in (
            (SUM_USAGE_BY_PERIOD, 2),
            (SUM_USAGE_BY_APP, 6),
            (SUM_LATENCY_BINS, 3),
            (SUM_MODELS_BY_PERIOD, 1),
            (SUM_MODELS_BY_APP, 3),
        ):
            read = rows_read(explain(filled, statement, scope, month))
            assert 29 * keys <= read <= (32 + 2 * edges) * keys + 2


@pytest.mark.parametrize("scope", [EVERY_SITE, NORTH, Scope.of("rare"), Scope.of("rare", "north")])
@pytest.mark.parametrize("days", [1, 7])
def test_a_plan_for_certain_values_never_looks_better(filled: str, scope: Scope, days: int) -> None:
    bounds = days_of("Asia/Kolkata", days)
    for statement in (SUM_USAGE_BY_PERIOD, SUM_USAGE_BY_APP, SUM_LATENCY_BINS, SUM_MODELS_BY_PERIOD):
        of_these = explain(filled, statement, scope, bounds, mode="custom")["Total Cost"]
        assert of_these >= explain(filled, statement, scope, bounds)["Total Cost"]


@pytest.mark.parametrize("scope", [EVERY_SITE, NORTH, Scope.of("north", "east")])
def test_the_sums_are_not_planned_anew_each_time(filled: str, scope: Scope) -> None:
    async def follow() -> list[tuple[int, int]]:
        async with await Connection.connect(filled, autocommit=True, prepare_threshold=1) as connection:
            for day in range(1, 12):
                bounds = days_of("Asia/Kolkata", day)
                span = {"scope": scope, "start": bounds[0], "end": bounds[-1]}
                await connection.read(rollups.usage_by_period(scope=scope, bounds=bounds))
                await connection.read(rollups.usage_by_app(**span))
                await connection.read(rollups.latency_percentiles(**span, percents=(50,)))
                for by_app in (False, True):
                    await model_usage(connection, scope=scope, bounds=bounds, by_app=by_app)
            cursor = await connection.execute(
                "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE name LIKE '\\_pg3\\_%'"
            )
            return await cursor.fetchall()

    # The first is not prepared yet. PostgreSQL plans the next five for their values before it compares.
    assert asyncio.run(follow()) == [(5, 5)] * 5


def test_only_whole_days_are_counted_again(database: str) -> None:
    with (
        connect(database) as connection,
        pytest.raises(psycopg.errors.RaiseException, match="whole days of UTC"),
    ):
        connection.execute("SELECT runglass.rebuild_run_rollups(%s, %s)", (NOW, NOW + timedelta(days=1)))
