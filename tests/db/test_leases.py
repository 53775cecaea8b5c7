"""A lease that is cancelled, wherever that is, loses no connection: the pool is whole afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest
from psycopg.pq import TransactionStatus

from db.postgres.connection import Connection, Read
from db.postgres.pool import Database, PoolSettings
from tests.db.test_loaders import until

SIZE = 2


class Cancelled(Awaitable[Any]):
    """Awaits a coroutine, whose task is cancelled at its suspension of a number, and perhaps at the next too.

    `late` cancels when what is awaited has come already, so that it goes to nobody.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], place: int, *, late: bool, twice: bool) -> None:
        self.coroutine = coroutine
        self.places = (place, place + 1) if twice else (place,)
        self.late = late
        self.suspended = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self.coroutine.__await__()
        error: BaseException | None = None
        while True:
            try:
                future = next(inner) if error is None else inner.throw(error)
            except StopIteration as end:
                return end.value
            here = self.suspended in self.places
            self.suspended += 1
            if here and not self.late:
                # As the loop does it: what is awaited is cancelled, and the error raised in the coroutine.
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield future
                error = asyncio.CancelledError() if here and self.late else None
            except BaseException as raised:
                error = raised


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    settings = PoolSettings(min_size=SIZE, max_size=SIZE)
    database = Database(dsn, settings)
    await database.open()
    try:
        await until(lambda: whole(database))
        yield database
    finally:
        await database.close()


def whole(database: Database) -> bool:
    statistics = database.statistics()
    return statistics["pool_available"] == statistics["pool_size"] == SIZE


async def usable(database: Database) -> None:
    """Take all connections at once: each is idle and answers."""
    async with database.connection() as one, database.connection() as other:
        for connection in (one, other):
            assert connection.pgconn.transaction_status == TransactionStatus.IDLE
            # Not prepared, prepared, and again.
            for number in range(3):
                assert await connection.fetch("SELECT %(n)s::int", {"n": number}) == [(number,)]
                assert await connection.fetch("SELECT 1", {}) == [(1,)]


async def reads(database: Database) -> None:
    async with database.connection() as connection:
        await connection.fetch("SELECT 1", {})
        await connection.read_all([Read("SELECT 2", {}, tuple, list)] * 2)


async def changes(database: Database) -> None:
    async with database.transaction() as connection:
        await connection.execute("CREATE TEMPORARY TABLE left_over () ON COMMIT DROP")
        await connection.fetch("SELECT 1", {})


async def changes_at_once(database: Database) -> None:
    async with database.pipelined_transaction() as connection:
        await connection.execute("SELECT 1")
        await connection.execute("SELECT 2")
        await connection.fetch("SELECT 3", {})


async def fails(database: Database) -> None:
    with pytest.raises(ZeroDivisionError):
        async with database.transaction():
            raise ZeroDivisionError


USES = [reads, changes, changes_at_once, fails]


async def alone(database: Database, lease: Awaitable[None]) -> None:
    await asyncio.gather(lease, return_exceptions=True)


async def among_others(database: Database, lease: Awaitable[None]) -> None:
    """All connections are taken when it comes, others come after it, and it gives its own to one of these."""
    taken: list[Connection] = []
    free = asyncio.Event()

    async def keep() -> None:
        async with database.connection() as connection:
            taken.append(connection)
            await free.wait()

    async def awaited() -> None:
        await lease

    before = [asyncio.create_task(keep()) for _ in range(SIZE)]
    await until(lambda: len(taken) == SIZE)
    task = asyncio.create_task(awaited())
    await asyncio.sleep(0)
    behind = [asyncio.create_task(reads(database)) for _ in range(3)]
    await asyncio.sleep(0)
    free.set()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*before, *behind)


async def in_a_crowd(database: Database, lease: Awaitable[None]) -> None:
    """In each turn of the loop somebody comes and goes, so that it meets one who has just begun to wait."""

    async def awaited() -> None:
        await lease

    async def look() -> None:
        async with database.connection():
            pass

    task = asyncio.create_task(awaited())
    crowd: list[asyncio.Task[None]] = []
    while not task.done():
        crowd.append(asyncio.create_task(look()))
        if len(crowd) > SIZE:
            crowd[-SIZE - 1].cancel()
        await asyncio.sleep(0)
    await asyncio.gather(task, *crowd, return_exceptions=True)


@pytest.mark.parametrize("surroundings", [alone, among_others, in_a_crowd])
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("twice", [False, True])
def test_a_lease_that_is_cancelled_at_any_await_loses_nothing(
    dsn: str,
    surroundings: Callable[[Database, Awaitable[None]], Awaitable[None]],
    use: Callable[[Database], Coroutine[Any, Any, None]],
    late: bool,
    twice: bool,
) -> None:
    async def everywhere() -> int:
        async with opened(dsn) as database:
            for place in count():
                lease = Cancelled(use(database), place, late=late, twice=twice)
                await surroundings(database, lease)
                await until(lambda: whole(database))
                await usable(database)
                if lease.suspended <= place:
                    return place
        raise AssertionError

    # At the least its beginning and its end are awaited.
    # What is sent at once may be answered at once, after one wait.
    assert asyncio.run(everywhere()) >= (1 if use is changes_at_once else 2)
