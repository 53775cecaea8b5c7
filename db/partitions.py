"""Monthly partitions of biz.ai_run_logs; an adopted table without partitions is left as it is."""

from __future__ import annotations

from typing import LiteralString

from db.pool import Connection

MAKE_PARTITIONS_AHEAD: LiteralString = """
SELECT runglass.ensure_run_log_partitions(current_date, (current_date + interval '3 months')::date)
"""


async def make_partitions_ahead(connection: Connection) -> None:
    """Make the partitions of this month and the next three, where they are missing."""
    await connection.execute(MAKE_PARTITIONS_AHEAD)
