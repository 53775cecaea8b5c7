"""A log whose old runs were not counted by model yet: they are counted later, day by day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from db.connection import Connection
from db.model_usage import batch_usage, model_usage
from db.scope import EVERY_SITE
from tests.db.recount import (
    BATCHES,
    BOUNDS,
    NOW,
    add_batches,
    add_run,
    check,
    connect,
    count_models,
    fold,
    rebuild,
    write_at_random,
)

WEEK = [NOW - timedelta(days=7), NOW + timedelta(days=7)]


@pytest.fixture
def before(database: str) -> str:
    """Runs of four days, some of them not folded, and two batches; what models used is not counted."""
    add_batches(database)
    write_at_random(database, 1, 60)
    fold(database)
    write_at_random(database, 2, 60)
    forget_models(database)
    return database


def forget_models(dsn: str) -> None:
    """Leave the store as a release did that began to count models in a log with runs."""
    with connect(dsn) as connection:
        connection.execute("UPDATE runglass.run_log_deltas SET model = NULL, batch_id = NULL")
        connection.execute("DELETE FROM runglass.model_usage")
        connection.execute("DELETE FROM runglass.batch_usage")
        connection.execute(
            "UPDATE runglass.model_usage_start SET counted_from ="
            " (SELECT max(day) + interval '24 hours' FROM runglass.run_rollup_days() AS day)"
        )


def counted(dsn: str) -> tuple[int, int]:
    """How many runs of known models there are by the roll-up, and of the batches."""

    async def run() -> tuple[int, int]:
        async with await Connection.connect(dsn, autocommit=True) as connection:
            runs = await model_usage(connection, scope=EVERY_SITE, bounds=WEEK)
            batches = await batch_usage(connection, scope=EVERY_SITE, ids=BATCHES)
        return sum(row.calls for row in runs), sum(row.calls or 0 for row in batches)

    return asyncio.run(run())


def test_old_runs_are_left_out_until_they_are_counted_and_then_right(before: str) -> None:
    assert counted(before) == (0, 0)
    # What is changed meanwhile must not be counted by halves.
    write_at_random(before, 3, 40)
    with connect(before) as connection:
        connection.execute("DELETE FROM biz.ai_run_logs WHERE id % 5 = 0")
    fold(before)
    count_models(before)
    assert min(counted(before)) > 0
    asyncio.run(check(before, *BOUNDS, WEEK))


@pytest.mark.parametrize("count", [count_models, rebuild])
def test_a_day_whose_last_run_goes_before_it_is_counted(before: str, count: Callable[[str], object]) -> None:
    with connect(before) as connection:
        alone = NOW - timedelta(days=6)
        add_run(connection, trigger_job_id=1, created_at=alone)
    fold(before)
    forget_models(before)
    with connect(before) as connection:
        connection.execute("DELETE FROM biz.ai_run_logs WHERE created_at = %s", (alone,))
    fold(before)
    count(before)
    asyncio.run(check(before, *BOUNDS, WEEK))


def test_the_newest_days_come_first_and_can_be_read_before_the_others(before: str) -> None:
    with connect(before) as connection:
        connection.execute("DELETE FROM biz.ai_run_logs WHERE created_at >= %s", (NOW - timedelta(hours=12),))
        add_run(connection, model="small", prompt_tokens=1, completion_tokens=1, trigger_job_id=1)
    seen = [counted(before)[0]]
    count_models(before, seconds=0)
    seen.append(counted(before)[0])
    count_models(before)
    seen.append(counted(before)[0])
    assert seen[:2] == [0, 1]
    assert seen[2] > 1


def test_a_rebuild_counts_them_too(before: str) -> None:
    rebuild(before)
    asyncio.run(check(before, *BOUNDS, WEEK))
    with connect(before) as connection:
        assert connection.execute("SELECT runglass.count_models_of_a_day()").fetchone() == (None,)
