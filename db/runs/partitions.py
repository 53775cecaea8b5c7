"""Partitions of biz.ai_run_logs: one a month, and stretches that cover the time around and between them.

An adopted table without partitions is left as it is. `db/functions/run_log_partitions.sql` makes and drops
them.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg.errors import LockNotAvailable

from db.postgres.connection import unhurried
from db.postgres.pool import Connection

# Writers queue behind whoever waits to lock the log, for as long as it waits. But what is begun must end: the
# rows that others wrote while no server was up for months are read once, which may take seconds.
WAIT_BRIEFLY: LiteralString = """
SELECT set_config('lock_timeout', '500ms', true)
"""

MAKE_PARTITIONS_AHEAD: LiteralString = """
SELECT runglass.ensure_run_log_partitions(current_date, (current_date + interval '3 months')::date)
"""


async def make_partitions_ahead(connection: Connection) -> bool:
    """Make the partitions of this month and the next three, where they are missing.

    False where somebody held the log for half a second: an import, say. Runs then lie in the stretch after
    the last month, and go to their month when a later call makes it. The connection is in autocommit.
    Raises psycopg's InsufficientPrivilege where the role may not, or where the one that migrated may not.
    """
    try:
        async with unhurried(connection):
            await connection.execute(WAIT_BRIEFLY)
            await connection.execute(MAKE_PARTITIONS_AHEAD)
    except LockNotAvailable:
        return False
    return True
