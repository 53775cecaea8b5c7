"""Bringing the store up to date, before anything else uses it."""

from __future__ import annotations

import asyncio
import logging

from db.migrate import MigrationError, apply_migrations, list_missing
from graph.config import Settings

log = logging.getLogger(__name__)


def migrate_store(settings: Settings, *, refuse_newer: bool = False) -> list[str]:
    """Apply the migrations that are missing and give their names, oldest first.

    With `refuse_newer` a database that is newer than this version is refused, and else served as it is.
    """
    return asyncio.run(
        apply_migrations(
            settings.dsn,
            connect_seconds=settings.connect_timeout,
            refuse_newer=refuse_newer,
            stored_time_zone=settings.stored_time_zone,
        )
    )


def require_migrated(settings: Settings) -> None:
    """Raise MigrationError, in one line, where a migration is missing; nothing is written."""
    missing = asyncio.run(list_missing(settings.dsn, connect_seconds=settings.connect_timeout))
    if missing:
        raise MigrationError(f"migration {missing[0]} is not applied: run `runglass migrate`")


def prepare_store(settings: Settings, *, may_migrate: bool) -> None:
    """What a server or a worker does first: migrate, or see that nothing is to be migrated."""
    if not may_migrate:
        require_migrated(settings)
        return
    for name in migrate_store(settings):
        log.info("applied %s", name)
