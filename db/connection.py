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
from typing import Any, LiteralString, TypeVar, cast

from psycopg import AsyncConnection, OperationalError, adapt
from psycopg.abc import PQGen, Transformer
from psycopg.adapt import PyFormat
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many, send
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult
from psycopg.rows import TupleRow

RowType = TypeVar("RowType")
ResultType = TypeVar("ResultType")

MAX_PREPARED = 200
"""Statements that a connection keeps prepared; PostgreSQL holds some 20 to 100 kB for the plan of each."""

_CANCEL_SECONDS = 5.0
_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|%)")


@dataclass(slots=True)
class _Prepared:
    """A prepared statement, and what turns its rows into values; `knows_types` once it has seen some."""

    name: bytes
    rows: Transformer
    knows_types: bool = False


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


class Connection(AsyncConnection[TupleRow]):
    """A connection of the pool. `answered_at` is when it last answered (seconds of the monotonic clock)."""

    answered_at = 0.0
    prepares = True
    """Off behind a pooler that does not carry prepared statements."""

    _watched: int | None = None
    _waiter: asyncio.Future[list[PGresult]] | None = None
    _results: list[PGresult]
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
    ) -> list[RowType]:
        """The rows of one statement, each made of its values by `make_row`.

        Raises psycopg's errors. A task that is cancelled meanwhile cancels the statement in the server.
        """
        if self.pgconn.pipeline_status or not self.autocommit:
            cursor = await self.execute(sql, values)
            return [make_row(row) for row in await cursor.fetchall()]
        query, names = numbered(sql)
        dumper = self._values
        given = dumper.dump_sequence([values[name] for name in names], [PyFormat.AUTO] * len(names))
        types, formats = dumper.types or (), dumper.formats
        async with self.lock:
            if self.prepares:
                prepared = self._prepared_statements.get((query, types)) or await self._prepare(query, types)
                self.pgconn.send_query_prepared(prepared.name, given, formats)
            else:
                prepared = _Prepared(b"", _transformer(self))
                self.pgconn.send_query_params(query, given, types, formats)
            result = await self._result()
            rows = prepared.rows
            rows.set_pgresult(result, set_loaders=not prepared.knows_types)
            prepared.knows_types = True
            made = rows.load_rows(0, result.ntuples, make_row)
            rows.set_pgresult(None, set_loaders=False)
        return made

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
        if self.pgconn.flush():
            # More than the socket takes at once.
            await self.wait(send(self.pgconn))
        loop = asyncio.get_running_loop()
        if self._watched is None:
            self._watched = self.pgconn.socket
            loop.add_reader(self._watched, self._on_readable)
        self._results = []
        self._waiter = loop.create_future()
        try:
            results = await self._waiter
        except asyncio.CancelledError:
            await self._give_up()
            raise
        finally:
            self._waiter = None
        result = results[-1]
        if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
            raise error_from_result(result)
        return result

    def _on_readable(self) -> None:
        waiter = self._waiter
        try:
            self.pgconn.consume_input()
            while waiter is not None and not self.pgconn.is_busy():
                result = self.pgconn.get_result()
                if result is None:
                    if not waiter.done():
                        waiter.set_result(self._results)
                    return
                self._results.append(result)
        except OperationalError as error:
            # The server is gone, also where nobody waits: without this the loop would spin on the socket.
            self._unwatch()
            if waiter is not None and not waiter.done():
                waiter.set_exception(error)

    async def _give_up(self) -> None:
        """Cancel the statement in the server and read what it had sent, as psycopg does for its own."""
        self._waiter = None
        try:
            await self._try_cancel(timeout=_CANCEL_SECONDS)
            await self.wait(fetch_many(self.pgconn), timeout=_CANCEL_SECONDS)
        except BaseException:
            # In an unknown state; the pool replaces a connection that is closed.
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
            asyncio.get_running_loop().remove_reader(self._watched)
            self._watched = None
