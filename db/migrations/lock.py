"""One process at a time applies migrations; the others wait and say for whom.

The lock belongs to a transaction, on a connection of its own, and to no session: behind a pooler in
transaction mode a session's lock would stay with a connection that others get, long after its process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import LiteralString

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from db.postgres.address import connected

log = logging.getLogger(__name__)

# Any constant will do, as long as every process of every version of Runglass takes the same one.
_LOCK_KEY = 7_864_511_245_001
_TRY_SECONDS = 0.2
_TELL_SECONDS = 5.0

# For as long as the migrations take nothing else is asked on this connection. The key is no parameter: after
# a statement with parameters its snapshot stays until the next one, and an index that is built concurrently
# waits for everybody who has an older snapshot.
TAKE: LiteralString = """
SELECT pg_try_advisory_xact_lock(7864511245001), set_config('idle_in_transaction_session_timeout', '0', true)
"""

WHO_HAS_IT: LiteralString = """
SELECT format('process %%s of %%s, for %%s s', activity.pid, coalesce(host(client_addr), 'this machine'),
    extract(epoch FROM now() - xact_start)::integer)
FROM pg_locks JOIN pg_stat_activity AS activity USING (pid)
WHERE locktype = 'advisory' AND granted AND (classid::bigint << 32) | objid::bigint = %s
  AND pg_locks.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


@asynccontextmanager
async def migration_lock(dsn: str, *, seconds: float) -> AsyncGenerator[None, None]:
    """Be the only one to migrate a database, within the block; waiting is told in the log.

    Raises Unavailable where the server does not answer within `seconds`.
    """
    async with connected(dsn, seconds=seconds, purpose="migration lock") as connection:
        told: float | None = None
        while not await _try(connection):
            if told is None or time.monotonic() - told >= _TELL_SECONDS:
                told = time.monotonic()
                log.warning("waiting for another process that migrates: %s", await _who(connection))
            await asyncio.sleep(_TRY_SECONDS)
        yield
        await connection.execute("COMMIT")


async def _try(connection: AsyncConnection[TupleRow]) -> bool:
    await connection.execute("BEGIN")
    cursor = await connection.execute(TAKE)
    row = await cursor.fetchone()
    if row is not None and row[0]:
        return True
    await connection.execute("ROLLBACK")
    return False


async def _who(connection: AsyncConnection[TupleRow]) -> str:
    cursor = await connection.execute(WHO_HAS_IT, (_LOCK_KEY,))
    row = await cursor.fetchone()
    return "it is about to end" if row is None else row[0]
