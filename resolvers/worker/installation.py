"""Whether this database is the installation's own or a copy of it, and what becomes of a copy.

What was restored from a dump holds the original's waiting jobs: two sets of workers would call apps twice. So
a copy's workers run nothing until somebody has said which of the two it is.
"""

from __future__ import annotations

from db.jobs.batches import settle_batches
from db.postgres.pool import Database
from db.worker import installation as store
from resolvers.access.callers import Caller, audit

COPIED = (
    "this database is a copy of another one, or was moved: no job runs until `runglass installation confirm`"
    " (it is the installation now) or `runglass installation new` (the original goes on) is run"
)


async def copy_problem(database: Database) -> str | None:
    """What must be decided about a copy; None where the database is the installation's own."""
    async with database.connection() as connection:
        return COPIED if (await store.get_installation(connection)).is_copy else None


async def describe_installation(database: Database) -> str:
    """This installation in one line."""
    async with database.connection() as connection:
        row = await store.get_installation(connection)
        waiting = await store.count_waiting_jobs(connection)
    state = COPIED if row.is_copy else "in its own database"
    if not row.is_known:
        state = "in a database that does not tell its identity, so that a copy would not be noticed"
    return f"installation {row.id}, {waiting} jobs wait or run: {state}"


async def confirm_installation(database: Database, caller: Caller) -> str:
    """This database is the installation, moved: what waits runs, under the same idempotency keys."""
    async with database.transaction() as transaction:
        await store.confirm_installation(transaction)
        row = await store.get_installation(transaction)
        await audit(transaction, caller, "confirmInstallation", ("installation", row.id), site_id=None)
    return await describe_installation(database)


async def renew_installation(database: Database, caller: Caller) -> str:
    """This database is another installation beside its original: what waits or runs is cancelled here."""
    async with database.transaction() as transaction:
        cancelled = await store.renew_installation(transaction, actor=caller.name)
        row = await store.get_installation(transaction)
        after = {"cancelledJobs": cancelled}
        await audit(
            transaction, caller, "newInstallation", ("installation", row.id), site_id=None, after=after
        )
    async with database.connection() as connection:
        await settle_batches(connection)
    return f"cancelled {cancelled} jobs; {await describe_installation(database)}"
