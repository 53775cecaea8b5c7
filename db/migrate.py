"""Migrations: the numbered files of `db/migrations`, applied once, in order, by one process at a time.

Tables: runglass.migrations (number, name, checksum, applied_at).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import LiteralString, cast

import psycopg

from db.engine_schema import apply_engine_schema, missing_engine_migrations

_FOLDER = Path(__file__).parent / "migrations"
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
        """SHA-256 of the file's text, in hex."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def known_migrations(folder: Path = _FOLDER) -> list[Migration]:
    """The migrations of this version, lowest number first."""
    return [
        Migration(int(path.name.split("_", 1)[0]), path.stem, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql"))
    ]


async def apply_migrations(dsn: str, *, folder: Path = _FOLDER) -> list[str]:
    """Apply what is missing and return the names applied, oldest first.

    Each file is one transaction with its row in the ledger; the job engine's schema comes last. Processes
    that start together wait for each other on an advisory lock; the later ones find nothing to do.

    Raises MigrationError where an applied file has changed, the database is newer than this version, or a
    file fails (then nothing of that file is applied).
    """
    try:
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
    except psycopg.OperationalError as error:
        raise MigrationError(f"the database cannot be reached: {_first_line(error)}") from error
    async with connection:
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK_KEY,))
        await connection.execute(_CREATE_LEDGER)
        missing = _missing(known_migrations(folder), await _ledger(connection))
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
    missing = [migration.name for migration in _missing(known_migrations(), await _ledger(connection))]
    return missing + [f"procrastinate {name}" for name in await missing_engine_migrations(connection)]


def _missing(known: list[Migration], ledger: dict[int, tuple[str, str]]) -> list[Migration]:
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


async def _ledger(connection: psycopg.AsyncConnection) -> dict[int, tuple[str, str]]:
    cursor = await connection.execute("SELECT number, name, checksum FROM runglass.migrations")
    return {number: (name, checksum) for number, name, checksum in await cursor.fetchall()}


async def _apply(connection: psycopg.AsyncConnection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            # The text is a file of this package, as trusted as a literal of this module.
            await connection.execute(cast(LiteralString, migration.sql))
            await connection.execute(
                "INSERT INTO runglass.migrations (number, name, checksum) VALUES (%s, %s, %s)",
                (migration.number, migration.name, migration.checksum),
            )
    except psycopg.Error as error:
        raise MigrationError(f"migration {migration.name} failed: {_first_line(error)}") from error


async def _apply_engine(connection: psycopg.AsyncConnection) -> str | None:
    try:
        return await apply_engine_schema(connection)
    except psycopg.Error as error:
        raise MigrationError(f"the job engine's schema failed: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
