"""The roll-ups equal a recount from the rows, in every snapshot, whatever the writers and the folder do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db.postgres.connection import Connection
from db.sql.scope import EVERY_SITE
from db.usage import rollups
from tests.db.recount import (
    BOUNDS,
    JOBS,
    MINUTE,
    MODELS,
    NOW,
    SITES,
    add_batches,
    add_run,
    check,
    connect,
    fold,
    read,
    rebuild,
    write_at_random,
)

moments = st.integers(-5000, 300).map(lambda minutes: NOW + minutes * MINUTE)
runs = st.fixed_dictionaries(
    {
        "site_id": st.sampled_from(SITES),
        "app_type": st.sampled_from(("chat", "search", "")),
        "status": st.sampled_from(("running", "success", "failed")),
        "tokens_used": st.sampled_from((0, 7, 2**40)),
        "latency_ms": st.sampled_from((None, 0, 1, 13, 950, 2**31 - 1)),
        "created_at": moments,
        "model": st.sampled_from(MODELS),
        "prompt_tokens": st.sampled_from((None, 0, 3, 2**40)),
        "completion_tokens": st.sampled_from((None, 1, 11)),
        "trigger_job_id": st.sampled_from(JOBS),
    }
)
steps = st.one_of(
    st.tuples(st.just("insert"), st.lists(runs, min_size=1, max_size=4)),
    st.tuples(st.just("update"), st.integers(0, 3), runs),
    st.tuples(st.just("correct"), st.integers(0, 3), runs),
    st.tuples(st.just("acknowledge"), st.integers(0, 3), runs),
    st.tuples(st.just("delete"), st.integers(0, 3), runs),
    st.tuples(st.just("fold"), st.sampled_from((1, 2, 100)), runs),
    st.tuples(st.just("rebuild"), st.just(0), runs),
)


def apply(dsn: str, step: tuple[Any, ...]) -> None:
    kind, argument = step[:2]
    with connect(dsn) as connection:
        if kind == "insert":
            with connection.transaction():
                for run in argument:
                    add_run(connection, **run)
        elif kind == "update":
            columns = step[2]
            connection.execute(
                f"UPDATE biz.ai_run_logs SET {', '.join(f'{name} = %s' for name in columns)}"
                f" WHERE id %% 4 = {argument}",
                list(columns.values()),
            )
        elif kind == "correct":
            connection.execute(
                "UPDATE biz.ai_run_logs SET model = %s, prompt_tokens = %s WHERE id %% 4 = %s",
                (step[2]["model"], step[2]["prompt_tokens"], argument),
            )
        elif kind == "acknowledge":
            connection.execute(
                "UPDATE biz.ai_run_logs SET alert_status = 'ignored' WHERE id %% 4 = %s", (argument,)
            )
        elif kind == "delete":
            connection.execute("DELETE FROM biz.ai_run_logs WHERE id %% 4 = %s", (argument,))
        elif kind == "fold":
            fold(dsn, limit=argument)
        else:
            rebuild(dsn)


def test_roll_ups_equal_a_recount_after_every_step(database: str) -> None:
    checked = 0
    add_batches(database)

    @settings(
        max_examples=8, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(steps, min_size=3, max_size=7))
    def follow(story: list[tuple[Any, ...]]) -> None:
        nonlocal checked
        with connect(database) as connection:
            connection.execute("TRUNCATE biz.ai_run_logs")
        for step in story:
            apply(database, step)
            asyncio.run(check(database, *BOUNDS))
            checked += 1

    follow()
    assert checked > 20


@pytest.mark.parametrize("folder", [fold, rebuild])
def test_eight_writers_and_a_folder_leave_every_snapshot_exact(
    database: str, folder: Callable[[str], int]
) -> None:
    folds = snapshots = 0
    add_batches(database)
    with ThreadPoolExecutor(8) as writers:
        writing = [writers.submit(write_at_random, database, seed, 60) for seed in range(8)]
        while not all(writer.done() for writer in writing):
            asyncio.run(check(database, BOUNDS[1]))
            snapshots += 1
            folds += folder(database) > 0
        for writer in writing:
            writer.result()
    assert folds > 0
    assert snapshots > 0
    asyncio.run(check(database, *BOUNDS))
    fold(database)
    asyncio.run(check(database, *BOUNDS))


def test_a_fold_in_the_middle_of_a_snapshot_changes_nothing_in_it(database: str) -> None:
    async def follow() -> None:
        async with await Connection.connect(database) as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            before = await read(connection, EVERY_SITE, BOUNDS[0])
            with connect(database) as other:
                add_run(other, tokens_used=6)
            assert await asyncio.to_thread(fold, database) == 2
            assert await read(connection, EVERY_SITE, BOUNDS[0]) == before
            await connection.commit()
            after = await read(connection, EVERY_SITE, BOUNDS[0])
            assert after["whole"] == {(0, "success", 2, 11, 0, 0)}

    with connect(database) as connection:
        add_run(connection, tokens_used=5)
    asyncio.run(follow())


def test_only_one_session_folds_and_the_other_does_not_wait(database: str) -> None:
    with connect(database) as connection, connection.transaction():
        add_run(connection)
        connection.execute("SELECT runglass.lock_run_rollups()")
        assert fold(database) == 0
    assert fold(database, wait=True) == 1


def test_writers_do_not_wait_for_a_fold_nor_a_fold_for_them(database: str) -> None:
    with connect(database) as folder, connect(database) as writer:
        writer.execute("SET lock_timeout = '2s'")
        add_run(writer)
        with folder.transaction():
            assert folder.execute("SELECT runglass.fold_run_log_deltas()").fetchone() == (1,)
            add_run(writer)
            writer.execute("UPDATE biz.ai_run_logs SET status = 'failed'")
        with writer.transaction():
            writer.execute("UPDATE biz.ai_run_logs SET status = 'timeout'")
            assert fold(database) > 0
    asyncio.run(check(database, BOUNDS[0]))


def test_percentiles_lie_within_five_percent(database: str) -> None:
    random = Random(3)
    columns = "site_id, app_type, status, latency_ms, created_at"
    with (
        connect(database) as connection,
        connection.cursor().copy(f"COPY biz.ai_run_logs ({columns}) FROM STDIN") as copy,
    ):
        for number in range(3000):
            latency = int(random.lognormvariate(6, 2)) if number % 50 else None
            copy.write_row((SITES[number % 3], "chat", "success", latency, NOW - number * MINUTE))
    for bounds in BOUNDS:
        asyncio.run(check(database, bounds[:2], bounds))
    fold(database)
    for bounds in BOUNDS:
        asyncio.run(check(database, bounds[:2], bounds))


latencies = st.one_of(
    st.lists(st.one_of(st.integers(0, 20), st.integers(0, 2**31 - 1)), min_size=1, max_size=80),
    # Equal values, and two far apart of which a straight line between them would show neither.
    st.tuples(st.integers(0, 2**31 - 1), st.integers(1, 60)).map(lambda each: [each[0]] * each[1]),
    st.integers(1, 40).map(lambda each: [10] * each + [10_000] * each),
    st.just([round(10 * 1.4**n) for n in range(77)][:50] + [60_000] * 27),
)


def test_percentiles_are_those_of_the_nearest_rank_for_every_sample(database: str) -> None:
    percents = (1, 10, 50, 90, 95, 99, 100)
    tried = 0

    async def shown() -> list[float | None]:
        async with await Connection.connect(database) as connection:
            day = {"start": BOUNDS[0][0], "end": BOUNDS[0][-1]}
            return await connection.read(
                rollups.latency_percentiles(scope=EVERY_SITE, **day, percents=percents)
            )

    @settings(
        max_examples=40, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(latencies)
    def follow(sample: list[int]) -> None:
        nonlocal tried
        with connect(database) as connection:
            connection.execute("TRUNCATE biz.ai_run_logs")
            connection.execute(
                "INSERT INTO biz.ai_run_logs (site_id, app_type, status, latency_ms, created_at)"
                " SELECT 'north', 'chat', 'success', unnest(%s::integer[]), %s",
                (sample, NOW),
            )
        # As a reader of the schema would count it: in whole numbers, from the first run.
        ranked = sorted(sample)
        exact = [ranked[-(-percent * len(ranked) // 100) - 1] for percent in percents]
        found = asyncio.run(shown())
        assert found == [pytest.approx(value, rel=0.05) for value in exact]
        assert all(value is not None and value <= 1.05 * ranked[-1] for value in found)
        assert found == sorted(found, key=lambda value: value or 0)
        tried += 1

    follow()
    assert tried >= 40


def test_budgets_read_the_same_numbers(database: str) -> None:
    async def follow() -> None:
        async with await Connection.connect(database) as connection:
            starts = [NOW - timedelta(hours=2), NOW - timedelta(days=20), NOW]
            end = NOW + timedelta(hours=1)
            assert await rollups.tokens_since(connection, scope=EVERY_SITE, starts=starts, end=end) == [
                110,
                1110,
                100,
            ]

    with connect(database) as connection:
        for tokens, age in ((100, timedelta(0)), (10, timedelta(hours=1)), (1000, timedelta(days=9))):
            add_run(connection, tokens_used=tokens, created_at=NOW - age)
        add_run(
            connection, tokens_used=4, created_at=NOW + timedelta(hours=1), site_id="east", app_type="mail"
        )
    asyncio.run(follow())
    fold(database)
    asyncio.run(follow())


@pytest.mark.parametrize(
    "bounds",
    [
        [NOW],
        [NOW, NOW - MINUTE * 15],
        [NOW, NOW + MINUTE * 20],
        [NOW + timedelta(microseconds=1), NOW + MINUTE * 30],
    ],
)
def test_bounds_that_no_roll_up_has_are_refused(database: str, bounds: list[datetime]) -> None:
    async def follow() -> None:
        async with await Connection.connect(database) as connection:
            await connection.read(rollups.usage_by_period(scope=EVERY_SITE, bounds=bounds))

    with pytest.raises(ValueError, match="bounds"):
        asyncio.run(follow())
