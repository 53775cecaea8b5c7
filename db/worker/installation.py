"""This installation, and the database it lives in: a restored copy of it must not run the original's jobs.

Tables: runglass.installation, runglass.job_queue, runglass.batches, biz.ai_trigger_jobs, and procrastinate's.
"""

from __future__ import annotations

from typing import LiteralString, NamedTuple
from uuid import UUID

from db.postgres.pool import Connection, fetch_unscoped
from db.sql.scope import EVERY_SITE, SiteStatement


class InstallationRow(NamedTuple):
    """`is_known` tells whether the database's identity can be compared, `is_copy` that it is another one."""

    id: UUID
    is_known: bool
    is_copy: bool


GET_INSTALLATION: LiteralString = """
SELECT id, database_identity IS NOT NULL AND current IS NOT NULL,
    coalesce(database_identity <> current, false)
FROM runglass.installation, runglass.database_identity() AS current"""

CONFIRM_INSTALLATION: LiteralString = """
UPDATE runglass.installation SET database_identity = runglass.database_identity()"""

RENEW_INSTALLATION: LiteralString = """
UPDATE runglass.installation
SET id = gen_random_uuid(), database_identity = runglass.database_identity()"""

# What our workers would run: what is in the queue, and what its batch has not put there yet.
_OURS: LiteralString = """
    status IN ('pending', 'running')
    AND (batch_id IS NOT NULL OR id IN (SELECT job_id FROM runglass.job_queue)) AND {scope}"""

COUNT_WAITING_JOBS = SiteStatement("SELECT count(*)::integer FROM biz.ai_trigger_jobs WHERE" + _OURS)

CANCEL_WAITING_JOBS = SiteStatement(
    """
    UPDATE biz.ai_trigger_jobs SET status = 'cancelled', finished_at = now(),
        error_message = 'cancelled: it waited when this database was copied'
    WHERE"""
    + _OURS
)

CANCEL_BATCHES = SiteStatement(
    """
    UPDATE runglass.batches SET status = 'cancelled', cancelled_by = %(actor)s
    WHERE status IN ('confirmed', 'running') AND finished_at IS NULL AND {scope}"""
)

EMPTY_QUEUE = SiteStatement("DELETE FROM runglass.job_queue WHERE {scope}")

EMPTY_ENGINE: LiteralString = "DELETE FROM procrastinate.procrastinate_jobs WHERE queue_name = 'work'"


async def get_installation(connection: Connection) -> InstallationRow:
    """This installation."""
    (row,) = await fetch_unscoped(connection, InstallationRow, GET_INSTALLATION)
    return row


async def count_waiting_jobs(connection: Connection) -> int:
    """How many jobs our workers would run, of every site."""
    cursor = await connection.execute(COUNT_WAITING_JOBS.sql(EVERY_SITE))
    (row,) = await cursor.fetchall()
    return int(row[0])


async def confirm_installation(connection: Connection) -> None:
    """Take the database for the installation's own from now on."""
    await connection.execute(CONFIRM_INSTALLATION)


async def renew_installation(connection: Connection, *, actor: str) -> int:
    """Make another installation of it: what waits or runs is cancelled. Gives how many jobs these were."""
    cursor = await connection.execute(CANCEL_WAITING_JOBS.sql(EVERY_SITE))
    await connection.execute(EMPTY_QUEUE.sql(EVERY_SITE))
    await connection.execute(EMPTY_ENGINE)
    await connection.execute(CANCEL_BATCHES.sql(EVERY_SITE), {"actor": actor})
    await connection.execute(RENEW_INSTALLATION)
    return cursor.rowcount
