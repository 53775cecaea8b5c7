"""Migrations: the numbered files of `db/migrations`, applied once, in order, by one process at a time.

A line `-- include NAME HASH` stands for the file of that name in `db/functions`, where each function is
written once: to change one, change it there and add a migration that includes its file, with the first 12
digits of its SHA-256.
Tables: runglass.migrations (number, name, checksum, applied_at).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

import psycopg

from db.address import connected
from db.engine_schema import apply_engine_schema, missing_engine_migrations
from db.errors import first_line
from db.former_migrations import is_complete, is_former

_FOLDER = Path(__file__).parent / "migrations"
_FUNCTIONS = Path(__file__).parent / "functions"
_INCLUDE = re.compile(r"^-- include (\w+\.sql)(?: ([0-9a-f]{12}))?$", re.MULTILINE)
# The last migration of the baseline, which holds what the files from before it made.
_BASELINE = 9
# Any constant will do, as long as every process of every version of Runglass takes the same one.
_LOCK_KEY = 7_864_511_245_001

_CREATE_LEDGER = """
CREATE SCHEMA IF NOT EXISTS runglass;
CREATE TABLE IF NOT EXISTS runglass.migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


Ledger = dict[int, tuple[str, str]]
"""The name and the checksum of each migration that was applied, by number."""


class MigrationError(Exception):
    """The database's migrations and this version's files do not agree, or a file failed."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the file's text, in hex; what it includes may change, and then is applied again."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def includes(self) -> dict[str, str]:
        """The files of functions that it includes, by name, with their hashes where told."""
        return dict(_INCLUDE.findall(self.sql))

    @property
    def statements(self) -> str:
        """The file's text with what it includes."""
        return _INCLUDE.sub(lambda line: (_FUNCTIONS / line[1]).read_text(encoding="utf-8"), self.sql)


def known_migrations(folder: Path = _FOLDER) -> list[Migration]:
    """The migrations of this version, lowest number first."""
    return [
        Migration(int(path.name.split("_", 1)[0]), path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]


async def apply_migrations(dsn: str, *, folder: Path = _FOLDER, connect_seconds: float = 5.0) -> list[str]:
    """Apply what is missing and return the names applied, oldest first.

    Each file is one transaction with its row in the ledger; the job engine's schema comes last. Processes
    that start together wait for each other on an advisory lock; the later ones find nothing to do.

    Raises MigrationError where an applied file has changed, the database is newer than this version, or a
    file fails (then nothing of that file is applied); Unavailable where the server cannot be reached.
    """
    async with connected(dsn, seconds=connect_seconds, purpose="migrate") as connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
        await connection.execute(_CREATE_LEDGER)
        known = known_migrations(folder)
        ledger = await _ledger(connection)
        if is_complete(ledger):
            ledger = await _begin_with_baseline(connection, known)
        missing = _missing(known, ledger)
        for migration in missing:
            await _apply(connection, migration)
        engine = await _apply_engine(connection) if folder == _FOLDER else None
    return [migration.name for migration in missing] + ([f"procrastinate {engine}"] if engine else [])


async def missing_migrations(connection: psycopg.AsyncConnection) -> list[str]:
    """The names of the migrations that this version has and the database lacks.

    Raises MigrationError as `apply_migrations` does.
    """
    ledger = await connection.execute("SELECT to_regclass('runglass.migrations')")
    if await ledger.fetchone() == (None,):
        return [migration.name for migration in known_migrations()]
    found = await _ledger(connection)
    missing = [
        migration.name for migration in _missing(known_migrations(), {} if is_complete(found) else found)
    ]
    return missing + [f"procrastinate {name}" for name in await missing_engine_migrations(connection)]


def _missing(known: list[Migration], ledger: Ledger) -> list[Migration]:
    if is_former(ledger):
        raise MigrationError(
            f"the database holds only a part of the migrations from before the baseline, up to"
            f" {ledger[max(ledger)][0]}: finish it with the version that began it, then migrate again"
        )
    for migration in known:
        applied = ledger.get(migration.number)
        if applied and applied[1] != migration.checksum:
            raise MigrationError(
                f"migration {migration.name} was changed after it was applied to this database"
            )
    newer = sorted(set(ledger) - {migration.number for migration in known})
    if newer:
        raise MigrationError(
            f"the database holds migration {ledger[newer[0]][0]}, unknown to this version of Runglass"
        )
    return [migration for migration in known if migration.number not in ledger]


async def _ledger(connection: psycopg.AsyncConnection) -> Ledger:
    cursor = await connection.execute("SELECT number, name, checksum FROM runglass.migrations")
    return {number: (name, checksum) for number, name, checksum in await cursor.fetchall()}


async def _begin_with_baseline(connection: psycopg.AsyncConnection, known: list[Migration]) -> Ledger:
    """Write the baseline into the ledger of a database that the files from before it made."""
    async with connection.transaction():
        await connection.execute("DELETE FROM runglass.migrations")
        for migration in known:
            if migration.number <= _BASELINE:
                await _note(connection, migration)
    return await _ledger(connection)


async def _note(connection: psycopg.AsyncConnection, migration: Migration) -> None:
    await connection.execute(
        "INSERT INTO runglass.migrations (number, name, checksum) VALUES (%s, %s, %s)",
        (migration.number, migration.name, migration.checksum),
    )


async def _apply(connection: psycopg.AsyncConnection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            # The text is a file of this package, as trusted as a literal of this module.
            await connection.execute(cast(LiteralString, migration.statements))
            await _note(connection, migration)
    except psycopg.Error as error:
        raise MigrationError(f"migration {migration.name} failed: {first_line(error)}") from error


async def _apply_engine(connection: psycopg.AsyncConnection) -> str | None:
    try:
        return await apply_engine_schema(connection)
    except psycopg.Error as error:
        raise MigrationError(f"the job engine's schema failed: {first_line(error)}") from error
