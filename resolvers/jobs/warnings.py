"""What may go wrong with a batch that nobody refuses: nobody runs its apps, or its names are misspelt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from db.jobs.batches import BatchRow
from db.postgres.pool import Connection, Database
from db.sql.scope import Scope
from db.worker.served_apps import SeenRow, list_seen, list_served


class WarningCode(StrEnum):
    """What a warning is about."""

    SITE_NEVER_SEEN = "site_never_seen"
    APP_NEVER_SEEN = "app_never_seen"
    APP_NOT_SERVED = "app_not_served"


@dataclass(frozen=True, slots=True)
class BatchWarning:
    """One thing to look at before, or while, a batch runs; `app_type` is the app that it is about."""

    code: WarningCode
    message: str
    app_type: str | None = None


class BatchNames(NamedTuple):
    """The names that warnings of a batch are about."""

    site_id: str
    app_types: tuple[str, ...]


def names_of(batch: BatchRow) -> BatchNames:
    """The names of a batch."""
    return BatchNames(batch.site_id, tuple(batch.app_types))


def may_run(batch: BatchRow) -> bool:
    """Whether jobs of the batch wait, or would once it is confirmed."""
    return batch.finished_at is None and batch.status != "cancelled" and not batch.is_expired


async def served_apps(database: Database, app_types: Sequence[str]) -> dict[str, bool]:
    """Whether a worker serves each of these apps now; those that none has ever served are absent."""
    async with database.connection() as connection:
        return await _served(connection, app_types)


async def batch_warnings(
    database: Database, scope: Scope, batches: Sequence[BatchNames]
) -> Mapping[BatchNames, list[BatchWarning]]:
    """What to say of each of these batches."""
    pairs = [(batch.site_id, app) for batch in batches for app in batch.app_types]
    asked = [SeenRow(batch.site_id, None) for batch in batches]
    async with database.connection() as connection:
        served = await _served(connection, [app for _, app in pairs])
        asked += [SeenRow(site, app) for site, app in pairs if app not in served]
        seen = set(await list_seen(connection, scope=scope, asked=asked))
    return {batch: _warnings(batch, served, seen) for batch in batches}


async def _served(connection: Connection, app_types: Sequence[str]) -> dict[str, bool]:
    return {row.app_type: row.is_served for row in await list_served(connection, app_types=app_types)}


def _warnings(batch: BatchNames, served: Mapping[str, bool], seen: set[SeenRow]) -> list[BatchWarning]:
    warnings: list[BatchWarning] = []
    site = batch.site_id
    if SeenRow(site, None) not in seen:
        message = f"No run of the site {site} is known. Is its id right?"
        warnings.append(BatchWarning(WarningCode.SITE_NEVER_SEEN, message))
    for app in batch.app_types:
        if app not in served and SeenRow(site, app) not in seen:
            message = f"No worker has ever served {app}, and {site} has no run of it. Is its name right?"
            warnings.append(BatchWarning(WarningCode.APP_NEVER_SEEN, message, app))
        elif not served.get(app):
            message = f"No worker serves {app} now. Its jobs wait, unless your own dispatcher takes them."
            warnings.append(BatchWarning(WarningCode.APP_NOT_SERVED, message, app))
    return warnings
