"""Migrations beside which other services go on writing: their file begins with a line `-- online`.

Each statement ends with a semicolon at the end of a line and is done on its own, so that no lock outlives it,
and done again where a migration was killed: it must say IF NOT EXISTS or the like. An index is built
CONCURRENTLY, in a partitioned table one partition after another. A statement after a line `-- repeat` is
repeated until it gives NULL; what it gives is shown. What needs a lock waits for it only a moment at a time,
because writers queue behind whoever waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import monotonic
from typing import Any, LiteralString, NamedTuple, TypeVar, cast

import psycopg
from psycopg import sql
from psycopg.errors import DeadlockDetected, LockNotAvailable, QueryCanceled

T = TypeVar("T")
Tell = Callable[[str], None]
"""Takes a line about what is being done, for people."""

ONLINE = "-- online\n"
_REPEAT = "-- repeat"
# Writers queue behind us for as long, and go on for the pause.
LOCK_TIMEOUT = "200ms"
_PAUSES = (0.2, 0.5, 1.0)
# How long a lock is tried for before somebody must see who has it.
PATIENCE = 600.0

_INDEX = re.compile(
    r"^CREATE (?P<unique>UNIQUE )?INDEX IF NOT EXISTS (?P<name>\w+)\s+ON (?P<table>\w+\.\w+) (?P<rest>.*)$",
    re.DOTALL,
)

_LOCKERS = """
SELECT format('process %s (%s) is in a transaction since %s', activity.pid,
    coalesce(nullif(application_name, ''), 'no name'), to_char(xact_start, 'HH24:MI:SS'))
FROM pg_stat_activity AS activity
WHERE xact_start IS NOT NULL AND activity.pid <> pg_backend_pid() AND EXISTS (
    SELECT FROM pg_locks JOIN pg_class ON pg_class.oid = relation
    WHERE pg_locks.pid = activity.pid AND granted AND relnamespace::regnamespace::text IN ('biz', 'runglass')
)
ORDER BY xact_start LIMIT 1
"""
_INDEX_STATE = """
SELECT relkind = 'p', (SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%(index)s))
FROM pg_class WHERE oid = to_regclass(%(table)s)
"""
_PARTITIONS_WITHOUT = """
SELECT format('%%I.%%I', nspname, relname), relname
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE inhparent = to_regclass(%(table)s) AND relkind IN ('r', 'p') AND NOT EXISTS (
    SELECT FROM pg_index AS own JOIN pg_inherits AS link ON link.inhrelid = own.indexrelid
    WHERE own.indrelid = pg_inherits.inhrelid AND link.inhparent = to_regclass(%(index)s)
)
ORDER BY 2
"""


class LockTimeout(Exception):
    """Somebody has held a lock for too long."""


class Statement(NamedTuple):
    """One statement of an online migration."""

    text: str
    is_repeated: bool


class Index(NamedTuple):
    """An index to be built; `rest` is what follows the table in CREATE INDEX."""

    name: str
    table: str
    rest: str
    unique: str

    @property
    def path(self) -> str:
        """Its name with the schema, which is that of its table."""
        return f"{self.table.split('.')[0]}.{self.name}"

    @property
    def dropped(self) -> LiteralString:
        """The statement that removes it."""
        return cast(LiteralString, f"DROP INDEX CONCURRENTLY IF EXISTS {self.path}")

    def created(self, how: str) -> LiteralString:
        """The statement that makes it; `how` stands before and after the name as in CREATE INDEX."""
        before, after = how.split("|")
        name = f"{before} IF NOT EXISTS {self.name}"
        return cast(LiteralString, f"CREATE {self.unique}INDEX {name} ON {after} {self.table} {self.rest}")


def statements_of(text: str) -> list[Statement]:
    """The statements of an online migration, without comments."""
    found: list[Statement] = []
    for part in re.split(r";[ \t]*(?:\n|$)", text):
        lines = [line for line in part.splitlines() if line.strip()]
        code = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
        if code:
            found.append(Statement(code, _REPEAT in lines))
    return found


async def run_online(connection: psycopg.AsyncConnection[Any], text: str, tell: Tell) -> None:
    """Do what a migration's file says. The connection is in autocommit.

    Raises LockTimeout, or psycopg's error of a statement that fails; what was done before stays done.
    """
    statements = statements_of(text)
    for number, statement in enumerate(statements, start=1):
        index = _INDEX.match(statement.text)
        if index:
            named = Index(index["name"], index["table"], index["rest"], index["unique"] or "")
            tell(f"index {named.name} ({number} of {len(statements)})")
            await _build(connection, named, tell)
        elif statement.is_repeated:
            while (shown := await _do(connection, statement.text, tell)) is not None:
                tell(f"{shown}")
        else:
            await _do(connection, statement.text, tell)


async def patiently(
    connection: psycopg.AsyncConnection[Any], work: Callable[[], Awaitable[T]], tell: Tell
) -> T:
    """Do `work` in a transaction that waits for each lock only a moment, again until it gets them all.

    Raises LockTimeout where it does not within ten minutes.
    """
    start = monotonic()
    tries = 0
    while True:
        try:
            async with _brief(connection):
                return await work()
        except (LockNotAvailable, DeadlockDetected, QueryCanceled) as error:
            tries += 1
            locker = await _locker(connection)
            if monotonic() - start > PATIENCE:
                raise LockTimeout(
                    f"a lock could not be had for {PATIENCE / 60:.0f} minutes: {locker}"
                ) from error
            if tries > len(_PAUSES):
                tell(f"waits for a lock: {locker}")
            await asyncio.sleep(_PAUSES[min(tries, len(_PAUSES)) - 1])


@asynccontextmanager
async def _brief(connection: psycopg.AsyncConnection[Any]) -> AsyncGenerator[None]:
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        await connection.execute("SET LOCAL statement_timeout = 0")
        yield


async def _locker(connection: psycopg.AsyncConnection[Any]) -> str:
    cursor = await connection.execute(_LOCKERS)
    row = await cursor.fetchone()
    return row[0] if row else "nobody any more"


async def _do(connection: psycopg.AsyncConnection[Any], statement: str, tell: Tell) -> Any:
    """Do a statement and give the first value of its first row."""

    async def work() -> Any:
        # The text is a file of this package, as trusted as a literal of this module.
        cursor = await connection.execute(cast(LiteralString, statement))
        row = await cursor.fetchone() if cursor.description else None
        return row[0] if row else None

    return await patiently(connection, work, tell)


async def _build(connection: psycopg.AsyncConnection[Any], index: Index, tell: Tell) -> None:
    """Build an index where it is missing or was left invalid by a migration that was killed."""
    cursor = await connection.execute(_INDEX_STATE, {"index": index.path, "table": index.table})
    is_partitioned, is_valid = await cursor.fetchone() or (False, None)
    if is_valid:
        return
    if is_valid is None and await _is_empty(connection, index.table):
        await _do(connection, index.created("|"), tell)
    elif is_partitioned:
        await _build_in_partitions(connection, index, tell)
    else:
        await _build_beside_writers(connection, index)


async def _build_beside_writers(connection: psycopg.AsyncConnection[Any], index: Index) -> None:
    # It waits for all transactions that are older, and one of them may wait for another of ours.
    for last in (False, False, True):
        await connection.execute(index.dropped)
        try:
            await connection.execute(index.created("CONCURRENTLY|"))
        except DeadlockDetected:
            if last:
                raise
        else:
            return


async def _build_in_partitions(connection: psycopg.AsyncConnection[Any], index: Index, tell: Tell) -> None:
    """The parent's index is valid once each partition has attached one, and new partitions bring theirs."""
    await _do(connection, index.created("|ONLY"), tell)
    while True:
        cursor = await connection.execute(_PARTITIONS_WITHOUT, {"index": index.path, "table": index.table})
        missing = await cursor.fetchall()
        for number, (table, name) in enumerate(missing, start=1):
            tell(f"index {index.name}: partition {number} of {len(missing)}")
            own = Index(_own_name(name, index.name), table, index.rest, index.unique)
            await _build(connection, own, tell)
            attach = f"ALTER INDEX {index.path} ATTACH PARTITION {own.path}"
            await _do(connection, attach, tell)
        if not missing:
            return


def _own_name(table: str, index: str) -> str:
    """The name of a partition's part of an index, the same each time."""
    name = f"{table}_{index}"
    if re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", name):
        return name
    return f"{index[:40]}_{hashlib.sha256(name.encode()).hexdigest()[:16]}"


async def _is_empty(connection: psycopg.AsyncConnection[Any], table: str) -> bool:
    cursor = await connection.execute(
        sql.SQL("SELECT NOT EXISTS (SELECT FROM {})").format(sql.SQL(cast(LiteralString, table)))
    )
    row = await cursor.fetchone()
    return bool(row and row[0])
