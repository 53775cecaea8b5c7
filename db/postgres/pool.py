"""The pool of connections, and the few ways a statement is run.

Reads run in autocommit, one statement a round trip; changes run in a transaction. Every connection speaks UTC
and has a statement timeout.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any, LiteralString, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from psycopg.adapt import Buffer
from psycopg.types.string import TextLoader
from psycopg_pool import AsyncConnectionPool

from db.postgres.connection import Connection, Read, ResultType, options_of
from db.postgres.errors import translated
from db.postgres.reachability import Reachability
from db.postgres.repeats import Repeats
from db.sql.scope import Scope, SiteStatement
from db.sql.stored_times import read_as_utc, read_stored_zone

RowType = TypeVar("RowType", bound=tuple[Any, ...])
PoolType = TypeVar("PoolType", bound=AsyncConnectionPool[Connection])

# A connection that answered this recently is taken as alive without asking it, which saves a round trip.
_TRUSTED_SECONDS = 1.0
# How much later than its timeout a statement loses its connection, where the server does not end it.
_GRACE_SECONDS = 5.0
_UTC = ZoneInfo("UTC")


# For this transaction or for the session.
LIMIT_STATEMENTS: LiteralString = "SELECT set_config('statement_timeout', %s, %s)"

# Or PostgreSQL plans a prepared statement anew where it expects more of a plan for the values.
PLAN_ONCE: LiteralString = "SET plan_cache_mode = force_generic_plan"


class Pooler(StrEnum):
    """What stands between us and the database."""

    NONE = "none"
    SESSION = "session"
    TRANSACTION = "transaction"


class _Once(logging.Filter):
    """Of what psycopg's pool says of each attempt to connect, a line of each kind now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._repeats = Repeats()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        # The failed attempt itself has been told.
        return not message.startswith("reconnection") and self._repeats.is_due(message) is not None


logging.getLogger("psycopg.pool").addFilter(_Once())


class PoolSettings(NamedTuple):
    """Sizes in connections, times in seconds."""

    min_size: int = 2
    max_size: int = 10
    wait_seconds: float = 5.0
    statement_seconds: float = 10.0
    connect_seconds: float = 5.0
    # Characters of a long text in a list, and of those together that are read by their ids.
    longest_text: int = 2_000
    most_text: int = 16_000_000
    pooler: Pooler = Pooler.NONE
    # The same database past the pooler.
    direct_dsn: str | None = None

    @property
    def pooled(self) -> bool:
        """Whether what a session remembers may be anybody's, as each transaction has another one."""
        return self.pooler is Pooler.TRANSACTION

    @property
    def prepare_threshold(self) -> int | None:
        """How often psycopg sees a statement before it prepares it; None is never."""
        return None if self.pooled else 1


class ChildCount(NamedTuple):
    """How many rows hang on a parent, such as the runs of a job."""

    parent: Any
    children: int


def make_pool(
    dsn: str,
    settings: PoolSettings,
    *,
    pool_class: type[PoolType],
    connection_class: type[Connection],
    configure: Callable[[Connection], Awaitable[None]],
    max_size: int,
    **options: Any,
) -> PoolType:
    """A pool that loses no connection, and waits without end for none; not open yet."""

    async def configured(connection: Connection) -> None:
        connection.deadline_seconds = settings.statement_seconds + _GRACE_SECONDS
        await configure(connection)

    async def check(connection: Connection) -> None:
        if not connection.closed and time.monotonic() - connection.answered_at < _TRUSTED_SECONDS:
            return
        with connection.answering_within(settings.wait_seconds):
            await AsyncConnectionPool.check_connection(connection)

    return pool_class(
        dsn,
        connection_class=connection_class,
        max_size=max_size,
        timeout=settings.wait_seconds,
        configure=configured,
        check=check,
        # With it connections are given back by tasks of the pool. By the caller's task they would be lost
        # where it is cancelled in the middle of it.
        reset=_was_given_back,
        # One for each connection, so that none is given back later because another one cannot be made.
        num_workers=max_size + 1,
        open=False,
        **options,
    )


async def _was_given_back(connection: Connection) -> None:
    connection.answered_at = time.monotonic()


class _AnyTextLoader(TextLoader):
    """Reads a text of a database that checks no encoding, whatever bytes it holds."""

    def load(self, data: Buffer) -> str:
        return bytes(data).decode("utf-8", "replace")


class Database:
    """One database: give out connections for reads, and transactions for changes.

    Raises `Unavailable` (of `db.postgres.errors`) where no connection comes free within `wait_seconds` or the
    server is gone, `StatementTimeout` where a statement ran too long, `InvalidValue` where a value does not
    fit a column.
    """

    def __init__(
        self,
        dsn: str,
        settings: PoolSettings = PoolSettings(),  # noqa: B008 - immutable
        *,
        connection_class: type[Connection] = Connection,
    ) -> None:
        self.dsn = dsn
        self._settings = settings
        self._stored_zone: ZoneInfo | None = None
        self._reachability = Reachability()
        self._pool = make_pool(
            dsn,
            settings,
            pool_class=AsyncConnectionPool[Connection],
            connection_class=connection_class,
            configure=self._configure,
            kwargs={
                **options_of(dsn, connect_seconds=settings.connect_seconds, application_name="runglass"),
                "autocommit": True,
                "prepare_threshold": settings.prepare_threshold,
                "client_encoding": "utf8",
            },
            min_size=settings.min_size,
            max_size=settings.max_size,
            # A longer queue than this could not be served within the wait anyway.
            max_waiting=settings.max_size * 100,
            # An attempt that failed is told at once, and whoever needs a connection makes the next.
            reconnect_timeout=0,
            reconnect_failed=self._reachability.failed,
        )

    async def open(self) -> None:
        """Open the pool; connections are made in the background."""
        await self._pool.open()

    async def close(self) -> None:
        """Close the pool and its connections."""
        await self._reachability.close()
        await self._pool.close(timeout=2)

    async def require(self) -> None:
        """Raises Unavailable at once where the database is known to be down."""
        await self._reachability.require()

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """A connection in autocommit mode, for reads."""
        with translated():
            async with self._taken() as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """A connection within one transaction: committed at the end, rolled back on any exception."""
        with translated(changing=True):
            async with self._taken() as connection, connection.transaction():
                await self._limit(connection)
                yield connection

    @asynccontextmanager
    async def statement(self) -> AsyncGenerator[Connection, None]:
        """A connection for one statement that changes something, which is a transaction of its own."""
        if self._settings.pooled:
            # Its time is limited within a transaction only.
            async with self.transaction() as connection:
                yield connection
        else:
            with translated(changing=True):
                async with self._taken() as connection:
                    yield connection

    @asynccontextmanager
    async def pipelined_transaction(self) -> AsyncGenerator[Connection, None]:
        """A transaction whose statements are sent without waiting, as far as nobody fetches their rows."""
        with translated(changing=True):
            async with self._taken() as connection, connection.pipeline(), connection.transaction():
                await self._limit(connection)
                yield connection

    @asynccontextmanager
    async def _taken(self) -> AsyncGenerator[Connection, None]:
        """A connection, as the pool's own `connection` gives it, or the news that none can be had."""
        connection = await self._reachability.wait_for(self._pool.getconn)
        try:
            async with connection:
                yield connection
        finally:
            await self._pool.putconn(connection)

    def statistics(self) -> dict[str, int]:
        """The pool's own counters, such as pool_size, pool_available and requests_waiting."""
        return self._pool.get_stats()

    @property
    def session_dsn(self) -> str | None:
        """Where a session of our own can be had, to listen in; None where a pooler would share it."""
        return self._settings.direct_dsn if self._settings.pooled else self.dsn

    async def _configure(self, connection: Connection) -> None:
        if self._stored_zone is None:
            self._stored_zone = await read_stored_zone(connection)
        zone = self._stored_zone or _UTC
        read_as_utc(connection, zone)
        connection.longest_text = self._settings.longest_text
        connection.most_text = self._settings.most_text
        if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
            # Or PostgreSQL would refuse to send what is not UTF-8.
            await connection.execute("SET client_encoding TO 'SQL_ASCII'")
            for name in ("text", "varchar", "bpchar", "name"):
                connection.adapters.register_loader(name, _AnyTextLoader)
        # Poolers give each client the zone that it asked for, and nothing else of this kind.
        await connection.execute("SELECT set_config('TimeZone', %s, false)", (zone.key,))
        if not self._settings.pooled:
            await connection.execute(LIMIT_STATEMENTS, (self._milliseconds, False))
            await connection.execute(PLAN_ONCE)
        self._reachability.found()

    async def _limit(self, connection: Connection) -> None:
        if self._settings.pooled:
            await connection.execute(LIMIT_STATEMENTS, (self._milliseconds, True))

    @property
    def _milliseconds(self) -> str:
        return str(round(self._settings.statement_seconds * 1000))


def fetch_all(
    connection: Connection,
    row: type[RowType],
    statement: SiteStatement,
    scope: Scope,
    parameters: Mapping[str, Any],
    *,
    custom_plan: bool = False,
) -> Awaitable[list[RowType]]:
    """Run a site-owned statement and give its rows as `row`, a NamedTuple with the columns in order."""
    values = connection.cutting({**parameters, **scope.parameters()})
    return connection.fetch(statement.sql(scope), values, _maker(row), custom_plan=custom_plan)


async def fetch_by_ids(
    connection: Connection,
    row: type[RowType],
    statement: SiteStatement,
    scope: Scope,
    ids: Sequence[Any],
    whole: bool,
) -> list[RowType]:
    """Rows by their `ids`; with `whole`, their long texts are cut only where they fill an answer together."""
    values = {"ids": list(ids), **(connection.whole(len(ids)) if whole else {})}
    return await fetch_all(connection, row, statement, scope, values)


def site_read(
    row: type[RowType],
    statement: SiteStatement,
    scope: Scope,
    finish: Callable[[list[RowType]], ResultType],
) -> Read[ResultType]:
    """A site-owned statement without values of its own, to be read together with others."""
    return Read(statement.sql(scope), scope.parameters(), _maker(row), finish)


async def fetch_one(
    connection: Connection,
    row: type[RowType],
    statement: SiteStatement,
    scope: Scope,
    parameters: Mapping[str, Any],
) -> RowType | None:
    """The first row of a site-owned statement, or None."""
    rows = await fetch_all(connection, row, statement, scope, parameters)
    return rows[0] if rows else None


async def fetch_count(
    connection: Connection,
    statement: SiteStatement,
    scope: Scope,
    parameters: Mapping[str, Any],
    *,
    custom_plan: bool = False,
) -> int:
    """The number that a site-owned counting statement gives."""
    values = {**parameters, **scope.parameters()}
    rows = await connection.fetch(statement.sql(scope), values, custom_plan=custom_plan)
    return int(rows[0][0]) if rows else 0


async def fetch_unscoped(
    connection: Connection,
    row: type[RowType],
    statement: LiteralString,
    parameters: Mapping[str, Any] | None = None,
) -> list[RowType]:
    """Rows of a statement over tables that belong to no site."""
    return await connection.fetch(statement, parameters or {}, _maker(row))


def _maker(row: type[RowType]) -> Callable[[Sequence[Any]], RowType]:
    # NamedTuples, because making one costs a fifth of what a frozen dataclass does, on every row.
    return row._make  # type: ignore[attr-defined,no-any-return]  # pyright: ignore[reportUnknownMemberType,reportAttributeAccessIssue,reportUnknownVariableType]
