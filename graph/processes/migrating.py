"""Bringing the store up to date, before anything else uses it."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

from db.migrations.online import Tell
from db.migrations.runner import MigrationError, apply_migrations, list_missing
from graph.settings.config import Settings, SettingsError
from resolvers.worker.checks import pooler_problem

log = logging.getLogger(__name__)

_LOG_SECONDS = 10.0


def migrate_store(settings: Settings, *, refuse_newer: bool = False) -> list[str]:
    """Apply the migrations that are missing and give their names, oldest first.

    With `refuse_newer` a database that is newer than this version is refused, and else served as it is.
    """
    with _progress() as progress:
        return asyncio.run(
            apply_migrations(
                settings.session_dsn,
                connect_seconds=settings.connect_timeout,
                refuse_newer=refuse_newer,
                stored_time_zone=settings.stored_time_zone,
                progress=progress,
            )
        )


@contextmanager
def _progress() -> Generator[Tell]:
    """Shows what is being done: on a terminal in one line that changes, elsewhere in the log now and then."""
    told = time.monotonic()

    def log_it(line: str) -> None:
        nonlocal told
        if time.monotonic() - told >= _LOG_SECONDS:
            told = time.monotonic()
            log.info("migrating: %s", line)

    def show(line: str) -> None:
        sys.stderr.write(f"\r{line[: shutil.get_terminal_size().columns - 1]}\x1b[K")
        sys.stderr.flush()

    if not sys.stderr.isatty():
        yield log_it
        return
    try:
        yield show
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def require_migrated(settings: Settings) -> None:
    """Raise MigrationError, in one line, where a migration is missing; nothing is written."""
    missing = asyncio.run(list_missing(settings.session_dsn, connect_seconds=settings.connect_timeout))
    if missing:
        raise MigrationError(f"migration {missing[0]} is not applied: run `runglass migrate`")


def prepare_store(settings: Settings, *, may_migrate: bool) -> None:
    """What a server or a worker does first: migrate, or see that nothing is to be migrated.

    Raises SettingsError where a pooler stands before the database that the settings do not name.
    """
    if problem := asyncio.run(pooler_problem(settings.dsn, settings.pool)):
        raise SettingsError(problem)
    if not may_migrate:
        require_migrated(settings)
        return
    for name in migrate_store(settings):
        log.info("applied %s", name)
