"""Rows that come and go past the triggers are noticed, told by `check` and counted again by the upkeep."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from bench.adoption import differences
from db.migrations.runner import apply_migrations
from db.postgres.connection import Connection
from db.postgres.pool import Database, PoolSettings
from db.usage.rollup_checks import (
    count_days_in_doubt,
    list_doubts,
    notice_tables,
    sample_days,
    uncounted_tables,
)
from resolvers.worker.checks import check_store
from resolvers.worker.maintenance import rebuild_rollups, run_upkeep_once
from tests.db.adopted import KINDS
from tests.db.recount import NOW, add_run, check, connect, fold, in_utc
from tests.db.timeline import make, rows

BOUNDS = [[NOW.replace(year=year, month=1, day=1) for year in (2021, 2024, 2027, 2031)]]
DETACH = "ALTER TABLE biz.ai_run_logs DETACH PARTITION biz.ai_run_logs_2030_01"
# What a service may do, on a log with partitions of months and runs of January and February of 2030.
PAST_THE_TRIGGERS: dict[str, Callable[[psycopg.Connection], object]] = {
    "detach": lambda hand: hand.execute(
        "ALTER TABLE biz.ai_run_logs DETACH PARTITION biz.ai_run_logs_2030_01"
    ),
    "drop": lambda hand: hand.execute("DROP TABLE biz.ai_run_logs_2030_01"),
    "attach": lambda hand: attach(hand),
    "replica": lambda hand: past("SET session_replication_role = replica", hand),
    "triggers off": lambda hand: past(
        "ALTER TABLE biz.ai_run_logs DISABLE TRIGGER USER",
        hand,
        "ALTER TABLE biz.ai_run_logs ENABLE TRIGGER USER",
    ),
}


def attach(hand: psycopg.Connection) -> None:
    hand.execute("CREATE TABLE biz.loaded (LIKE biz.ai_run_logs INCLUDING DEFAULTS)")
    hand.execute("INSERT INTO biz.loaded (site_id, app_type, status, created_at)"
        " SELECT 'north', 'chat', 'success', '2030-01-20' FROM generate_series(1, 4)")  # fmt: skip
    hand.execute(DETACH)
    hand.execute("ALTER TABLE biz.ai_run_logs ATTACH PARTITION biz.loaded"
        " FOR VALUES FROM ('2030-01-01 00:00+00') TO ('2030-02-01 00:00+00')")  # fmt: skip


def past(before: str, hand: psycopg.Connection, after: str = "RESET session_replication_role") -> None:
    hand.execute(before)
    for day in (5, 6, 7):
        add_run(hand, created_at=NOW.replace(year=2030, month=1, day=day), tokens_used=50)
    hand.execute("UPDATE biz.ai_run_logs SET tokens_used = 1000 WHERE created_at >= '2030-01-04'")
    hand.execute(after)


@pytest.fixture
def months(database: str) -> str:
    """Months of 2030 with a run a day, folded, and the tables known."""
    with connect(database) as hand:
        make(hand, "2030-01-01", "2030-02-01")
        for month in (1, 2):
            for day in range(1, 9):
                add_run(hand, created_at=NOW.replace(year=2030, month=month, day=day), tokens_used=3)
    fold(database)
    assert upkeep(database) == ([], 0)
    assert differences(database) == 0
    return database


def upkeep(dsn: str) -> tuple[list[str], int]:
    """What a round of the upkeep notices, and how many days it counts again."""

    async def run() -> tuple[list[str], int]:
        async with await Connection.connect(dsn, autocommit=True) as connection:
            told = await notice_tables(connection)
            # The day at random is that of a damage at last.
            for _ in range(40):
                told += await sample_days(connection)
            return told, await count_days_in_doubt(connection, seconds=60)

    return asyncio.run(run())


def checked(dsn: str) -> list[str]:
    return asyncio.run(check_store(dsn, PoolSettings()))


@pytest.mark.parametrize("how", PAST_THE_TRIGGERS)
def test_the_upkeep_notices_and_counts_again(months: str, how: str) -> None:
    with connect(months) as hand:
        PAST_THE_TRIGGERS[how](hand)
    assert differences(months) > 0
    told, counted = upkeep(months)
    assert told
    assert counted > 0
    assert differences(months) == 0
    asyncio.run(check(months, *BOUNDS))
    assert any("were counted again" in line for line in checked(months))
    assert upkeep(months) == ([], 0)


def test_what_we_do_to_partitions_ourselves_is_no_doubt(months: str) -> None:
    with connect(months) as hand:
        make(hand, "2030-05-01", "2030-06-01")
        assert rows(hand, "SELECT runglass.drop_run_log_partition('2030-02-01')") == [(True,)]
        make(hand, "2030-02-01", "2030-03-01")
        assert rows(hand, "SELECT * FROM runglass.notice_run_log_tables()") == []
        assert rows(hand, "SELECT count(*) FROM runglass.run_days_in_doubt") == [(0,)]


def test_a_foreign_change_before_one_of_ours_is_noticed(months: str) -> None:
    with connect(months) as hand:
        hand.execute("DROP TABLE biz.ai_run_logs_2030_01")
        make(hand, "2030-01-01", "2030-04-01")
        assert rows(hand, "SELECT count(*) > 0 FROM runglass.run_days_in_doubt") == [(True,)]
    upkeep(months)
    assert differences(months) == 0


def test_a_partition_that_came_without_triggers_is_counted_from_then_on(months: str) -> None:
    with connect(months) as hand:
        attach(hand)
        assert asyncio.run(uncounted(months)) == ["biz.loaded"]
        upkeep(months)
        assert asyncio.run(uncounted(months)) == []
        hand.execute("INSERT INTO biz.loaded (site_id, app_type, created_at) VALUES ('n', 'x', '2030-01-09')")
    assert differences(months) == 0


def test_triggers_that_were_dropped_are_made_again_and_what_they_missed_is_counted(months: str) -> None:
    with connect(months) as hand:
        for name in ("inserted", "updated", "deleted", "truncated"):
            hand.execute(f"DROP TRIGGER count_{name} ON biz.ai_run_logs_2030_01")
        hand.execute("UPDATE biz.ai_run_logs_2030_01 SET tokens_used = 4")
        upkeep(months)
        assert differences(months) == 0
        hand.execute("UPDATE biz.ai_run_logs_2030_01 SET tokens_used = 5")
    assert differences(months) == 0


def test_a_table_that_went_is_not_counted_any_more(months: str) -> None:
    with connect(months) as hand:
        hand.execute(DETACH)
        upkeep(months)
        hand.execute("DELETE FROM biz.ai_run_logs_2030_01")
    assert differences(months) == 0


async def uncounted(dsn: str) -> list[str]:
    async with await Connection.connect(dsn, autocommit=True) as connection:
        return await uncounted_tables(connection)


def test_triggers_that_are_off_are_told_until_they_are_on(months: str) -> None:
    with connect(months) as hand:
        hand.execute("ALTER TABLE biz.ai_run_logs DISABLE TRIGGER count_updated")
        assert any(
            line.startswith("wrong: writes of biz.ai_run_logs are not all counted")
            for line in checked(months)
        )
        hand.execute("ALTER TABLE biz.ai_run_logs ENABLE ALWAYS TRIGGER count_updated")
    assert not any(line.startswith("wrong") for line in checked(months))


def test_check_compares_and_a_rebuild_makes_certain(months: str) -> None:
    assert any(line.startswith("ok: sums of") for line in checked(months))
    with connect(months) as hand:
        hand.execute("SET session_replication_role = replica")
        hand.execute("UPDATE biz.ai_run_logs SET tokens_used = 9")
    assert any(line.startswith("wrong: sums of 2030-02-08") for line in checked(months))
    asyncio.run(rebuilt(months))
    assert differences(months) == 0
    lines = checked(months)
    assert not any(line.startswith("wrong") or "again" in line for line in lines)


async def rebuilt(dsn: str) -> None:
    database = Database(dsn, PoolSettings())
    await database.open()
    try:
        assert await rebuild_rollups(database) == 16
    finally:
        await database.close()


def test_a_round_of_the_servers_upkeep_does_all_of_it(months: str, caplog: pytest.LogCaptureFixture) -> None:
    with connect(months) as hand:
        hand.execute("DROP TABLE biz.ai_run_logs_2030_01")

    async def run() -> None:
        database = Database(months, PoolSettings())
        await database.open()
        try:
            await run_upkeep_once(database)
        finally:
            await database.close()

    asyncio.run(run())
    assert differences(months) == 0
    lines = [
        record.getMessage()
        for record in caplog.records
        if "biz.ai_run_logs_2030_01 went" in record.getMessage()
    ]
    assert len(lines) == 1


def test_a_log_that_was_swapped_for_another_is_noticed(empty_dsn: str) -> None:
    database = in_utc(empty_dsn)
    with connect(database) as hand:
        hand.execute(KINDS["texts"])
        asyncio.run(apply_migrations(database))
        hand.execute("CREATE TABLE biz.other (LIKE biz.ai_run_logs INCLUDING ALL)")
        hand.execute(
            "INSERT INTO biz.other (id, site_id, tokens_used, created_at) VALUES (1, '1', 5, '2026-11-24')"
        )
        hand.execute("ALTER TABLE biz.ai_run_logs RENAME TO old; ALTER TABLE biz.other RENAME TO ai_run_logs")
        upkeep(database)
        hand.execute(
            "INSERT INTO biz.ai_run_logs (id, site_id, tokens_used, created_at)"
            " VALUES (2, '1', 6, '2026-11-24')"
        )
    assert differences(database) == 0


def test_doubts_are_told_by_their_reason(months: str) -> None:
    with connect(months) as hand:
        hand.execute("DROP TABLE biz.ai_run_logs_2030_01")

    async def run() -> list[tuple[str, int, int]]:
        async with await Connection.connect(months, autocommit=True) as connection:
            await notice_tables(connection)
            before = [tuple(doubt)[:3] for doubt in await list_doubts(connection)]
            await count_days_in_doubt(connection, seconds=60)
            return before + [tuple(doubt)[:3] for doubt in await list_doubts(connection)]

    assert asyncio.run(run()) == [
        ("biz.ai_run_logs_2030_01 went", 8, 0), ("biz.ai_run_logs_2030_01 went", 0, 8),
    ]  # fmt: skip


def test_days_of_a_log_without_zones_are_compared_in_the_stored_zone(empty_dsn: str) -> None:
    with connect(empty_dsn) as hand:
        hand.execute(KINDS["integers"])
        asyncio.run(apply_migrations(empty_dsn, stored_time_zone="Asia/Shanghai"))
        assert not any("sums of" in line for line in checked(empty_dsn) if line.startswith("wrong"))
        hand.execute("SET session_replication_role = replica")
        hand.execute("UPDATE biz.ai_run_logs SET tokens_used = 77 WHERE created_at > '2021-01-01'")
        assert upkeep(empty_dsn)[0]
    assert not any("sums of" in line for line in checked(empty_dsn) if line.startswith("wrong"))
