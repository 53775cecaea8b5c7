"""The pool of connections, and the few ways a statement is run.

Reads run in autocommit, one statement a round trip; changes run in a transaction. Every connection speaks UTC
and has a statement timeout.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, LiteralString, NamedTuple, TypeVar

from psycopg import AsyncConnection, AsyncCursor
from psycopg.adapt import Buffer
from psycopg.rows import TupleRow
from psycopg.types.datetime import TimestampLoader
from psycopg_pool import AsyncConnectionPool

from db.errors import translated
from db.scope import Scope, SiteStatement

RowType = TypeVar("RowType", bound=tuple[Any, ...])

# A connection that answered this recently is taken as alive without asking it, which saves a round trip.
_TRUSTED_SECONDS = 1.0


class PoolSettings(NamedTuple):
    """Sizes in connections, times in seconds."""

    min_size: int = 2
    max_size: int = 10
    wait_seconds: float = 5.0
    statement_seconds: float = 10.0
    connect_seconds: float = 5.0
    # None behind a pooler that does not carry prepared statements.
    prepare_threshold: int | None = 1


class ChildCount(NamedTuple):
    """How many rows hang on a parent, such as the runs of a job."""

    parent: Any
    children: int


class Connection(AsyncConnection[TupleRow]):
    """A pooled connection that remembers when it last answered (seconds of the monotonic clock)."""

    answered_at = 0.0


class _UtcTimestampLoader(TimestampLoader):
    """Reads a timestamp without zone as UTC: adopted tables may have such columns, the API speaks zones."""

    def load(self, data: Buffer) -> datetime:
        return super().load(data).replace(tzinfo=UTC)


class Database:
    """One database: give out connections for reads, and transactions for changes.

    Raises `db.errors.Unavailable` where no connection comes free within `wait_seconds` or the server is gone,
    `StatementTimeout` where a statement ran too long, `InvalidValue` where a value does not fit a column.
    """

    def __init__(
        self,
        dsn: str,
        settings: PoolSettings = PoolSettings(),  # noqa: B008 - immutable
        *,
        cursor_factory: type[AsyncCursor[Any]] = AsyncCursor,
    ) -> None:
        self.dsn = dsn
        self._settings = settings
        self._pool: AsyncConnectionPool[Connection] = AsyncConnectionPool(
            dsn,
            connection_class=Connection,
            kwargs={
                "autocommit": True,
                "prepare_threshold": settings.prepare_threshold,
                "connect_timeout": max(2, round(settings.connect_seconds)),
                "cursor_factory": cursor_factory,
                "application_name": "runglass",
            },
            min_size=settings.min_size,
            max_size=settings.max_size,
            timeout=settings.wait_seconds,
            # A longer queue than this could not be served within the wait anyway.
            max_waiting=settings.max_size * 100,
            configure=self._configure,
            check=self._check,
            open=False,
        )

    async def open(self) -> None:
        """Open the pool; connections are made in the background."""
        await self._pool.open()

    async def close(self) -> None:
        """Close the pool and its connections."""
        await self._pool.close(timeout=2)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """A connection in autocommit mode, for reads."""
        with translated():
            async with self._pool.connection() as connection:
                yield connection
                connection.answered_at = time.monotonic()

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """A connection within one transaction: committed at the end, rolled back on any exception."""
        with translated():
            async with self._pool.connection() as connection, connection.transaction():
                yield connection

    @asynccontextmanager
    async def pipelined_transaction(self) -> AsyncGenerator[Connection, None]:
        """A transaction whose statements are sent without waiting, as far as nobody fetches their rows."""
        with translated():
            async with self._pool.connection() as connection, connection.pipeline(), connection.transaction():
                yield connection

    def statistics(self) -> dict[str, int]:
        """The pool's own counters, such as pool_size, pool_available and requests_waiting."""
        return self._pool.get_stats()

    async def _configure(self, connection: Connection) -> None:
        connection.adapters.register_loader("timestamp", _UtcTimestampLoader)
        milliseconds = round(self._settings.statement_seconds * 1000)
        await connection.execute(
            "SELECT set_config('TimeZone', 'UTC', false), set_config('statement_timeout', %s, false)",
            (str(milliseconds),),
        )

    async def _check(self, connection: Connection) -> None:
        if time.monotonic() - connection.answered_at < _TRUSTED_SECONDS:
            return
        await AsyncConnectionPool.check_connection(connection)


async def fetch_all(
    connection: Connection,
    row: type[RowType],
    statement: SiteStatement,
    scope: Scope,
    parameters: Mapping[str, Any],
) -> list[RowType]:
    """Run a site-owned statement and give its rows as `row`, a NamedTuple with the columns in order."""
    cursor = await connection.execute(statement.sql(scope), {**parameters, **scope.parameters()})
    make = _maker(row)
    return [make(values) for values in await cursor.fetchall()]


async def fetch_one(
    connection: Connection,
    row: type[RowType],
    statement: SiteStatement,
    scope: Scope,
    parameters: Mapping[str, Any],
) -> RowType | None:
    """The first row of a site-owned statement, or None."""
    cursor = await connection.execute(statement.sql(scope), {**parameters, **scope.parameters()})
    values = await cursor.fetchone()
    return None if values is None else _maker(row)(values)


async def fetch_count(
    connection: Connection, statement: SiteStatement, scope: Scope, parameters: Mapping[str, Any]
) -> int:
    """The number that a site-owned counting statement gives."""
    cursor = await connection.execute(statement.sql(scope), {**parameters, **scope.parameters()})
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def fetch_plain(
    connection: Connection,
    row: type[RowType],
    statement: LiteralString,
    parameters: Mapping[str, Any] | None = None,
) -> list[RowType]:
    """Rows of a statement over tables that belong to no site."""
    cursor = await connection.execute(statement, parameters)
    make = _maker(row)
    return [make(values) for values in await cursor.fetchall()]


def _maker(row: type[RowType]) -> Callable[[Sequence[Any]], RowType]:
    # NamedTuples, because making one costs a fifth of what a frozen dataclass does, on every row.
    return row._make  # type: ignore[attr-defined,no-any-return]  # pyright: ignore[reportUnknownMemberType,reportAttributeAccessIssue,reportUnknownVariableType]
