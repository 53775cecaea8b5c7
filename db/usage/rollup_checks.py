"""Whether the sums of the run log are those of its rows, where rows came or went past our triggers.

Tables: runglass.run_log_tables (the log and its partitions, as they were last known) and
runglass.run_days_in_doubt. The functions are those of `db/functions/run_log_checks.sql`.
"""

from __future__ import annotations

from datetime import datetime
from time import monotonic
from typing import Any, LiteralString, NamedTuple

from psycopg.errors import LockNotAvailable, QueryCanceled

from db.postgres.pool import Connection, fetch_unscoped

# A day may hold millions of rows.
_LIMITS: LiteralString = """
SELECT set_config('statement_timeout', '10s', true), set_config('lock_timeout', '500ms', true)
"""
NOTICE_TABLES: LiteralString = "SELECT runglass.notice_run_log_tables()"
COUNT_TABLE: LiteralString = "SELECT runglass.count_run_logs_from_now_on()"
COUNT_DAY: LiteralString = "SELECT runglass.count_day_in_doubt()"
SAMPLE_DAYS: LiteralString = "SELECT runglass.sample_run_log_days()"
COMPARE_DAYS: LiteralString = """
SELECT (day AT TIME ZONE 'UTC')::date::text || CASE runglass.run_log_day_differences(day)
    WHEN 0 THEN '' ELSE ' differs' END
FROM (
    SELECT days AS day FROM runglass.run_rollup_days() AS days
    ORDER BY days = max(days) OVER () DESC, random() LIMIT 3
) AS chosen
ORDER BY day DESC
"""
UNCOUNTED: LiteralString = "SELECT runglass.uncounted_run_log_tables()"
LIST_DOUBTS: LiteralString = """
SELECT reason, count(*) FILTER (WHERE counted_at IS NULL), count(*) FILTER (WHERE differed), max(noticed_at)
FROM runglass.run_days_in_doubt GROUP BY reason ORDER BY max(noticed_at) DESC LIMIT 5
"""
DOUBTS_UNTIL_NOW: LiteralString = "SELECT now()"
FORGET_DOUBTS: LiteralString = "DELETE FROM runglass.run_days_in_doubt WHERE noticed_at <= %(before)s"


class Doubts(NamedTuple):
    """Days put into doubt for one reason: how many wait to be counted, and how many were wrong before."""

    reason: str
    waiting: int
    differed: int
    noticed_at: datetime


async def notice_tables(connection: Connection) -> list[str]:
    """Put the days of partitions that came or went into doubt, and count writes of those that came.

    Gives a line for each of them. The connection is in autocommit.
    """
    changes = await _values(connection, NOTICE_TABLES)
    while (counted := await _values(connection, COUNT_TABLE)) not in ([], [None]):
        changes.append(f"{counted[0]} is counted from now on")
    return changes


async def count_days_in_doubt(connection: Connection, *, seconds: float) -> int:
    """Count days in doubt again, for about so long, and give how many; 0 where none is left."""
    end = monotonic() + seconds
    counted = 0
    while await _values(connection, COUNT_DAY, patient=True) not in ([], [None]):
        counted += 1
        if monotonic() >= end:
            break
    return counted


async def sample_days(connection: Connection) -> list[str]:
    """The days whose sums differ from their rows, of the newest and one at random; they are in doubt then."""
    return await _values(connection, SAMPLE_DAYS)


async def compare_days(connection: Connection) -> tuple[int, list[str]]:
    """How many days were compared with their rows, the newest and some at random, and those that differ.

    It changes nothing, so that a standby can be asked too.
    """
    compared = await _values(connection, COMPARE_DAYS)
    return len(compared), [text.split()[0] for text in compared if text.endswith("differs")]


async def uncounted_tables(connection: Connection) -> list[str]:
    """The tables of the log whose writes are not all counted, because a trigger of ours is missing or off."""
    return await _values(connection, UNCOUNTED)


async def list_doubts(connection: Connection) -> list[Doubts]:
    """The newest reasons for which days were put into doubt since the last rebuild."""
    return await fetch_unscoped(connection, Doubts, LIST_DOUBTS)


async def doubts_until_now(connection: Connection) -> datetime:
    """The moment until which doubts are settled by a rebuild that begins after it."""
    (moment,) = await _values(connection, DOUBTS_UNTIL_NOW)
    return moment


async def forget_doubts(connection: Connection, until: datetime) -> None:
    """What a rebuild has made certain."""
    await connection.execute(FORGET_DOUBTS, {"before": until})


async def _values(connection: Connection, statement: LiteralString, *, patient: bool = False) -> list[Any]:
    """The first column; nothing where it takes too long or somebody has a lock."""
    try:
        async with connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0" if patient else _LIMITS)
            cursor = await connection.execute(statement)
            return [value for (value,) in await cursor.fetchall()]
    except (LockNotAvailable, QueryCanceled):
        return []
