"""A connection of the pool: statements by psycopg's own cursors, their rows made as the caller says.

No statement is waited for without end. PostgreSQL ends one that runs too long by itself (statement_timeout);
where it does not even do that, because its host or the network is silent, the connection is closed by us.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, LiteralString, TypeVar

from psycopg import AsyncClientCursor, AsyncConnection, Notify, OperationalError
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import PipelineAborted
from psycopg.rows import TupleRow
from psycopg.types.numeric import Int4

from db.sql.long_texts import LIMIT

RowType = TypeVar("RowType")
ResultType = TypeVar("ResultType")
OtherType = TypeVar("OtherType")

MAX_PREPARED = 200
"""Statements that a connection keeps prepared; PostgreSQL holds some 20 to 100 kB for the plan of each."""

DEADLINE_SECONDS = 15.0
UNHURRIED_SECONDS = 3600.0

# A peer that has vanished without a word is noticed within some 15 seconds. Local sockets need none of it.
_LIFE_SIGNS: dict[str, int] = {
    "keepalives": 1,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


@dataclass(slots=True)
class Read(Generic[ResultType]):
    """A statement to be run: its rows are made by `make_row`, and `finish` makes the result of them.

    It may be run again, on any connection of the pool.
    """

    sql: LiteralString
    values: Mapping[str, Any]
    make_row: Callable[[Sequence[Any]], Any]
    finish: Callable[[list[Any]], ResultType]

    def then(self, function: Callable[[ResultType], OtherType]) -> Read[OtherType]:
        """The same statement, its result made into another one."""

        def finish(rows: list[Any]) -> OtherType:
            return function(self.finish(rows))

        return Read(self.sql, self.values, self.make_row, finish)


def options_of(dsn: str, *, connect_seconds: float, application_name: str) -> dict[str, Any]:
    """What every connection is opened with, as far as the address does not say otherwise itself."""
    options = {
        **_LIFE_SIGNS,
        "connect_timeout": max(2, round(connect_seconds)),
        "application_name": application_name,
    }
    return {name: value for name, value in options.items() if name not in conninfo_to_dict(dsn)}


class Connection(AsyncConnection[TupleRow]):
    """A connection of the pool. `answered_at` is when it last answered (seconds of the monotonic clock)."""

    answered_at = 0.0
    deadline_seconds: float | None = DEADLINE_SECONDS
    """How long an answer may take; one that takes longer costs the connection. None is for ever."""
    longest_text = 2_000
    """Characters of a long text in a list."""
    most_text = 16_000_000
    """Characters of the long texts that rows read by their ids have together."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared_max = MAX_PREPARED

    async def fetch(
        self,
        sql: LiteralString,
        values: Mapping[str, Any],
        make_row: Callable[[Sequence[Any]], RowType] = tuple[Any, ...],
        *,
        custom_plan: bool = False,
    ) -> list[RowType]:
        """The rows of one statement, each made of its values by `make_row`.

        A statement that comes again is prepared, and has one plan for all values. With `custom_plan` its
        values are sent within its text, and it is planned for them, which takes half a millisecond or more.
        Raises psycopg's errors. A task that is cancelled meanwhile cancels the statement in the server.
        """

        def row_factory(_: object) -> Callable[[Sequence[Any]], RowType]:
            return make_row

        cursor = (
            AsyncClientCursor(self, row_factory=row_factory)
            if custom_plan
            else self.cursor(row_factory=row_factory)
        )
        await cursor.execute(sql, values)
        return await cursor.fetchall()

    async def read(self, read: Read[ResultType]) -> ResultType:
        """The result of one statement. Raises psycopg's errors."""
        return read.finish(await self.fetch(read.sql, self.cutting(read.values), read.make_row))

    def cutting(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values of a statement, with how long texts in lists may be where they do not say it."""
        return {LIMIT: Int4(self.longest_text), **values}

    def whole(self, rows: int) -> dict[str, Any]:
        """The value for so many rows whose texts are wanted whole: as far as all of them fit an answer."""
        return {LIMIT: Int4(max(self.longest_text, self.most_text // max(rows, 1)))}

    async def read_all(self, reads: Sequence[Read[Any]]) -> list[Any]:
        """The results of statements, each in its own snapshot. Raises the error of the first that fails."""
        # Not in psycopg's pipeline: after an error in one it takes statements for prepared that are not.
        return [await self.read(read) for read in reads]

    async def wait(
        self,
        gen: PQGen[ResultType],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own
    ) -> ResultType:
        """Wait for an answer; everything that psycopg asks the server for comes through here.

        Raises OperationalError where none comes within the deadline. The connection is closed then.
        """
        started = monotonic()
        deadline = self.deadline_seconds if timeout is None else None
        try:
            return await super().wait(gen, interval, timeout if deadline is None else deadline)
        except OperationalError as error:
            # What has no SQLSTATE was not said by the server: it is silent or gone.
            if deadline is None or error.sqlstate is not None or isinstance(error, PipelineAborted):
                raise
            await self.close()
            if monotonic() - started < deadline:
                raise
            raise OperationalError(f"no answer within {deadline:g} s") from error

    async def notifies(
        self,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own
        stop_after: int | None = None,
    ) -> AsyncGenerator[Notify, None]:
        """What others notify of. Nothing was asked for, so nothing has to come in time."""
        with self.answering_within(None):
            async for notice in super().notifies(timeout=timeout, stop_after=stop_after):
                yield notice

    @contextmanager
    def answering_within(self, seconds: float | None) -> Generator[None, None, None]:
        """Another deadline meanwhile."""
        before, self.deadline_seconds = self.deadline_seconds, seconds
        try:
            yield
        finally:
            self.deadline_seconds = before


@asynccontextmanager
async def unhurried(connection: AsyncConnection[Any]) -> AsyncGenerator[None, None]:
    """A transaction whose statements may take as long as they need, an hour at the most."""
    own = isinstance(connection, Connection)
    with connection.answering_within(UNHURRIED_SECONDS) if own else nullcontext():
        async with connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            yield
