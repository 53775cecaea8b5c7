"""What a running server does beside answering: fold the roll-ups, make partitions, say if it is well."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from db.access.idempotency import purge_keys
from db.budgets.reservations import release_reservations
from db.jobs.batches import settle_batches
from db.migrations.runner import MigrationError, migration_state
from db.postgres.checks import takes_changes
from db.postgres.errors import NotPermitted, StatementTimeout, Unavailable, translated
from db.postgres.pool import Connection, Database
from db.postgres.repeats import Repeats
from db.runs.partitions import make_partitions_ahead
from db.usage import rollups
from db.usage.rollup_checks import (
    count_days_in_doubt,
    doubts_until_now,
    forget_doubts,
    notice_tables,
    sample_days,
    uncounted_tables,
)
from resolvers.budgets.budget_events import tell_thresholds

log = logging.getLogger(__name__)

FOLD_SECONDS = 2.0
RESERVATION_SECONDS = 86_400.0
_FOLDS_A_PARTITION_CHECK = 1800
_FOLDS_A_PURGE = 150
_FOLDS_A_TABLE_CHECK = 15
_FOLDS_A_SAMPLE = 300
_RECOUNT_SECONDS = 2.0
# For batches that an outside dispatcher runs; our workers settle theirs at once.
_FOLDS_A_SETTLEMENT = 5


async def run_upkeep(database: Database, *, reservation_seconds: float = RESERVATION_SECONDS) -> None:
    """Do one round after another until cancelled. A database that is gone is waited for.

    Any number of processes may do this at once: one folds, the others find nothing to do.
    """
    rounds = 0
    waits = Repeats()
    while True:
        try:
            await run_upkeep_once(database, rounds, reservation_seconds=reservation_seconds)
            rounds += 1
            if waits.forget():
                log.info("upkeep goes on")
        except (Unavailable, StatementTimeout) as error:
            waits.tell(log, logging.WARNING, f"upkeep waits: {error}")
        except Exception:
            log.exception("upkeep failed and will be tried again")
        await asyncio.sleep(FOLD_SECONDS)


async def run_upkeep_once(
    database: Database, rounds: int = 0, *, reservation_seconds: float = RESERVATION_SECONDS
) -> None:
    """Fold and, where that moved something, tell which budgets reached a threshold; some rounds do more.

    `rounds` is how many there were before; the first does everything. What the server's role has no right to
    is left out, and the rest is done.
    """
    moved = 0
    async with database.connection() as connection:
        with _as_permitted():
            moved = await rollups.fold(connection)
        with _as_permitted():
            if moved or rounds % _FOLDS_A_PURGE == 0:
                await tell_thresholds(connection)
        with _as_permitted():
            if rounds % _FOLDS_A_SETTLEMENT == 0:
                await settle_batches(connection)
        with _as_permitted():
            if rounds % _FOLDS_A_PURGE == 0:
                await purge_keys(connection)
                await _release_reservations(connection, reservation_seconds)
        with _as_permitted():
            if rounds % _FOLDS_A_TABLE_CHECK == 0:
                await _doubt_sums(connection, sample=rounds % _FOLDS_A_SAMPLE == 0)
        with _as_permitted():
            if rounds % _FOLDS_A_PARTITION_CHECK == 0:
                await make_partitions_ahead(connection)


@contextmanager
def _as_permitted() -> Generator[None]:
    with suppress(NotPermitted), translated():
        yield


async def _doubt_sums(connection: Connection, *, sample: bool) -> None:
    """Notice what changed past the triggers, and count the days that it may have touched again."""
    for change in await notice_tables(connection):
        log.warning("run log: %s; its days are counted again", change)
    if sample:
        for day in await sample_days(connection):
            log.warning("run log: sums of %s were not those of its rows; it is counted again", day)
        for table in await uncounted_tables(connection):
            log.warning("run log: writes of %s are not all counted, its triggers are off or missing", table)
    if counted := await count_days_in_doubt(connection, seconds=_RECOUNT_SECONDS):
        log.info("run log: %d days were counted again", counted)


async def _release_reservations(connection: Connection, seconds: float) -> None:
    while released := await release_reservations(connection, seconds=seconds):
        log.warning(
            "%s jobs that nothing has moved for %g s reserve no tokens any more; failJobs ends them",
            released,
            seconds,
        )


class Readiness(NamedTuple):
    """Why a server should get no requests, if so, and whether the database takes changes too."""

    reason: str | None
    takes_changes: bool


async def readiness(database: Database) -> Readiness:
    """Whether this server can answer. One whose database only reads can: it refuses what is to change."""
    try:
        async with database.connection() as connection:
            missing = (await migration_state(connection)).missing
            writable = await takes_changes(connection)
    except (Unavailable, StatementTimeout) as error:
        return Readiness(str(error), False)
    except MigrationError as error:
        return Readiness(str(error), False)
    return Readiness(f"migration {missing[0]} is not applied" if missing else None, writable)


async def rebuild_rollups(database: Database) -> int:
    """Recompute the roll-ups from the run log while others write; gives how many runs were counted."""
    async with database.connection() as connection:
        await notice_tables(connection)
        doubts = await doubts_until_now(connection)
        rows = await rollups.rebuild(connection)
        await forget_doubts(connection, doubts)
        return rows


async def fold_rollups(database: Database) -> int:
    """Fold what an import added, so that the next readers need not; gives how many deltas were moved."""
    async with database.connection() as connection:
        return await rollups.fold(connection, wait=True)
