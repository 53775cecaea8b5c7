"""A database that is known to be down is said to be at once, however long a connection may be waited for."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from psycopg.conninfo import make_conninfo

from db.embedded import server as embedded
from db.migrations.runner import apply_migrations
from db.postgres.errors import Unavailable
from db.postgres.pool import Database, PoolSettings
from tests.api.mutations.test_retry_job import RETRY_JOB
from tests.support.api import Api
from tests.support.store import Store

T = TypeVar("T")
# Far longer than any request of these tests may take.
WAIT = 1000.0
ASKED = ["{ __typename }", "{ runLogs { edges { node { id } } } }", "{ __schema { queryType { name } } }"]


@pytest.fixture
def link() -> Iterator[Path]:
    """A path short enough for a socket, at which nothing is yet."""
    with tempfile.TemporaryDirectory(prefix="link-") as folder:
        # The account of an embedded server that root starts must reach it.
        Path(folder).chmod(0o755)
        yield Path(folder) / "s"


def soon(api: Api, request: Awaitable[T]) -> T:
    """What comes of it without waiting for a connection."""
    return api.runner.run(asyncio.wait_for(request, 60))


# Behind a pooler nothing is heard of the end of sessions, so that callers are remembered.
@pytest.mark.parametrize("pooler", ["none", "transaction"])
def test_requests_are_refused_before_they_run_until_the_server_is_back(
    tmp_path: Path, link: Path, pooler: str
) -> None:
    server = embedded.start(tmp_path / "own", durable=False)
    # A server that starts again has another socket; by the link it has the same address.
    link.symlink_to(server.socket_dir)
    dsn = make_conninfo(server.dsn(), host=str(link))
    asyncio.run(apply_migrations(dsn))
    api = Api(dsn, pool_wait=WAIT, connect_timeout=2, pooler=pooler)
    try:
        for query in ASKED:
            assert soon(api, api.post(query)).status_code == 200
        server.close()

        async def ask_all_at_once() -> list[Any]:
            return await asyncio.gather(*(api.post(ASKED[1]) for _ in range(30)))

        # Of these some began before it was known.
        for answer in soon(api, ask_all_at_once()):
            (error,) = answer.json()["errors"]
            assert error["extensions"] == {"code": "SERVICE_UNAVAILABLE", "retryAfter": 1}
        for query in [*ASKED, RETRY_JOB]:
            for accept in ("application/json", "application/graphql-response+json"):
                answer = soon(api, ask(api, query, accept))
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "1"
                assert "data" not in answer.json()
        assert soon(api, api.client.get("/readyz")).status_code == 503

        server = embedded.start(tmp_path / "own", durable=False)
        link.unlink()
        link.symlink_to(server.socket_dir)
        soon(api, until_answered(api))
        assert soon(api, api.client.get("/readyz")).status_code == 200
        for query in ASKED:
            assert "errors" not in soon(api, api.post(query)).json()
    finally:
        api.close()
        server.close()


def ask(api: Api, query: str, accept: str) -> Awaitable[Any]:
    body = {"query": query, "variables": {"id": "job_1"}}
    return api.client.post("/graphql", json=body, headers={**api.headers, "accept": accept})


async def until_answered(api: Api) -> None:
    answer = await api.post(ASKED[1])
    while answer.status_code != 200:
        answer = await api.post(ASKED[1])


@pytest.fixture
def narrow_dsn(dsn: str, store: Store) -> Iterator[str]:
    """The address of the database for a role that may have one connection."""
    store.rows("CREATE ROLE narrow LOGIN CONNECTION LIMIT 1 PASSWORD 'narrow'")
    store.rows("GRANT pg_read_all_data TO narrow")
    yield make_conninfo(dsn, user="narrow", password="narrow", options="")
    store.rows("DROP OWNED BY narrow")
    store.rows("DROP ROLE narrow")


def test_a_pool_that_cannot_grow_goes_on_with_what_it_has(narrow_dsn: str) -> None:
    async def use() -> None:
        database = Database(narrow_dsn, PoolSettings(min_size=1, max_size=2, wait_seconds=0.5))
        await database.open()
        try:
            async with database.connection() as connection:
                with pytest.raises(Unavailable, match="came free"):
                    async with database.connection():
                        raise AssertionError("two connections")
                await database.require()
                assert await connection.fetch("SELECT 1", {}) == [(1,)]
            async with database.connection() as connection:
                assert await connection.fetch("SELECT 1", {}) == [(1,)]
        finally:
            await database.close()

    asyncio.run(use())
