"""Whether a pool's database can be reached: what is known of it, and who waits to know."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed

from db.postgres.errors import UNREACHABLE, Unavailable

T = TypeVar("T")

PROBE_SECONDS = 1.0
"""How often a database that is known to be down is asked whether it is back."""


class Reachability:
    """What the attempts to connect say. A database is lost where one failed and no connection is left."""

    def __init__(self) -> None:
        self._is_lost = False
        self._waits: set[asyncio.Timeout] = set()
        self._probe: asyncio.Task[None] | None = None

    async def require(self) -> None:
        """Raises Unavailable at once where the database is known to be down."""
        if self._is_lost:
            # Who asks again at once lets others find the way back.
            await asyncio.sleep(0)
            raise Unavailable(UNREACHABLE)

    async def wait_for(self, connect: Callable[[], Awaitable[T]]) -> T:
        """A connection, as soon as there is one. Raises Unavailable as soon as none is to be had."""
        if self._is_lost:
            await self.require()
        try:
            async with asyncio.timeout(None) as wait:
                self._waits.add(wait)
                try:
                    return await connect()
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            raise Unavailable(UNREACHABLE) from None

    async def failed(self, pool: AsyncConnectionPool[Any]) -> None:
        """An attempt to connect has failed."""
        if not self._is_lost and pool.get_stats().get("pool_size", 0) == 0:
            self._is_lost = True
            for wait in self._waits:
                wait.reschedule(asyncio.get_running_loop().time())
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._ask_until_found(pool))

    def found(self) -> None:
        """A connection was made."""
        self._is_lost = False

    async def close(self) -> None:
        """Ask no more."""
        if self._probe:
            self._probe.cancel()
            await asyncio.wait({self._probe})

    async def _ask_until_found(self, pool: AsyncConnectionPool[Any]) -> None:
        # Those that lie idle are perhaps broken too.
        await pool.check()
        while True:
            is_found = True
            try:
                async with pool.connection(timeout=PROBE_SECONDS):
                    pass
            except PoolClosed:
                return
            except psycopg.Error:
                is_found = False
            # Also where one was found: a pool with connections that cannot get more of them would be told to
            # grow again by each attempt that fails, without a pause.
            await asyncio.sleep(PROBE_SECONDS)
            if is_found and not self._is_lost:
                return
