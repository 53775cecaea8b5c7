"""A connection whose reads cost little: statements are prepared once, and their rows come in one wake-up.

psycopg runs a statement through a cursor, a generator and a registration with the event loop, which took four
fifths of a page's time on our side. `Connection.fetch` speaks to libpq itself, through the interface that
psycopg offers for it: the socket stays registered between statements, and what converts values and rows is
psycopg's own. Everything else (transactions, changes, COPY) goes through `execute`.
"""

from __future__ import annotations

import asyncio
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, LiteralString, NamedTuple, TypeVar, cast

from psycopg import AsyncConnection, OperationalError, adapt
from psycopg.abc import Buffer, PQGen, Transformer
from psycopg.adapt import PyFormat
from psycopg.errors import error_from_result
from psycopg.generators import send
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow
from psycopg.waiting import Wait

from db.turns import Turns

RowType = TypeVar("RowType")
ResultType = TypeVar("ResultType")
OtherType = TypeVar("OtherType")

MAX_PREPARED = 200
"""Statements that a connection keeps prepared; PostgreSQL holds some 20 to 100 kB for the plan of each."""

_CANCEL_SECONDS = 5.0
_SUCCEEDED = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.PIPELINE_SYNC)
_TURNS = Turns()
_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|%)")


@dataclass(slots=True)
class _Prepared:
    """A prepared statement, and what turns its rows into values; `knows_types` once it has seen some."""

    name: bytes
    rows: Transformer
    knows_types: bool = False

    def made(self, result: PGresult, make_row: Callable[[Sequence[Any]], RowType]) -> list[RowType]:
        """The rows of a result."""
        rows = self.rows
        rows.set_pgresult(result, set_loaders=not self.knows_types)
        self.knows_types = True
        made = rows.load_rows(0, result.ntuples, make_row)
        rows.set_pgresult(None, set_loaders=False)
        return made


@lru_cache(maxsize=1024)
def numbered(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with $1, $2, … for its `%(name)s`, and the names in that order."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        name = match[1]
        return "%" if name is None else f"${names.setdefault(name, len(names) + 1)}"

    text = _PLACEHOLDER.sub(number, sql)
    return text.encode(), tuple(names)


def _transformer(connection: AsyncConnection[Any]) -> Transformer:
    # psycopg chooses between its Python and its C class in a way that a type checker cannot follow.
    return cast(Any, adapt).Transformer(connection)


def _checked(result: PGresult) -> PGresult:
    if result.status in _SUCCEEDED:
        return result
    raise error_from_result(result)


class _Given(NamedTuple):
    """A numbered statement, its values as libpq takes them, their types and formats."""

    query: bytes
    values: Sequence[Buffer | None] = ()
    types: tuple[int, ...] = ()
    formats: Sequence[Format] | None = None


@dataclass(slots=True)
class Read(Generic[ResultType]):
    """A statement to be run: its rows are made by `make_row`, and `finish` makes the result of them.

    It may be run again, on any connection of the pool: what was `given` to libpq is remembered.
    """

    sql: LiteralString
    values: Mapping[str, Any]
    make_row: Callable[[Sequence[Any]], Any]
    finish: Callable[[list[Any]], ResultType]
    given: _Given | None = None

    def then(self, function: Callable[[ResultType], OtherType]) -> Read[OtherType]:
        """The same statement, its result made into another one."""

        def finish(rows: list[Any]) -> OtherType:
            return function(self.finish(rows))

        return Read(self.sql, self.values, self.make_row, finish)


class Connection(AsyncConnection[TupleRow]):
    """A connection of the pool. `answered_at` is when it last answered (seconds of the monotonic clock)."""

    answered_at = 0.0
    prepares = True
    """Off behind a pooler that does not carry prepared statements."""

    _watched: int | None = None
    _loop: asyncio.AbstractEventLoop
    _waiter: asyncio.Future[list[PGresult]] | None = None
    _came: list[PGresult]
    _names_given = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._values = _transformer(self)
        self._prepared_statements: OrderedDict[tuple[bytes, tuple[int, ...]], _Prepared] = OrderedDict()

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
        if self.pgconn.pipeline_status or not self.autocommit:
            cursor = await self.execute(sql, values)
            return [make_row(row) for row in await cursor.fetchall()]
        query, given, types, formats = self._given(sql, values)
        async with self.lock:
            if self.prepares and not plan_anew:
                prepared = self._known((query, types)) or await self._prepare(query, types)
                self.pgconn.send_query_prepared(prepared.name, given, formats)
            else:
                prepared = _Prepared(b"", _transformer(self))
                self.pgconn.send_query_params(query, given, types, formats)
            results = await self._results()
            return prepared.made(_checked(results[-1]), make_row)

    async def read(self, read: Read[ResultType]) -> ResultType:
        """The result of one statement. Raises psycopg's errors."""
        return read.finish(await self.fetch(read.sql, read.values, read.make_row))

    async def read_together(self, reads: Sequence[Read[Any]]) -> list[Any]:
        """The results of statements that are sent at once and answered at once, each in its own snapshot.

        Raises the error of the first that fails, and then gives none. Not for use within psycopg's pipeline.
        """
        given = [read.given or self._remembered(read) for read in reads]
        async with self.lock:
            prepared = await self._prepare_all([(query, types) for query, _, types, _ in given])
            self.pgconn.enter_pipeline_mode()
            try:
                for statement, (query, values, types, formats) in zip(prepared, given, strict=True):
                    if self.prepares:
                        self.pgconn.send_query_prepared(statement.name, values, formats)
                    else:
                        self.pgconn.send_query_params(query, values, types, formats)
                self.pgconn.pipeline_sync()
                # The last is the end of the pipeline.
                *results, _ = map(_checked, await self._results())
            finally:
                self._leave_pipeline()
            return [
                read.finish(statement.made(result, read.make_row))
                for read, statement, result in zip(reads, prepared, results, strict=True)
            ]

    def _remembered(self, read: Read[Any]) -> _Given:
        given = read.given = self._given(read.sql, read.values)
        return given

    def _given(self, sql: str, values: Mapping[str, Any]) -> _Given:
        query, names = numbered(sql)
        if not names:
            return _Given(query)
        dumper = self._values
        given = dumper.dump_sequence([values[name] for name in names], [PyFormat.AUTO] * len(names))
        return _Given(query, given, dumper.types or (), dumper.formats)

    async def _prepare_all(self, wanted: Sequence[tuple[bytes, tuple[int, ...]]]) -> list[_Prepared]:
        if not self.prepares:
            return [_Prepared(b"", _transformer(self)) for _ in wanted]
        statements = self._prepared_statements
        # One that is prepared may drive another one out.
        while missing := [each for each in wanted if each not in statements]:
            await self._prepare(*missing[0])
        for each in wanted:
            statements.move_to_end(each)
        return [statements[each] for each in wanted]

    def _known(self, statement: tuple[bytes, tuple[int, ...]]) -> _Prepared | None:
        prepared = self._prepared_statements.get(statement)
        if prepared is not None:
            # The one that has not been used for longest makes room: a flood of others leaves hot ones alone.
            self._prepared_statements.move_to_end(statement)
        return prepared

    async def _prepare(self, query: bytes, types: tuple[int, ...]) -> _Prepared:
        statements = self._prepared_statements
        if len(statements) >= MAX_PREPARED:
            _, oldest = statements.popitem(last=False)
            self.pgconn.send_query_params(b"DEALLOCATE " + oldest.name, None)
            await self._result()
        self._names_given += 1
        name = b"runglass_%d" % self._names_given
        self.pgconn.send_prepare(name, query, types)
        await self._result()
        prepared = statements[query, types] = _Prepared(name, _transformer(self))
        return prepared

    async def _result(self) -> PGresult:
        """What the statement that was just sent gives. Raises the error that it ended with."""
        return _checked((await self._results())[-1])

    async def _results(self) -> list[PGresult]:
        """What came for all that was sent, to the end of the statement, or of the pipeline."""
        if self.pgconn.flush():
            # More than the socket takes at once.
            await self.wait(send(self.pgconn))
        if self._watched is None:
            self._watched = self.pgconn.socket
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._watched, self._on_readable)
        _TURNS.sent()
        self._came = []
        self._waiter = self._loop.create_future()
        try:
            return await self._waiter
        except asyncio.CancelledError:
            await self._give_up()
            raise
        finally:
            self._waiter = None

    def _on_readable(self) -> None:
        waiter = self._waiter
        try:
            self.pgconn.consume_input()
            if waiter is not None and self._has_all_come() and not waiter.done():
                waiter.set_result(self._came)
        except OperationalError as error:
            # The server is gone, also where nobody waits: without this the loop would spin on the socket.
            self._unwatch()
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)

    def _has_all_come(self) -> bool:
        """Take what is there. In a pipeline a None ends each statement, and two of them a lost connection."""
        ended = not self.pgconn.pipeline_status
        while not self.pgconn.is_busy():
            result = self.pgconn.get_result()
            if result is None:
                if ended:
                    return True
                ended = True
                continue
            self._came.append(result)
            if result.status == ExecStatus.PIPELINE_SYNC:
                return True
            ended = not self.pgconn.pipeline_status
        return False

    def _rest(self) -> PQGen[None]:
        self._came = []
        while not self._has_all_come():
            while not (yield Wait.R):
                pass
            self.pgconn.consume_input()

    async def _give_up(self) -> None:
        """Cancel the statement in the server and read what it had sent, as psycopg does for its own."""
        self._waiter = None
        try:
            await self._try_cancel(timeout=_CANCEL_SECONDS)
            await self.wait(self._rest(), timeout=_CANCEL_SECONDS)
        except BaseException:
            # In an unknown state; the pool replaces a connection that is closed.
            self._unwatch()
            self.pgconn.finish()

    def _leave_pipeline(self) -> None:
        try:
            self.pgconn.exit_pipeline_mode()
        except OperationalError:
            # Not to its end; the pool replaces a connection that is closed.
            self._unwatch()
            self.pgconn.finish()

    async def wait(
        self,
        gen: PQGen[ResultType],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own
    ) -> ResultType:
        """Run a statement of psycopg's own, which watches the socket itself."""
        self._unwatch()
        return await super().wait(gen, interval, timeout)

    async def close(self) -> None:
        """Close the connection."""
        self._unwatch()
        await super().close()

    def _deallocate(self, name: bytes | None) -> PQGen[None]:
        if name is None:
            # After a rollback psycopg has the server forget every prepared statement, and so ours.
            self._prepared_statements.clear()
        return super()._deallocate(name)

    def _unwatch(self) -> None:
        # By its number, for libpq does not name the socket of a connection that is lost.
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            self._watched = None
