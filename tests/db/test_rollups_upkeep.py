"""What is done to the log besides adding runs, and to the roll-ups besides folding, leaves both equal."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from db.migrations.runner import apply_migrations
from db.postgres.connection import Connection
from db.sql.scope import EVERY_SITE, Scope
from tests.db.recount import (
    BOUNDS,
    NOW,
    add_run,
    assert_same,
    check,
    connect,
    fold,
    in_utc,
    read,
    rebuild,
    recount,
    write_at_random,
)

ADOPTED_TABLES = """
CREATE SCHEMA biz;
CREATE TABLE biz.ai_run_logs (
    id serial PRIMARY KEY, site_id integer, app_type varchar(40), trigger_type text, member_id integer,
    session_id text, request_prompt text, response_text text, tokens_used integer,
    latency_ms double precision, status varchar(20), error_message text, alert_status text,
    created_at timestamp without time zone DEFAULT now(), finished_at timestamp without time zone
);
CREATE TABLE biz.ai_trigger_jobs (
    id serial PRIMARY KEY, site_id integer, event_type text, connector_type text, member_id integer,
    payload jsonb, app_chain text, is_forced boolean, status text, error_message text, started_at timestamp,
    finished_at timestamp, created_at timestamp DEFAULT now()
);
CREATE TABLE biz.ai_cache (
    id serial PRIMARY KEY, site_id integer, cache_type text, target_id text, status text, result jsonb,
    created_at timestamp DEFAULT now(), expires_at timestamp
);
"""


def test_an_update_of_nothing_that_is_counted_appends_nothing(database: str) -> None:
    with connect(database) as connection:
        add_run(connection)
        fold(database)
        connection.execute("UPDATE biz.ai_run_logs SET alert_status = 'acknowledged', error_message = 'x'")
        assert connection.execute("SELECT count(*) FROM runglass.run_log_deltas").fetchone() == (0,)


def test_one_statement_may_insert_and_update_or_name_a_partition(database: str) -> None:
    with connect(database) as connection:
        add_run(connection, id=1, tokens_used=3)
        connection.execute(
            "INSERT INTO biz.ai_run_logs (id, site_id, app_type, status, tokens_used, created_at)"
            " VALUES (1, 'north', 'chat', 'failed', 9, %(now)s), (2, 'east', 'chat', 'success', 4, %(now)s)"
            " ON CONFLICT (id, created_at)"
            " DO UPDATE SET status = excluded.status, tokens_used = excluded.tokens_used",
            {"now": NOW},
        )
        asyncio.run(check(database, BOUNDS[0]))
        connection.execute("SELECT runglass.ensure_run_log_partitions('2027-08-01', '2027-08-01')")
        partition = connection.execute(
            "SELECT tableoid::regclass::text FROM biz.ai_run_logs WHERE id = 1"
        ).fetchone()
        assert partition is not None
        for table in (partition[0], "biz.ai_run_logs_2027_08"):
            assert connection.execute(
                "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE 'count%%'",
                (table,),
            ).fetchone() == (4,)
        connection.execute(f"UPDATE {partition[0]} SET tokens_used = 70 WHERE id = 2")
        connection.execute(f"DELETE FROM {partition[0]} WHERE id = 1")
        asyncio.run(check(database, BOUNDS[0]))
        assert fold(database) > 0
        connection.execute(f"TRUNCATE {partition[0]}")
        asyncio.run(check(database, BOUNDS[0]))


@pytest.mark.parametrize("folded", [True, False])
def test_truncate_clears(database: str, folded: bool) -> None:
    async def totals() -> list[Any]:
        async with await Connection.connect(database) as connection:
            seen = await read(connection, EVERY_SITE, [BOUNDS[0][0], BOUNDS[0][-1]])
            return [seen["apps"], seen["whole"]]

    with connect(database) as connection:
        for days in (0, 1, 40):
            add_run(connection, latency_ms=5, created_at=NOW - timedelta(days=days))
        assert asyncio.run(totals()) == [["chat"], {(0, "success", 2, 0, 2, 10)}]
        if folded:
            fold(database)
        connection.execute("TRUNCATE biz.ai_run_logs")
    assert asyncio.run(totals()) == [[], set()]
    fold(database)
    assert asyncio.run(totals()) == [[], set()]
    with connect(database) as connection:
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM runglass.run_usage), (SELECT count(*) FROM runglass.run_latency)"
        )
        assert rows.fetchone() == (0, 0)


def test_rebuild_mends_what_was_spoiled(database: str) -> None:
    write_at_random(database, 7, 150)
    fold(database)
    with connect(database) as connection:
        connection.execute("UPDATE runglass.run_usage SET tokens = tokens + 1 WHERE level IN (1, 5)")
        connection.execute("DELETE FROM runglass.run_latency WHERE level IN (3, 7)")
        connection.execute("UPDATE runglass.run_usage SET hour = hour + interval '9 years' WHERE level = 2")
        connection.execute("INSERT INTO runglass.run_totals VALUES ('north', 'ghost', 'success', 1, 1)")
    with pytest.raises(AssertionError):
        asyncio.run(check(database, BOUNDS[0]))
    with connect(database) as connection:
        rows = connection.execute("SELECT count(*) FROM biz.ai_run_logs").fetchone()
    assert (rebuild(database),) == rows
    asyncio.run(check(database, *BOUNDS, [NOW, NOW + timedelta(days=5000)]))


def test_dropping_a_month_drops_what_was_counted_of_it(database: str) -> None:
    with connect(database) as connection:
        connection.execute("SELECT runglass.ensure_run_log_partitions('2026-10-01', '2026-11-30')")
        for days in range(60):
            add_run(connection, tokens_used=days, latency_ms=days, created_at=NOW - timedelta(days=days))
            add_run(
                connection, app_type="old" if days > 24 else "chat", created_at=NOW - timedelta(days=days)
            )
            if days == 30:
                fold(database)
        months = [
            NOW - timedelta(days=70),
            NOW - timedelta(days=50),
            NOW - timedelta(days=30),
            NOW + timedelta(days=1),
        ]
        assert connection.execute("SELECT runglass.drop_run_log_partition('2026-10-15')").fetchone() == (
            True,
        )
        asyncio.run(check(database, months))
        assert connection.execute("SELECT runglass.drop_run_log_partition('2026-10-15')").fetchone() == (
            False,
        )
    fold(database)
    asyncio.run(check(database, months))


def test_an_adopted_table_is_counted_from_its_first_row(empty_dsn: str) -> None:
    rows = """
        INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, latency_ms, created_at) VALUES
            (1, 'chat', 'success', 5, 20.4, '2026-11-24 09:10'),
            (2, 'chat', 'failed', 2147483647, NULL, '2026-11-23 18:20'),
            (NULL, 'chat', NULL, NULL, 7, '2026-11-24 09:59'), (2, NULL, 'odd', 3, 0, '2026-11-24 09:45'),
            (1, 'chat', 'success', 5, 6, NULL), (1, 'chat', 'success', 5, 6, 'infinity');
    """
    database = in_utc(empty_dsn)
    with connect(database) as connection:
        connection.execute(ADOPTED_TABLES + rows)
    asyncio.run(apply_migrations(empty_dsn))
    bounds = [NOW - timedelta(days=1, minutes=15), NOW - timedelta(minutes=30), NOW + timedelta(days=1)]

    async def compare() -> None:
        async with await Connection.connect(database) as connection:
            for scope in (EVERY_SITE, Scope.of("1"), Scope.of("1", "2")):
                seen, counted = (
                    await read(connection, scope, bounds),
                    await recount(connection, scope, bounds),
                )
                assert_same(seen, counted)
            assert (0, "", 1, 0, 1, 7) in (await read(connection, EVERY_SITE, bounds))["whole"]
            assert ("chat", 1, 2147483647) in (await read(connection, Scope.of("2"), bounds))["app"]

    asyncio.run(compare())
    with connect(database) as connection:
        # A service with a session zone of its own must not shift what it writes.
        connection.execute("SET TIME ZONE 'Asia/Kathmandu'")
        connection.execute(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, status, created_at)"
            " VALUES (2, 'search', 'running', '2026-11-24 09:31'),"
            " (NULL, 'search', 'running', '2026-11-24 09:31')"
        )
        connection.execute(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, status, created_at, model, prompt_tokens,"
            " completion_tokens) VALUES (2, 'search', 'success', '2026-11-24 09:44', 'small', 3, 4)"
        )
        connection.execute(
            "UPDATE biz.ai_run_logs SET tokens_used = 8, created_at = '2026-11-24 09:16' WHERE site_id = 1"
        )
    asyncio.run(compare())
    assert fold(database) > 0
    asyncio.run(compare())
    assert rebuild(database) == 9
    asyncio.run(compare())


def test_columns_that_only_have_our_names_do_not_make_a_writer_fail(empty_dsn: str) -> None:
    database = in_utc(empty_dsn)
    with connect(database) as connection:
        connection.execute(ADOPTED_TABLES)
        connection.execute(
            "ALTER TABLE biz.ai_run_logs ADD COLUMN trigger_job_id text, ADD COLUMN model varchar"
        )
    asyncio.run(apply_migrations(empty_dsn))
    with connect(database) as connection:
        connection.execute(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, trigger_job_id, model, prompt_tokens,"
            " completion_tokens) VALUES (1, 'chat', 'evening', 'small', 1, 2)"
        )
        connection.execute("UPDATE biz.ai_run_logs SET completion_tokens = 5")
        fold(database)
        assert connection.execute(
            "SELECT model, completion_tokens FROM runglass.model_usage WHERE level = 3"
        ).fetchone() == ("small", 5)


def test_a_writer_needs_no_right_to_our_schema(database: str) -> None:
    with connect(database) as connection:
        connection.execute("DROP ROLE IF EXISTS reporter")
        connection.execute("CREATE ROLE reporter")
        connection.execute("GRANT USAGE ON SCHEMA biz TO reporter")
        connection.execute("GRANT INSERT, UPDATE, DELETE, SELECT ON biz.ai_run_logs TO reporter")
        connection.execute("SET ROLE reporter")
        add_run(connection, id=1)
        connection.execute("UPDATE biz.ai_run_logs SET status = 'failed'")
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY reporter")
        connection.execute("DROP ROLE reporter")
    asyncio.run(check(database, BOUNDS[0]))


def test_a_correction_of_the_model_alone_is_followed(database: str) -> None:
    with connect(database) as connection:
        add_run(connection, model="small", prompt_tokens=1, completion_tokens=2)
        for change in ("model = 'large'", "prompt_tokens = NULL", "prompt_tokens = 5", "model = ''"):
            connection.execute(f"UPDATE biz.ai_run_logs SET {change}")
            asyncio.run(check(database, BOUNDS[0]))
