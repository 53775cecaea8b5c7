"""What tests of the log's partitions share: moments everywhere, and what must be so of the whole log."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from tests.db.recount import NOW, add_run, check, connect

TICK = timedelta(microseconds=1)
# On bounds and beside them: in months that the fixture makes, in the gap between them, and around them all.
MOMENTS: list[Any] = [
    "-infinity",
    "0044-03-15 12:00+00 BC",
    datetime(1999, 12, 31, tzinfo=UTC),
    datetime(2024, 5, 1, tzinfo=UTC) - TICK,
    datetime(2024, 5, 1, tzinfo=UTC),
    datetime(2024, 6, 1, tzinfo=UTC) - TICK,
    datetime(2024, 6, 1, tzinfo=UTC),
    datetime(2025, 3, 3, tzinfo=UTC),
    datetime(2026, 1, 1, tzinfo=UTC) - TICK,
    datetime(2026, 1, 1, tzinfo=UTC),
    NOW,
    datetime(2150, 2, 28, tzinfo=UTC),
    "262000-01-01 00:00+00",
    "infinity",
]
YEARS = [datetime(year, 1, 1, tzinfo=UTC) for year in (1990, 2024, 2025, 2026, 2027, 2160)]
ROLLUPS = ("run_log_deltas", "run_usage", "run_latency", "run_totals", "model_usage", "batch_usage")

PARTS = """
SELECT relname, period, is_stretch FROM runglass.run_log_parts() JOIN pg_class ON oid = part ORDER BY period
"""
COVERED = """
SELECT range_agg(period) = '{(,)}',
    (SELECT partdefid FROM pg_partitioned_table WHERE partrelid = 'biz.ai_run_logs'::regclass)
FROM runglass.run_log_parts()
"""
# A partition whose indexes or triggers are not those of the log.
UNLIKE = """
WITH described AS (
    SELECT relation,
        ARRAY(
            SELECT coalesce(inhparent, indexrelid)
            FROM pg_index LEFT JOIN pg_inherits ON inhrelid = indexrelid
            WHERE indrelid = relation AND indisvalid ORDER BY 1
        ) AS indexes,
        ARRAY(
            SELECT tgname::text || tgenabled::text FROM pg_trigger
            WHERE tgrelid = relation AND tgconstraint = 0 ORDER BY 1
        ) AS triggers
    FROM (SELECT part FROM runglass.run_log_parts() UNION SELECT 'biz.ai_run_logs') AS relations (relation)
)
SELECT part.relation FROM described AS part, described AS log
WHERE log.relation = 'biz.ai_run_logs'::regclass
    AND (part.indexes, part.triggers) <> (log.indexes, log.triggers)
"""
# What a user may have added: it must not take a row that changes its place for a new one.
TELLTALE = """
CREATE TABLE told (id bigint);
CREATE FUNCTION tell() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN INSERT INTO told VALUES (1); RETURN NULL; END';
CREATE TRIGGER tell AFTER INSERT OR DELETE ON biz.ai_run_logs FOR EACH ROW EXECUTE FUNCTION tell();
CREATE TRIGGER asleep AFTER INSERT ON biz.ai_run_logs FOR EACH ROW EXECUTE FUNCTION tell();
ALTER TABLE biz.ai_run_logs DISABLE TRIGGER asleep;
"""


def make(connection: psycopg.Connection, first: str, last: str) -> int:
    row = connection.execute("SELECT runglass.ensure_run_log_partitions(%s, %s)", (first, last)).fetchone()
    assert row
    return row[0]


def rows(connection: psycopg.Connection, statement: str, *values: Any) -> list[Any]:
    return connection.execute(statement, values).fetchall()


def log(connection: psycopg.Connection) -> list[Any]:
    return rows(connection, "SELECT run::text FROM biz.ai_run_logs AS run ORDER BY 1")


def rollups(connection: psycopg.Connection) -> list[Any]:
    return [rows(connection, f"SELECT t::text FROM runglass.{table} AS t ORDER BY 1") for table in ROLLUPS]


def assert_whole(connection: psycopg.Connection) -> None:
    assert rows(connection, COVERED) == [(True, 0)]
    assert rows(connection, UNLIKE) == []


def add_at_every_moment(connection: psycopg.Connection) -> None:
    for moment in MOMENTS:
        add_run(connection, created_at=moment, tokens_used=3, latency_ms=7)


@contextmanager
def unchanged(dsn: str) -> Iterator[psycopg.Connection]:
    """Afterwards the log, the roll-ups and what triggers told are as they were, and the log is whole."""
    with connect(dsn) as connection:
        told = "SELECT count(*) FROM told"
        connection.execute(TELLTALE)
        was = (log(connection), rollups(connection), rows(connection, told))
        yield connection
        assert (log(connection), rollups(connection), rows(connection, told)) == was
        assert_whole(connection)
    asyncio.run(check(dsn, YEARS))
