"""Statements of a connection: values, errors, what is prepared, cancelling, and a server that goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg
import pytest

from db.postgres.connection import MAX_PREPARED, Connection, Read

PREPARED = "SELECT count(*) FROM pg_prepared_statements"


def run(dsn: str, use: Callable[[Connection], Awaitable[Any]], **options: Any) -> Any:
    async def connected() -> Any:
        options.setdefault("prepare_threshold", 1)
        async with await Connection.connect(dsn, autocommit=True, **options) as connection:
            return await use(connection)

    return asyncio.run(connected())


def test_values_go_in_and_come_back(empty_dsn: str) -> None:
    values = {"text": "ü'\\", "number": 2**40, "list": ["a", None, 'b"'], "none": None, "unused": 1}
    sql = "SELECT %(text)s::text, %(number)s::bigint, %(list)s::text[], %(none)s::text, %(text)s::text"

    async def use(connection: Connection) -> Any:
        return [await connection.fetch(sql, values) for _ in range(3)]

    row = ("ü'\\", 2**40, ["a", None, 'b"'], None, "ü'\\")
    assert run(empty_dsn, use) == [[row]] * 3


def test_a_statement_that_comes_again_is_prepared_once(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        counts: list[Any] = []
        for number in range(4):
            assert await connection.fetch("SELECT %(n)s::int", {"n": number}) == [(number,)]
            counts += await connection.fetch(PREPARED, {}, custom_plan=True)
        return counts

    assert run(empty_dsn, use) == [(0,), (1,), (1,), (1,)]


def test_a_statement_with_a_custom_plan_is_not_prepared(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        for number in range(4):
            assert await connection.fetch("SELECT %(n)s::int", {"n": number}, custom_plan=True) == [(number,)]
        return await connection.fetch(PREPARED, {}, custom_plan=True)

    assert run(empty_dsn, use) == [(0,)]


def test_nothing_is_prepared_where_a_pooler_would_lose_it(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        for number in range(4):
            assert await connection.fetch("SELECT %(n)s::int", {"n": number}) == [(number,)]
            await connection.read_all([select("SELECT 1"), select("SELECT 2")])
        return await connection.fetch(PREPARED, {})

    assert run(empty_dsn, use, prepare_threshold=None) == [(0,)]


def test_a_flood_of_statements_leaves_hot_ones_prepared_and_is_bounded(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        together = [select("SELECT 'two'"), select("SELECT 'three'")]
        for number in range(MAX_PREPARED + 20):
            await connection.fetch("SELECT 'one'", {})
            await connection.read_all(together)
            for _ in range(2):
                await connection.fetch(f"SELECT {number}", {})  # pyright: ignore[reportArgumentType]
        hot = "SELECT name FROM pg_prepared_statements WHERE statement LIKE 'SELECT ''%%' ORDER BY 1"
        names = await connection.fetch(hot, {}, custom_plan=True)
        return names, await connection.fetch(PREPARED, {}, custom_plan=True)

    # The names of the first three after "SELECT 0", so none was prepared again.
    names = [("_pg3_1",), ("_pg3_2",), ("_pg3_3",)]
    assert run(empty_dsn, use) == (names, [(MAX_PREPARED,)])


def test_an_error_leaves_the_connection_usable(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        with pytest.raises(psycopg.errors.DivisionByZero):
            await connection.fetch("SELECT 1 / %(n)s::int", {"n": 0})
        with pytest.raises(psycopg.errors.UndefinedTable):
            await connection.fetch("SELECT * FROM nothing", {})
        return await connection.fetch("SELECT 1 / %(n)s::int", {"n": 1})

    assert run(empty_dsn, use) == [(1,)]


def test_a_rollback_of_psycopgs_own_loses_nothing(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        await connection.execute("SELECT 1", prepare=True)
        assert await connection.fetch("SELECT 2", {}) == [(2,)]
        async with connection.transaction(force_rollback=True):
            assert await connection.fetch("SELECT 2", {}) == [(2,)]
        await connection.execute("SELECT 1", prepare=True)
        return await connection.fetch("SELECT 2", {})

    assert run(empty_dsn, use) == [(2,)]


def test_more_than_a_socket_takes_is_sent_and_read(empty_dsn: str) -> None:
    text = "ab" * 4_000_000

    async def use(connection: Connection) -> Any:
        return await connection.fetch("SELECT %(text)s::text, length(%(text)s::text)", {"text": text})

    assert run(empty_dsn, use) == [(text, len(text))]


def test_uses_at_once_wait_for_each_other(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        fetches = [connection.fetch("SELECT %(n)s::int", {"n": number}) for number in range(20)]
        return await asyncio.gather(*fetches, connection.execute("SELECT 99"))

    assert run(empty_dsn, use)[:20] == [[(number,)] for number in range(20)]


def test_within_a_pipeline_rows_come_too(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        async with connection.pipeline():
            return await connection.fetch("SELECT %(n)s::int", {"n": 5})

    assert run(empty_dsn, use) == [(5,)]


def test_cancelling_ends_the_statement_in_the_server(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        task = asyncio.ensure_future(connection.fetch("SELECT pg_sleep(60)", {}))
        async with await Connection.connect(empty_dsn, autocommit=True) as other:
            pid = {"pid": connection.info.backend_pid}
            running = "SELECT pid FROM pg_stat_activity WHERE pid = %(pid)s::int AND state = 'active'"
            while not await other.fetch(running, pid):
                pass
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await other.fetch(running, pid) == []
        return await connection.fetch("SELECT 1", {})

    assert run(empty_dsn, use) == [(1,)]


def test_a_server_that_goes_is_an_error_then_and_after(empty_dsn: str) -> None:
    async def use(connection: Connection) -> None:
        ended = "SELECT pg_terminate_backend(%(pid)s::int)"
        async with await Connection.connect(empty_dsn, autocommit=True) as other:
            task = asyncio.ensure_future(connection.fetch("SELECT pg_sleep(60)", {}))
            await asyncio.sleep(0)
            await other.fetch(ended, {"pid": connection.info.backend_pid})
            with pytest.raises(psycopg.OperationalError):
                await task
            with pytest.raises(psycopg.OperationalError):
                await connection.fetch("SELECT 1", {})

    run(empty_dsn, use)


def select(sql: Any, finish: Callable[[list[Any]], Any] = list, **values: Any) -> Read[Any]:
    return Read(sql, values, tuple, finish)


def test_statements_that_are_read_together_give_each_its_own(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        reads = [
            select("SELECT %(n)s::int", n=1),
            select("SELECT %(text)s::text FROM generate_series(1, 3)", len, text="ü" * 2_000_000),
            select("SELECT %(n)s::int", n=2),
            select("SELECT now() WHERE false").then(bool),
            select("SELECT repeat('x', %(n)s::int)", n=5_000_000).then(lambda rows: len(rows[0][0])),
        ]
        return [await connection.read_all(reads) for _ in range(3)], await connection.read(reads[0])

    together, one = run(empty_dsn, use)
    assert together == [[[(1,)], 3, [(2,)], False, 5_000_000]] * 3
    assert one == [(1,)]


def test_of_statements_that_are_read_together_the_first_error_is_raised(empty_dsn: str) -> None:
    async def use(connection: Connection) -> Any:
        good, bad = select("SELECT 1"), select("SELECT 1 / %(n)s::int", n=0)
        for reads in ([good, bad, good, select("SELECT %(x)s::int", x="y")], [bad]):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await connection.read_all(reads)
            assert await connection.read_all([good, good]) == [[(1,)], [(1,)]]
        with pytest.raises(psycopg.errors.UndefinedTable):
            await connection.read_all([good, select("SELECT * FROM nothing")])
        return await connection.fetch("SELECT 1", {})

    assert run(empty_dsn, use) == [(1,)]
