"""A server that dies or falls silent is noticed: at once where it died, at the deadline where it hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from typing import Any

import httpx
import psycopg
import pytest
import uvloop

from db.embedded import server as embedded
from db.migrations.runner import apply_migrations
from db.postgres import notifications
from db.postgres.connection import Connection, unhurried
from db.postgres.errors import Unavailable
from db.postgres.notifications import watch
from db.postgres.pool import Database, PoolSettings
from tests.db.test_loaders import until
from tests.support.api import signed_in
from tests.support.serving import serving
from tests.support.store import Store

# Far below the deadlines of statements, and far above what a busy machine takes to see a socket's end.
AT_ONCE = 5.0
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
BLOCKED = """
SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'runglass'
  AND query NOT LIKE '%UPDATE%'  -- the server's own upkeep may wait too
"""
SHORT = PoolSettings(min_size=1, max_size=1, statement_seconds=0.5, wait_seconds=1)


@pytest.fixture(scope="module")
def mortal_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of its own: when one of its processes dies, all of its sessions do."""
    with embedded.start(tmp_path_factory.mktemp("mortal") / "own", durable=False) as server:
        yield server.dsn()


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[Any]], Any]:
    """Runs a coroutine on a kind of loop."""

    def run(awaitable: Awaitable[Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(60):
                return await awaitable

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(bounded())

    return run


@contextmanager
def silent(process: int) -> Iterator[None]:
    """A process of PostgreSQL that does nothing meanwhile, as on a host that hangs."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


@pytest.fixture(autouse=True)
def recovered(mortal_dsn: str) -> None:
    """After a death PostgreSQL starts all its sessions anew, which takes a moment."""
    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(mortal_dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
        else:
            return


@pytest.mark.parametrize("death", [signal.SIGQUIT, signal.SIGKILL])
@pytest.mark.parametrize("size", [1, 4_000_000])
def test_a_process_that_dies_with_bytes_unread_is_an_error_at_once(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str, death: signal.Signals, size: int
) -> None:
    async def use() -> float:
        async with await Connection.connect(mortal_dsn, autocommit=True) as connection:
            process = connection.info.backend_pid
            with silent(process):
                statement = asyncio.ensure_future(
                    connection.fetch("SELECT length(%(text)s::text)", {"text": "x" * size})
                )
                # It runs until it waits: what it has sent lies unread, or does not even fit the socket.
                await asyncio.sleep(0)
                os.kill(process, death)
            # With SIGQUIT it says its last word and resets the connection, both at once.
            died = time.monotonic()
            with pytest.raises(psycopg.OperationalError):
                await statement
            assert connection.closed
            return time.monotonic() - died

    assert run(use()) < AT_ONCE


def test_all_that_wait_when_a_server_dies_are_told_at_once_and_the_pool_recovers(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str
) -> None:
    async def use() -> float:
        database = Database(mortal_dsn, PoolSettings(min_size=4, max_size=4, wait_seconds=20))
        await database.open()
        try:
            processes: list[int] = []

            async def sleep() -> None:
                async with database.transaction() as connection:
                    processes.append(connection.info.backend_pid)
                    await connection.fetch("SELECT pg_sleep(50)", {})

            sleeping = [asyncio.ensure_future(sleep()) for _ in range(4)]
            await until(lambda: len(processes) == 4)
            os.kill(processes[0], signal.SIGQUIT)
            died = time.monotonic()
            errors = await asyncio.gather(*sleeping, return_exceptions=True)
            told = time.monotonic() - died
            assert [type(error) for error in errors] == [Unavailable] * 4
            while True:
                try:
                    async with database.connection() as connection:
                        assert await connection.fetch("SELECT 1", {}) == [(1,)]
                    return told
                except Unavailable:
                    pass
        finally:
            await database.close()

    assert run(use()) < AT_ONCE


async def listener_of(dsn: str) -> int:
    """The process that serves the connection which listens."""
    async with await Connection.connect(dsn, autocommit=True) as other:
        listeners = "SELECT pid FROM pg_stat_activity WHERE application_name = 'runglass notifications'"
        ((process,),) = await other.fetch(listeners, {})
    return process


def test_who_listens_is_told_at_once(run: Callable[[Awaitable[Any]], Any], mortal_dsn: str) -> None:
    async def use() -> float:
        heard: list[bool] = []
        listener = asyncio.ensure_future(
            watch(mortal_dsn, "runglass_access", heard=lambda: None, listening=heard.append)
        )
        await until(lambda: heard == [True])
        os.kill(await listener_of(mortal_dsn), signal.SIGQUIT)
        died = time.monotonic()
        await until(lambda: len(heard) > 1)
        told = time.monotonic() - died
        # It listens again when the server is back.
        await until(lambda: heard[-1])
        listener.cancel()
        await asyncio.wait({listener})
        return told

    assert run(use()) < AT_ONCE


USES: dict[str, Callable[[Connection], Awaitable[Any]]] = {
    "statement": lambda connection: connection.fetch("SELECT 1", {}),
    "sends": lambda connection: connection.fetch("SELECT %(text)s::text", {"text": "x" * 4_000_000}),
    "change": lambda connection: connection.execute("SELECT 1"),
}


async def rolled_back(connection: Connection) -> None:
    async with connection.transaction(force_rollback=True):
        pass


async def at_once(connection: Connection) -> None:
    async with connection.pipeline(), connection.transaction():
        await connection.execute("SELECT 1")


USES |= {"transaction": rolled_back, "pipeline": at_once}


@pytest.mark.parametrize("use", USES)
def test_a_process_that_hangs_costs_its_connection_at_the_deadline(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str, use: str
) -> None:
    async def wait() -> None:
        async with await Connection.connect(mortal_dsn, autocommit=True) as connection:
            connection.deadline_seconds = 0.2
            with silent(connection.info.backend_pid):
                with pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.2 s"):
                    await USES[use](connection)
                # Never used again, whatever comes.
                assert connection.closed

    run(wait())


def test_a_transaction_that_hangs_at_its_commit_is_an_error(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str
) -> None:
    async def wait() -> None:
        async with await Connection.connect(mortal_dsn, autocommit=True) as connection:
            connection.deadline_seconds = 0.2
            process = connection.info.backend_pid
            with ExitStack() as stack:
                with pytest.raises(psycopg.OperationalError, match="no answer"):
                    async with connection.transaction():
                        stack.enter_context(silent(process))
                assert connection.closed

    run(wait())


def test_who_listens_waits_as_long_as_nothing_is_said(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str
) -> None:
    async def listen() -> list[str]:
        async with await Connection.connect(mortal_dsn, autocommit=True) as connection:
            connection.deadline_seconds = 0.05
            await connection.execute("LISTEN something")
            # Longer than an answer may take; nothing was asked.
            assert [notice async for notice in connection.notifies(timeout=0.2)] == []
            await connection.execute("NOTIFY something, 'said'")
            return [notice.payload async for notice in connection.notifies(stop_after=1)]

    assert run(listen()) == ["said"]


def test_what_needs_its_time_has_no_statement_timeout_and_a_later_deadline(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str
) -> None:
    async def sleep() -> float | None:
        async with await Connection.connect(mortal_dsn, autocommit=True) as connection:
            connection.deadline_seconds = 0.05
            async with unhurried(connection):
                await connection.fetch("SELECT pg_sleep(0.2)", {})
            return connection.deadline_seconds

    assert run(sleep()) == 0.05


def test_a_listener_whose_process_hangs_listens_anew(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notifications, "_QUIET_SECONDS", 0.1)
    monkeypatch.setattr(notifications, "_ANSWER_SECONDS", 0.2)

    async def use() -> None:
        heard: list[bool] = []
        listener = asyncio.ensure_future(
            watch(mortal_dsn, "runglass_access", heard=lambda: None, listening=heard.append)
        )
        await until(lambda: heard == [True])
        with silent(await listener_of(mortal_dsn)):
            await until(lambda: heard == [True, False, True])
        listener.cancel()
        await asyncio.wait({listener})

    run(use())


def test_the_pool_asks_a_connection_that_was_idle_and_waits_for_it_within_bounds(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str
) -> None:
    async def wait() -> int:
        database = Database(mortal_dsn, SHORT)
        await database.open()
        try:
            async with database.connection() as connection:
                process = connection.info.backend_pid
            await until(lambda: database.statistics()["pool_available"] == 1)
            connection.answered_at = 0
            with silent(process):
                # The connection that hangs is given up and another one is made, or the wait is over.
                while True:
                    try:
                        async with database.connection() as other:
                            return other.info.backend_pid - process
                    except Unavailable:
                        assert connection.closed
        finally:
            await database.close()

    assert run(wait()) != 0


def test_statements_of_the_pool_have_a_deadline_above_their_timeout(
    run: Callable[[Awaitable[Any]], Any], mortal_dsn: str
) -> None:
    async def look() -> float | None:
        database = Database(mortal_dsn, SHORT)
        await database.open()
        try:
            async with database.connection() as connection:
                return connection.deadline_seconds
        finally:
            await database.close()

    assert run(look()) == 5.5


@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    "query", ["{ runLogs { edges { node { id } } } }", "{ dashboard { recentAlerts { id } } }"]
)
def test_a_request_whose_process_dies_is_answered_at_once(mortal_dsn: str, query: str) -> None:
    asyncio.run(apply_migrations(mortal_dsn))
    headers = signed_in(mortal_dsn, name=query)
    store = Store(mortal_dsn)
    settings = {"RUNGLASS_STATEMENT_TIMEOUT": "600", "RUNGLASS_EXECUTION_TIMEOUT": "600"}
    with (
        serving(mortal_dsn, **settings) as server,
        closing(store.connection),
        ThreadPoolExecutor(1) as client,
    ):
        with psycopg.connect(mortal_dsn) as other:
            other.execute("LOCK TABLE biz.ai_run_logs IN ACCESS EXCLUSIVE MODE")
            answer = client.submit(
                httpx.post, f"{server.address}/graphql", json={"query": query}, headers=headers, timeout=60
            )
            while not (blocked := store.rows(BLOCKED)):
                store.value("SELECT 1 FROM pg_sleep(0.02)")
            os.kill(int(blocked[0]["pid"]), signal.SIGQUIT)
            died = time.monotonic()
            (error,) = answer.result().json()["errors"]
            assert time.monotonic() - died < AT_ONCE
            assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"
            other.close()
        while httpx.get(f"{server.address}/readyz", timeout=60).status_code != 200:
            pass
