"""Migrations: the numbered files of `db/migrations`, applied once, in order, by one process at a time.

A line `-- include NAME HASH` stands for the file of that name in `db/functions`, where each function is
written once: to change one, change it there and add a migration that includes its file, with the first 12
digits of its SHA-256.
Tables: runglass.migrations (number, name, checksum, applied_at).
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import LiteralString, NamedTuple, cast

import psycopg

from db.migrations.adopted_columns import columns_in_the_way
from db.migrations.engine_schema import apply_engine_schema, missing_engine_migrations
from db.migrations.former import is_complete, is_former
from db.migrations.lock import migration_lock
from db.migrations.online import ONLINE, LockTimeout, Tell, patiently, run_online
from db.postgres.address import connected
from db.postgres.errors import first_line, translated
from db.sql.stored_times import UnknownZone, choose_zone, read_stored_zone

log = logging.getLogger(__name__)

_FOLDER = Path(__file__).parent
_FUNCTIONS = Path(__file__).parents[1] / "functions"
_INCLUDE = re.compile(r"^-- include (\w+\.sql)(?: ([0-9a-f]{12}))?$", re.MULTILINE)
# The last migration of the baseline, which holds what the files from before it made.
_BASELINE = 9
OLDEST_SERVER = 140_000

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


async def apply_migrations(
    dsn: str,
    *,
    folder: Path = _FOLDER,
    connect_seconds: float = 5.0,
    refuse_newer: bool = False,
    stored_time_zone: str | None = None,
    tell: Tell = log.info,
    progress: Tell = log.debug,
) -> list[str]:
    """Apply what is missing and return the names applied, oldest first; `progress` is told of each step.

    Each file is one transaction with its row in the ledger, or steps beside which others write
    (`db.migrations.online`); the job engine's schema comes last. It may be killed at any point and called
    again. Processes that start together wait for each other; the later ones find nothing to do. Where nothing
    is missing no lock is taken and nothing is written, so that a role without the right to create,
    or a standby, will do.

    Tables that are adopted with times without a zone are read in `stored_time_zone`, or else in the
    zone of the database, from then on; `tell` is told which, and what a migration warns of.

    A database that holds more than this version knows is served as it is, since migrations only add; with
    `refuse_newer` it is refused. Raises MigrationError where an applied file has changed, the database is
    both newer and older, the server is too old, a file fails (then nothing of that file is applied, or of an
    online one its first steps), or somebody has a lock for ten minutes;
    Unavailable where the server cannot be reached.
    """
    async with connected(dsn, seconds=connect_seconds, purpose="migrate") as connection:
        connection.add_notice_handler(partial(_warn, tell))
        if connection.info.server_version < OLDEST_SERVER:
            version = connection.info.server_version // 10_000
            raise MigrationError(f"the database is PostgreSQL {version}; 14 or newer is needed")
        try:
            await _check_zone(connection, stored_time_zone)
            if await _is_served_as_it_is(connection, folder, refuse_newer=refuse_newer):
                return []
            async with migration_lock(dsn, seconds=connect_seconds):
                await _refuse_columns(connection)
                await _choose_zone(connection, stored_time_zone, tell)
                return await _apply_missing(connection, folder, progress)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction) as error:
            raise MigrationError(
                f"the migrations cannot be applied: {first_line(error)}"
                " (run `runglass migrate` as a role that may create, on a database that takes changes)"
            ) from error


async def _check_zone(connection: psycopg.AsyncConnection, requested: str | None) -> None:
    stored = await read_stored_zone(connection)
    if requested and stored and stored.key not in (requested, "UTC"):
        raise MigrationError(
            f"RUNGLASS_STORED_TIME_ZONE says {requested}, but the tables were adopted with times in"
            f" {stored.key}; docs/adoption.md says how to change that"
        )


async def _refuse_columns(connection: psycopg.AsyncConnection) -> None:
    """Refuse tables that cannot be adopted, before anything is changed."""
    if problems := await columns_in_the_way(connection):
        raise MigrationError(f"these tables cannot be adopted: {'; '.join(problems)}")


async def _choose_zone(connection: psycopg.AsyncConnection, requested: str | None, tell: Tell) -> None:
    """Say in which zone a database's times without one are, for the migration that keeps it."""
    if await read_stored_zone(connection) is not None:
        return
    try:
        zone, columns = await choose_zone(connection, requested)
    except UnknownZone as error:
        raise MigrationError(str(error)) from error
    await connection.execute("SELECT set_config('runglass.stored_time_zone', %s, false)", (zone,))
    if columns:
        tell(f"times without a zone are read and written in {zone}: {columns}")


def _warn(tell: Tell, notice: psycopg.errors.Diagnostic) -> None:
    if notice.severity_nonlocalized == "WARNING" and notice.message_primary:
        tell(notice.message_primary)


class MigrationState(NamedTuple):
    """The names of the migrations that a database lacks, and of those that this version does not know."""

    missing: list[str]
    newer: list[str]


async def list_missing(dsn: str, *, connect_seconds: float = 5.0) -> list[str]:
    """The names of the migrations that a database lacks. Raises as `apply_migrations` does."""
    async with connected(dsn, seconds=connect_seconds, purpose="check") as connection:
        with translated():
            return (await migration_state(connection)).missing


async def _is_served_as_it_is(
    connection: psycopg.AsyncConnection, folder: Path, *, refuse_newer: bool
) -> bool:
    state = await _state(connection, folder)
    if state.newer and refuse_newer:
        raise MigrationError(
            f"the database holds migration {state.newer[-1]}, which is newer than this version of Runglass:"
            " migrate with the newer one; this one's servers and workers go on beside it"
        )
    if state.newer:
        log.info("the database holds migration %s, newer than this version, which serves it", state.newer[-1])
    return not state.missing


async def migration_state(connection: psycopg.AsyncConnection) -> MigrationState:
    """What this version and the database know of each other. Raises MigrationError for an altered one."""
    return await _state(connection, _FOLDER)


async def _state(connection: psycopg.AsyncConnection, folder: Path) -> MigrationState:
    known = known_migrations(folder)
    cursor = await connection.execute("SELECT to_regclass('runglass.migrations')")
    ledger = {} if await cursor.fetchone() == (None,) else await _ledger(connection)
    if is_complete(ledger):
        ledger = {}
    missing = [migration.name for migration in _missing(known, ledger)]
    if folder == _FOLDER:
        missing += [f"procrastinate {name}" for name in await missing_engine_migrations(connection)]
    return MigrationState(missing, _newer(known, ledger))


async def _apply_missing(connection: psycopg.AsyncConnection, folder: Path, progress: Tell) -> list[str]:
    """Apply what is missing, by now: another process may have been at it before this one had the lock."""
    await connection.execute(_CREATE_LEDGER)
    known = known_migrations(folder)
    ledger = await _ledger(connection)
    if is_complete(ledger):
        ledger = await _begin_with_baseline(connection, known)
    missing = _missing(known, ledger)
    for migration in missing:
        await _apply(connection, migration, progress)
    engine = await _apply_engine(connection, progress) if folder == _FOLDER else None
    return [migration.name for migration in missing] + ([f"procrastinate {engine}"] if engine else [])


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
    missing = [migration for migration in known if migration.number not in ledger]
    if missing and (newer := _newer(known, ledger)):
        raise MigrationError(
            f"the database holds migration {newer[-1]}, unknown to this version of Runglass, and lacks"
            f" {missing[0].name}: migrate with the newer version"
        )
    return missing


def _newer(known: list[Migration], ledger: Ledger) -> list[str]:
    numbers = {migration.number for migration in known}
    return [ledger[number][0] for number in sorted(ledger) if number not in numbers]


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


async def _apply(connection: psycopg.AsyncConnection, migration: Migration, progress: Tell) -> None:
    async def work() -> None:
        # The text is a file of this package, as trusted as a literal of this module.
        await connection.execute(cast(LiteralString, migration.statements))
        await _note(connection, migration)

    def told(line: str) -> None:
        progress(f"{migration.name}: {line}")

    try:
        if migration.sql.startswith(ONLINE):
            await run_online(connection, migration.sql, told)
            await _note(connection, migration)
        else:
            await patiently(connection, work, told)
    except (psycopg.Error, LockTimeout) as error:
        raise MigrationError(f"migration {migration.name} failed: {first_line(error)}") from error


async def _apply_engine(connection: psycopg.AsyncConnection, progress: Tell) -> str | None:
    try:
        return await apply_engine_schema(connection, lambda line: progress(f"procrastinate: {line}"))
    except (psycopg.Error, LockTimeout) as error:
        raise MigrationError(f"the job engine's schema failed: {first_line(error)}") from error
