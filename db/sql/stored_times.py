"""Times without a zone, as adopted tables may hold them: in which zone they are meant.

The zone is chosen once, when the tables are adopted, and stands in runglass.stored_time_zone. Our sessions
speak it, so that PostgreSQL compares and stores such times rightly; all that is read becomes UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, LiteralString
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection
from psycopg.abc import AdaptContext, Buffer
from psycopg.types.datetime import TimestampLoader, TimestamptzLoader

UTC_NAME = "UTC"

STORED_ZONE: LiteralString = "SELECT runglass.stored_time_zone()"
HAS_STORED_ZONE: LiteralString = "SELECT to_regprocedure('runglass.stored_time_zone()') IS NOT NULL"

# Whether there are tables to adopt with such columns, and the zone of the database itself.
_UNZONED: LiteralString = """
SELECT string_agg(DISTINCT relname || '.' || attname, ', '), current_setting('TimeZone')
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = to_regnamespace('biz') AND relname IN ('ai_run_logs', 'ai_trigger_jobs', 'ai_cache')
  AND atttypid = 'timestamp'::regtype AND attnum > 0 AND NOT attisdropped
"""


class UnknownZone(Exception):
    """The database's own zone has no name that others know."""


async def choose_zone(connection: AsyncConnection[Any], requested: str | None) -> tuple[str, str | None]:
    """The zone in which tables that are to be adopted hold times, and the columns that need one, if any.

    `requested` is what the operator says; otherwise it is the database's own. Raises UnknownZone.
    """
    cursor = await connection.execute(_UNZONED)
    columns, own = await cursor.fetchone() or (None, UTC_NAME)
    if columns is None:
        return UTC_NAME, None
    zone = requested or own
    try:
        ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise UnknownZone(
            f"the database's own time zone {zone!r} is no IANA name: say with RUNGLASS_STORED_TIME_ZONE in"
            f" which zone {columns} are"
        ) from None
    return zone, columns


async def read_stored_zone(connection: AsyncConnection[Any]) -> ZoneInfo | None:
    """The zone that was chosen; None where nothing is adopted yet."""
    cursor = await connection.execute(HAS_STORED_ZONE)
    if await cursor.fetchone() != (True,):
        return None
    cursor = await connection.execute(STORED_ZONE)
    row = await cursor.fetchone()
    return ZoneInfo(row[0]) if row else None


def read_as_utc(context: AdaptContext, zone: ZoneInfo) -> None:
    """Have a connection, whose session speaks the zone, give every time in UTC."""

    class Unzoned(TimestampLoader):
        def load(self, data: Buffer) -> datetime:
            return super().load(data).replace(tzinfo=zone).astimezone(UTC)

    class Zoned(TimestamptzLoader):
        def load(self, data: Buffer) -> datetime:
            return super().load(data).astimezone(UTC)

    context.adapters.register_loader("timestamp", Unzoned)
    if zone.key != UTC_NAME:
        context.adapters.register_loader("timestamptz", Zoned)
