"""One caller gets a part of the pool: whatever it asks for, others are answered meanwhile."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from db.postgres.errors import Unavailable
from db.postgres.pool import Database, PoolSettings
from db.postgres.shares import Shares
from graph.settings.config import Settings
from tests.db.test_loaders import WAITING, until
from tests.support.api import Api
from tests.support.store import Store

ALIASES = (
    "{" + " ".join(f"a{n}: runLogs(first: {n + 1}) {{ edges {{ node {{ id }} }} }}" for n in range(12)) + "}"
)
CACHED = "{ cacheEntries { edges { node { id } } } }"
OTHERS = "{ runLogs { edges { node { id } } } }"


@pytest.fixture
def api(dsn: str) -> Iterator[Api]:
    api = Api(dsn, pool_min_size=1, pool_max_size=6, pool_wait=20)
    yield api
    api.close()


@pytest.fixture
def other(dsn: str) -> Iterator[Store]:
    """A second hand on the database, to look while the first holds a lock."""
    other = Store(dsn)
    yield other
    other.connection.close()


def lock_runs(store: Store) -> None:
    """Whoever reads runs waits until the transaction ends."""
    store.connection.execute("BEGIN; LOCK TABLE biz.ai_run_logs IN ACCESS EXCLUSIVE MODE")


def test_one_callers_slow_fields_leave_connections_for_others(api: Api, store: Store, other: Store) -> None:
    store.run()
    cached = store.cache()
    somebody = api.as_key(role="viewer")
    lock_runs(store)

    async def ask() -> tuple[Any, Any, Any, bool]:
        greedy = [asyncio.ensure_future(api.post(ALIASES)) for _ in range(3)]
        await until(lambda: other.value(WAITING) >= 3)
        theirs = await asyncio.wait_for(somebody.post(CACHED), 10)
        ready = await asyncio.wait_for(api.client.get("/readyz"), 10)
        meanwhile = not any(request.done() for request in greedy)
        store.connection.execute("ROLLBACK")
        return [response.json() for response in await asyncio.gather(*greedy)], theirs, ready, meanwhile

    answers, theirs, ready, meanwhile = api.runner.run(ask())
    assert meanwhile
    assert theirs.json() == {"data": {"cacheEntries": {"edges": [{"node": {"id": f"cache_{cached}"}}]}}}
    assert ready.status_code == 200
    # What had to wait for its own others is answered afterwards.
    for answer in answers:
        assert {len(page["edges"]) for page in answer["data"].values()} == {1}


@pytest.mark.parametrize(
    ("size", "share", "connections"), [(1, 0.5, 1), (3, 0.5, 1), (10, 0.5, 5), (4, 1, 4)]
)
def test_the_share_is_a_setting_and_one_at_least(size: int, share: float, connections: int) -> None:
    settings = Settings(_env_file=None, pool_min_size=1, pool_max_size=size, caller_share=share)
    assert settings.share_of_pool == connections


def test_waiting_for_ones_own_requests_ends_in_a_coded_error(dsn: str, store: Store, other: Store) -> None:
    api = Api(dsn, pool_max_size=4, pool_wait=0.2)
    lock_runs(store)

    async def ask() -> dict[str, Any]:
        first = [asyncio.ensure_future(api.post(OTHERS)) for _ in range(2)]
        await until(lambda: other.value(WAITING) >= 2)
        late = (await api.post(CACHED)).json()
        store.connection.execute("ROLLBACK")
        await asyncio.gather(*first)
        return late

    try:
        (error,) = api.runner.run(ask())["errors"]
        assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        assert "your requests" in error["message"]
    finally:
        api.close()


async def leased(database: Database, steps: int) -> None:
    """Take a connection and give it back, with some turns of the loop in between."""
    async with database.connection() as connection:
        for _ in range(steps):
            await connection.execute("SELECT 1")


def test_a_share_is_whole_after_every_way_in_which_a_request_can_end(dsn: str) -> None:
    async def run() -> None:
        database = Database(dsn, PoolSettings(min_size=1, max_size=8))
        await database.open()
        shares = Shares(database, connections=2, wait_seconds=20)
        shared = shares.of("ann")
        for turns in range(40):
            tasks = [asyncio.create_task(leased(shared, n % 3)) for n in range(6)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for task in tasks[turns % 2 :: 2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        async with shared.connection(), shared.connection():
            waiting = asyncio.create_task(leased(shared, 0))
            done, _ = await asyncio.wait({waiting}, timeout=0.05)
            assert not done
        await waiting
        await database.close()

    asyncio.run(run())


def test_shares_are_forgotten_when_nothing_of_theirs_is_under_way(dsn: str) -> None:
    async def run() -> None:
        database = Database(dsn)
        await database.open()
        shares = Shares(database, connections=1, wait_seconds=0.01)
        first, second = shares.of("ann"), shares.of("bob")
        async with first.connection(), second.transaction():
            with pytest.raises(Unavailable):
                await leased(shares.of("ann"), 0)
        del first, second
        gc.collect()
        assert not shares._shares
        await database.close()

    asyncio.run(run())
