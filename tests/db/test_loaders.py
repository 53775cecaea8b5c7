"""Loaders: one statement for many loads, and nobody waits for ever or for somebody else."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from db.loaders import LoadCancelled, Loader, Loaders
from db.postgres.pool import Database
from db.sql.scope import EVERY_SITE, Scope
from tests.support.store import Store

STATEMENTS = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'runglass' AND state = 'active'"
)
# Also waits for a lock, which says that the statement has reached the table.
WAITING = STATEMENTS + " AND wait_event_type = 'Lock'"


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again until it is so, but not for ever."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    database = Database(dsn)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


def test_loads_of_one_moment_are_one_batch_and_each_key_is_loaded_once() -> None:
    batches: list[list[int]] = []

    async def load_many(keys: Sequence[int]) -> dict[int, str]:
        batches.append(list(keys))
        return {key: f"value {key}" for key in keys if key != 3}

    async def use() -> list[str | None]:
        loader = Loader(load_many, set())
        found = await asyncio.gather(*(loader.load(key) for key in (1, 2, 3, 1)))
        return [*found, await loader.load(2)]

    assert asyncio.run(use()) == ["value 1", "value 2", None, "value 1", "value 2"]
    assert batches == [[1, 2, 3]]


def test_long_lists_of_keys_are_split() -> None:
    batches: list[int] = []

    async def load_many(keys: Sequence[int]) -> dict[int, int]:
        batches.append(len(keys))
        return {key: -key for key in keys}

    async def use() -> list[int | None]:
        loader = Loader(load_many, set())
        return await asyncio.gather(*(loader.load(key) for key in range(2500)))

    assert asyncio.run(use()) == [-key for key in range(2500)]
    assert batches == [1000, 1000, 500]


def test_a_waiter_that_is_cancelled_leaves_the_other_its_value() -> None:
    async def use() -> tuple[bool, str | None, str | None]:
        go = asyncio.Event()

        async def load_many(keys: Sequence[int]) -> dict[int, str]:
            await go.wait()
            return dict.fromkeys(keys, "value")

        loader = Loader(load_many, set())
        first, second = (asyncio.ensure_future(loader.load(1)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
        go.set()
        return first.cancelled(), await second, await loader.load(1)

    assert asyncio.run(use()) == (True, "value", "value")


def test_a_batch_that_is_cancelled_fails_its_waiters() -> None:
    async def use() -> list[Any]:
        async def load_many(keys: Sequence[int]) -> dict[int, str]:
            await asyncio.Event().wait()
            raise AssertionError

        running: set[asyncio.Task[Any]] = set()
        loader = Loader(load_many, running)
        waiters = [asyncio.ensure_future(loader.load(key)) for key in (1, 2)]
        await until(lambda: bool(running))
        for task in list(running):
            task.cancel()
        return await asyncio.wait_for(asyncio.gather(*waiters, return_exceptions=True), 20)

    assert [type(outcome) for outcome in asyncio.run(use())] == [LoadCancelled, LoadCancelled]


def test_what_a_load_raises_reaches_every_waiter() -> None:
    async def use() -> list[Any]:
        async def load_many(keys: Sequence[int]) -> dict[int, str]:
            raise KeyError("broken")

        loader = Loader(load_many, set())
        return await asyncio.gather(*(loader.load(key) for key in (1, 2)), return_exceptions=True)

    assert [repr(outcome) for outcome in asyncio.run(use())] == ["KeyError('broken')"] * 2


def test_loads_that_nobody_waits_for_any_more_are_not_logged() -> None:
    complaints: list[dict[str, Any]] = []

    async def use() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

        async def load_many(keys: Sequence[int]) -> dict[int, str]:
            await asyncio.Event().wait()
            raise AssertionError

        running: set[asyncio.Task[Any]] = set()
        loader = Loader(load_many, running)
        waiters = [asyncio.ensure_future(loader.load(key)) for key in (1, 2)]
        await until(lambda: bool(running))
        waiters[0].cancel()
        for task in list(running):
            task.cancel()
        await asyncio.wait(waiters)
        assert isinstance(waiters[1].exception(), LoadCancelled)
        del waiters, loader
        await asyncio.sleep(0)
        gc.collect()

    asyncio.run(use())
    assert complaints == []


def test_the_end_of_an_operation_stops_its_statements(dsn: str, store: Store) -> None:
    watcher = Store(dsn)
    run = store.run()

    async def use() -> BaseException | None:
        async with opened(dsn) as database:
            loaders = Loaders(database, EVERY_SITE)
            with store.connection.transaction():
                store.rows("LOCK TABLE biz.ai_run_logs IN ACCESS EXCLUSIVE MODE")
                waiter = asyncio.ensure_future(loaders.run_logs.load(run))
                await until(lambda: watcher.value(WAITING) == 1)
                loaders.cancel()
                await asyncio.wait({waiter}, timeout=20)
                await until(lambda: watcher.value(STATEMENTS) == 0)
            statistics = database.statistics()
            await until(lambda: database.statistics()["pool_available"] == statistics["pool_size"])
            return waiter.exception()

    assert isinstance(asyncio.run(use()), LoadCancelled)
    watcher.connection.close()


def test_each_operation_sees_its_own_scope(module_dsn: str, module_store: Store) -> None:
    runs = [module_store.run(site_id=site) for site in ("berlin", "paris")]

    async def use() -> list[list[str | None]]:
        async with opened(module_dsn) as database:
            seen = []
            for scope in (
                Scope.of("berlin"),
                Scope.of("paris"),
                EVERY_SITE,
                Scope.of("berlin", "paris"),
                Scope.of(),
            ):
                loaders = Loaders(database, scope)
                found = await asyncio.gather(*(loaders.run_logs.load(run) for run in runs))
                seen.append([row and row.site_id for row in found])
            return seen

    both = ["berlin", "paris"]
    assert asyncio.run(use()) == [["berlin", None], [None, "paris"], both, both, [None, None]]


@pytest.mark.parametrize(
    "name", ["run_logs", "run_texts", "alerts", "trigger_jobs", "cache_entries", "cache_results"]
)
def test_an_id_of_another_site_is_as_absent_as_one_of_none(
    module_dsn: str, module_store: Store, name: str
) -> None:
    run = module_store.run(site_id="rome", status="failed")
    job = module_store.job(site_id="rome")
    entry = module_store.cache(site_id="rome")
    key = {"trigger_jobs": job, "cache_entries": entry, "cache_results": entry}.get(name, run)

    async def use() -> list[Any]:
        async with opened(module_dsn) as database:
            found = []
            for scope in (Scope.of("rome"), Scope.of("berlin")):
                loaders = Loaders(database, scope)
                found += await asyncio.gather(*(getattr(loaders, name).load(each) for each in (key, 2**62)))
            return found

    seen, absent, other, none = asyncio.run(use())
    assert seen.id == key
    assert (absent, other, none) == (None, None, None)
