"""The partitions of the run log cover all time without a DEFAULT one, whatever is made, dropped or moved."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from random import Random

import pytest

from db.migrations.runner import apply_migrations
from tests.db.adopted import KINDS, PARTITIONED
from tests.db.recount import add_run, check, connect, fold, in_utc
from tests.db.timeline import (
    COVERED,
    MOMENTS,
    PARTS,
    TICK,
    YEARS,
    add_at_every_moment,
    assert_whole,
    make,
    rows,
    unchanged,
)


def test_a_row_of_any_date_finds_a_place_whatever_is_made_and_dropped(database: str) -> None:
    with connect(database) as connection:
        assert make(connection, "2024-05-01", "2024-05-01") == 1
        make(connection, "2026-01-01", "2027-03-01")
        steps = [
            "SELECT 1",
            "SELECT runglass.ensure_run_log_partitions('2027-04-01', '2027-06-30')",
            "SELECT runglass.drop_run_log_partition('2024-05-31')",
            "SELECT runglass.drop_run_log_partition('2026-11-01')",
            "SELECT runglass.drop_run_log_partition('2026-10-01')",
            "SELECT runglass.drop_run_log_partition('2027-06-01')",
            "SELECT runglass.ensure_run_log_partitions('2026-10-01', '2026-11-01')",
            "DROP TABLE biz.ai_run_logs_2026_06",
            "ALTER TABLE biz.ai_run_logs DETACH PARTITION biz.ai_run_logs_2026_07",
            "SELECT runglass.ensure_run_log_partitions('2026-01-01', '2026-01-01')",
        ]
        for number, step in enumerate(steps):
            connection.execute(step)
            if step.startswith("SELECT"):
                add_at_every_moment(connection)
                assert_whole(connection)
            if number % 2:
                fold(database)
    asyncio.run(check(database, YEARS))


def test_every_month_may_be_dropped_and_made_again(database: str) -> None:
    with connect(database) as connection:
        for (month,) in rows(
            connection, "SELECT lower(period)::date FROM runglass.run_log_parts() WHERE NOT is_stretch"
        ):
            connection.execute("SELECT runglass.drop_run_log_partition(%s)", (month,))
        assert [name for name, *_ in rows(connection, PARTS)] == ["ai_run_logs_before"]
        assert_whole(connection)
        assert make(connection, "2026-11-30", "2026-12-01") == 2
        assert [name for name, *_ in rows(connection, PARTS)] == [
            "ai_run_logs_before", "ai_run_logs_2026_11", "ai_run_logs_2026_12", "ai_run_logs_after",
        ]  # fmt: skip
        assert_whole(connection)


def test_stretches_do_not_pile_up_with_the_months_that_go_by(database: str) -> None:
    with connect(database) as connection:
        make(connection, "2026-01-01", "2029-01-01")
        months = [f"{year}-{month:02}-01" for year in (2026, 2027) for month in range(1, 13)]
        for month in Random(1).sample(months, len(months)):
            connection.execute("SELECT runglass.drop_run_log_partition(%s)", (month,))
        assert [name for name, _, is_stretch in rows(connection, PARTS) if is_stretch] == [
            "ai_run_logs_before", "ai_run_logs_after",
        ]  # fmt: skip


@pytest.mark.parametrize("months", [("2030-02-01", "2030-05-01"), ("2030-04-01", "2030-04-01")])
def test_a_month_takes_the_rows_of_its_own_that_lie_in_a_stretch(
    database: str, months: tuple[str, str]
) -> None:
    with connect(database) as connection:
        for moment in ("2029-12-01", "2030-04-01", "2030-04-30 23:59:59.999999", "2030-05-01", "infinity"):
            for _ in range(3):
                add_run(connection, created_at=moment, tokens_used=5)
        fold(database)
        add_run(connection, created_at="2030-04-09", latency_ms=4)
    with unchanged(database) as connection:
        assert make(connection, *months) > 0
        assert make(connection, *months) == 0
        counts = "SELECT count(*), min(created_at), max(created_at) FROM ONLY biz.ai_run_logs_2030_04"
        assert rows(connection, counts) == [
            (7, datetime(2030, 4, 1, tzinfo=UTC), datetime(2030, 5, 1, tzinfo=UTC) - TICK)
        ]


def test_a_stretch_that_is_a_month_becomes_it(database: str) -> None:
    with connect(database) as connection:
        make(connection, "2030-01-01", "2030-01-01")
        make(connection, "2030-03-01", "2030-03-01")
        add_run(connection, created_at="2030-02-02")
    with unchanged(database) as connection:
        place = rows(connection, "SELECT ctid, xmin FROM biz.ai_run_logs")
        assert make(connection, "2030-02-01", "2030-02-01") == 1
        assert rows(connection, "SELECT ctid, xmin FROM biz.ai_run_logs_2030_02") == place


def test_more_rows_than_can_move_at_once_stay_and_later_months_are_made(database: str) -> None:
    """A server that was off for months: others have gone on writing."""
    with connect(database) as connection:
        connection.execute(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, status, created_at)"
            " SELECT 'north', 'chat', 'success', timestamptz '2030-04-20' + n % 2 * interval '20 days'"
            " FROM generate_series(1, 20002) AS n"
        )
    with unchanged(database) as connection:
        places = "SELECT id, ctid, xmin FROM biz.ai_run_logs ORDER BY 1"
        was = rows(connection, places)
        assert make(connection, "2030-05-01", "2030-07-01") == 2
        assert rows(connection, places) == was
        assert {name for name, *_ in rows(connection, PARTS)} >= {
            "ai_run_logs_from_2030_04", "ai_run_logs_2030_06", "ai_run_logs_2030_07", "ai_run_logs_after",
        }  # fmt: skip


def test_a_table_of_that_name_that_is_no_partition_is_left_alone(database: str) -> None:
    with connect(database) as connection:
        for name in ("ai_run_logs_2030_01", "ai_run_logs_from_2030_01", "ai_run_logs_from_2030_03"):
            connection.execute(f"CREATE TABLE biz.{name} (note text)")
        assert make(connection, "2030-01-01", "2030-02-01") == 1
        assert make(connection, "2030-04-01", "2030-04-01") == 1
        assert "ai_run_logs_from_2030_03_1" in [name for name, *_ in rows(connection, PARTS)]
        assert_whole(connection)


def test_a_run_that_moves_to_another_time_is_counted_there(database: str) -> None:
    with connect(database) as connection:
        add_run(connection, created_at="1999-01-01", tokens_used=4, latency_ms=5)
        for moment in (*MOMENTS[2:-2], MOMENTS[2]):
            connection.execute("UPDATE biz.ai_run_logs SET created_at = %s", (moment,))
            asyncio.run(check(database, YEARS))


@pytest.mark.parametrize(
    "column", ["created_at timestamptz", "created_at timestamp", "created_at timestamp NOT NULL"]
)
def test_a_log_that_was_adopted_with_partitions_takes_every_row_it_took(empty_dsn: str, column: str) -> None:
    database = in_utc(empty_dsn)
    with connect(database) as connection:
        connection.execute(PARTITIONED.format(created_at=column, more=""))
    asyncio.run(apply_migrations(empty_dsn))
    with connect(database) as connection:
        nullable = "NOT NULL" not in column
        for moment in [*MOMENTS, *([None] if nullable else [])]:
            add_run(connection, created_at=moment)
        assert rows(connection, COVERED)[0][1] != 0 if nullable else rows(connection, COVERED) == [(True, 0)]
        assert make(connection, "2031-01-01", "2031-02-01") == 2
        if not nullable:
            assert make(connection, "2020-01-01", "2020-01-01") == 0
        assert rows(connection, "SELECT runglass.drop_run_log_partition('2031-01-01')") == [(True,)]
        for moment in MOMENTS:
            add_run(connection, created_at=moment)


def test_a_log_to_which_a_foreign_key_points_gets_a_default_partition(empty_dsn: str) -> None:
    database = in_utc(empty_dsn)
    with connect(database) as connection:
        connection.execute(KINDS["partitioned, foreign key"])
        add_run(connection, id=1, created_at="2022-03-03")
        connection.execute("INSERT INTO biz.note VALUES (1, '2022-03-03')")
    asyncio.run(apply_migrations(empty_dsn))
    with connect(database) as connection:
        assert rows(connection, "SELECT to_regclass('biz.ai_run_logs_rest') IS NULL") == [(False,)]
        assert make(connection, "2031-01-01", "2031-02-01") == 2
        add_at_every_moment(connection)
    asyncio.run(check(database, YEARS))


def test_a_row_to_which_a_foreign_key_points_keeps_its_stretch_as_it_is(database: str) -> None:
    with connect(database) as connection:
        make(connection, "2030-01-01", "2030-01-01")
        make(connection, "2030-03-01", "2030-03-01")
        add_run(connection, id=1, created_at="2031-05-05")
        connection.execute(
            "CREATE TABLE note (run bigint, at timestamptz,"
            " FOREIGN KEY (run, at) REFERENCES biz.ai_run_logs);"
            " INSERT INTO note VALUES (1, '2031-05-05');"
            " ALTER TABLE biz.ai_run_logs DETACH PARTITION biz.ai_run_logs_2030_03;"
        )
        assert make(connection, "2031-04-01", "2031-06-01") == 0
        assert make(connection, "2030-02-01", "2030-02-01") == 1
        assert_whole(connection)
        add_at_every_moment(connection)
