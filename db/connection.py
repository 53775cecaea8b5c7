"""A connection of the pool: statements by psycopg's own cursors, their rows made as the caller says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, LiteralString, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

RowType = TypeVar("RowType")
ResultType = TypeVar("ResultType")
OtherType = TypeVar("OtherType")

MAX_PREPARED = 200
"""Statements that a connection keeps prepared; PostgreSQL holds some 20 to 100 kB for the plan of each."""


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


class Connection(AsyncConnection[TupleRow]):
    """A connection of the pool. `answered_at` is when it last answered (seconds of the monotonic clock)."""

    answered_at = 0.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared_max = MAX_PREPARED

    async def fetch(
        self,
        sql: LiteralString,
        values: Mapping[str, Any],
        make_row: Callable[[Sequence[Any]], RowType] = tuple[Any, ...],
        *,
        plan_anew: bool = False,
    ) -> list[RowType]:
        """The rows of one statement, each made of its values by `make_row`.

        With `plan_anew` it is not prepared but planned for these very values, which takes some milliseconds.
        Raises psycopg's errors. A task that is cancelled meanwhile cancels the statement in the server.
        """
        cursor = self.cursor(row_factory=lambda _: make_row)
        await cursor.execute(sql, values, prepare=False if plan_anew else None)
        return await cursor.fetchall()

    async def read(self, read: Read[ResultType]) -> ResultType:
        """The result of one statement. Raises psycopg's errors."""
        return read.finish(await self.fetch(read.sql, read.values, read.make_row))

    async def read_all(self, reads: Sequence[Read[Any]]) -> list[Any]:
        """The results of statements, each in its own snapshot. Raises the error of the first that fails."""
        # Not in psycopg's pipeline: after an error in one it takes statements for prepared that are not.
        return [await self.read(read) for read in reads]
