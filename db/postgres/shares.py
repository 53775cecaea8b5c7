"""A caller's share of the pool, so that one who asks for much takes no connection that others need."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from db.postgres.connection import Connection
from db.postgres.errors import Unavailable
from db.postgres.pool import Database


class _Share:
    """How many connections one caller may have at once; the same for all of its requests."""

    __slots__ = ("__weakref__", "free", "wait_seconds")

    def __init__(self, connections: int, wait_seconds: float) -> None:
        self.free = asyncio.Semaphore(connections)
        self.wait_seconds = wait_seconds

    @asynccontextmanager
    async def taken(self) -> AsyncGenerator[None, None]:
        """One of its connections. Raises Unavailable where none comes free in time."""
        if self.free.locked():
            try:
                async with asyncio.timeout(self.wait_seconds):
                    await self.free.acquire()
            except TimeoutError:
                raise Unavailable(
                    "all connections that one caller may have are busy with your requests; send fewer at once"
                ) from None
        else:
            # Does not wait, as one is free.
            await self.free.acquire()
        try:
            yield
        finally:
            self.free.release()


class Shares:
    """The shares of all callers of a process: `connections` each, for which they wait `wait_seconds`."""

    def __init__(self, database: Database, *, connections: int, wait_seconds: float) -> None:
        self._database = database
        self._connections = connections
        self._wait_seconds = wait_seconds
        # Of callers that have a request under way.
        self._shares: WeakValueDictionary[str, _Share] = WeakValueDictionary()

    def of(self, caller: str) -> Database:
        """The database, of which this caller gets its share only."""
        share = self._shares.get(caller)
        if share is None:
            share = self._shares[caller] = _Share(self._connections, self._wait_seconds)
        return _SharedDatabase(self._database, share)


class _SharedDatabase(Database):
    """Gives connections of the database as long as the caller's share has one."""

    def __init__(self, database: Database, share: _Share) -> None:
        self._database = database
        self._share = share

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """A connection in autocommit mode, for reads."""
        async with self._share.taken(), self._database.connection() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """A connection within one transaction."""
        async with self._share.taken(), self._database.transaction() as connection:
            yield connection

    @asynccontextmanager
    async def statement(self) -> AsyncGenerator[Connection, None]:
        """A connection for one statement that changes something."""
        async with self._share.taken(), self._database.statement() as connection:
            yield connection

    @asynccontextmanager
    async def pipelined_transaction(self) -> AsyncGenerator[Connection, None]:
        """A transaction whose statements are sent without waiting."""
        async with self._share.taken(), self._database.pipelined_transaction() as connection:
            yield connection
