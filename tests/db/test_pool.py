"""The pool: bounded waits, coded errors, and recovery, when connections or the server are gone."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from db.embedded import server as embedded
from db.migrations.runner import apply_migrations
from tests.api.mutations.test_retry_job import RETRY_JOB
from tests.db.test_loaders import STATEMENTS, WAITING, until
from tests.support.api import Api
from tests.support.store import Store

RUNS = "{ runLogs { edges { node { id requestPrompt } } totalCount { count } } }"
BLOCKS = """
{ dashboard {
  today { calls latency { p50 } } trend { calls } appHealth { lastStatus } budget { daily { used } }
  recentAlerts { id }
} }
"""


@pytest.fixture
def make_api(dsn: str) -> Iterator[Callable[..., Api]]:
    """Makes apps with settings of their own on the test's database."""
    made: list[Api] = []

    def make(**settings: Any) -> Api:
        made.append(Api(dsn, **settings))
        return made[-1]

    yield make
    for api in made:
        api.close()


@pytest.fixture
def other(dsn: str) -> Iterator[Store]:
    """A second hand on the database, to look while the first holds a lock."""
    other = Store(dsn)
    yield other
    other.connection.close()


def codes(answer: dict[str, Any]) -> set[str]:
    return {error["extensions"]["code"] for error in answer.get("errors", [])}


@pytest.mark.parametrize("operation", ["query", "mutation", "dashboard"])
def test_an_exhausted_pool_is_a_coded_error_and_no_hang(
    make_api: Callable[..., Api], store: Store, operation: str
) -> None:
    api = make_api(pool_min_size=1, pool_max_size=1, pool_wait=0.3)
    job = store.job()
    query = {"query": RUNS, "mutation": RETRY_JOB, "dashboard": BLOCKS}[operation]
    variables = {"id": f"job_{job}"} if operation == "mutation" else {}
    before = store.snapshot()

    async def ask_while_the_only_connection_is_taken() -> dict[str, Any]:
        async with api.app.state.database.connection():
            return (await asyncio.wait_for(api.post(query, variables), 20)).json()

    assert codes(api.runner.run(ask_while_the_only_connection_is_taken())) == {"SERVICE_UNAVAILABLE"}
    assert store.snapshot() == before
    assert codes(api.execute(query, variables)) == set()


def test_a_queue_longer_than_the_pool_is_served_in_turn(make_api: Callable[..., Api], store: Store) -> None:
    api = make_api(pool_min_size=1, pool_max_size=2)
    store.run()
    answers = api.at_once(RUNS, [{}] * 50)
    assert {answer["runLogs"]["totalCount"]["count"] for answer in answers} == {1}


def test_when_every_connection_is_cut_the_app_recovers_by_itself(api: Api, store: Store) -> None:
    store.run()
    assert codes(api.execute(RUNS)) == set()
    cut = store.rows(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'runglass'"
    )
    assert len(cut) >= 2

    seen = [codes(answer) for answer in iter_answers(api)]

    assert all(each == {"SERVICE_UNAVAILABLE"} for each in seen[:-1])
    assert seen[-1] == set()


def iter_answers(api: Api) -> Iterator[dict[str, Any]]:
    """Answers until one has no error."""
    deadline = time.monotonic() + 40
    while True:
        # Once: of two requests the first may fail and the second not.
        answer = api.runner.run(api.post(RUNS)).json()
        yield answer
        if "errors" not in answer:
            return
        assert time.monotonic() < deadline, answer


@pytest.fixture
def link() -> Iterator[Path]:
    """A path short enough for a socket, at which nothing is yet."""
    with tempfile.TemporaryDirectory(prefix="link-") as folder:
        # The account of an embedded server that root starts must reach it.
        Path(folder).chmod(0o755)
        yield Path(folder) / "s"


def test_a_server_that_stops_is_a_coded_error_until_it_is_back(tmp_path: Path, link: Path) -> None:
    server = embedded.start(tmp_path / "own", durable=False)
    # A server that starts again has another socket; by the link it has the same address.
    link.symlink_to(server.socket_dir)
    dsn = make_conninfo(server.dsn(), host=str(link))
    asyncio.run(apply_migrations(dsn))
    api = Api(dsn, pool_wait=0.5, connect_timeout=2)
    try:
        assert codes(api.execute(RUNS)) == set()
        server.close()

        assert codes(api.execute(RUNS)) == {"SERVICE_UNAVAILABLE"}
        assert codes(api.execute(RETRY_JOB, {"id": "job_1"})) == {"SERVICE_UNAVAILABLE"}
        ready = api.runner.run(api.client.get("/readyz"))
        assert (ready.status_code, ready.json()["status"]) == (503, "not ready")
        assert api.runner.run(api.client.get("/healthz")).status_code == 200

        server = embedded.start(tmp_path / "own", durable=False)
        link.unlink()
        link.symlink_to(server.socket_dir)
        seen = [codes(answer) for answer in iter_answers(api)]
        assert all(each == {"SERVICE_UNAVAILABLE"} for each in seen[:-1])
        assert api.runner.run(api.client.get("/readyz")).status_code == 200
    finally:
        api.close()
        server.close()


@pytest.mark.parametrize(
    ("query", "table"), [(RUNS, "ai_run_logs"), (BLOCKS, "ai_run_logs"), (RETRY_JOB, "ai_trigger_jobs")]
)
def test_a_statement_that_takes_too_long_is_a_coded_error(
    make_api: Callable[..., Api], store: Store, query: str, table: str
) -> None:
    api = make_api(statement_timeout=0.3)
    job = store.job()
    with store.connection.transaction():
        store.rows(f"LOCK TABLE biz.{table} IN ACCESS EXCLUSIVE MODE")
        answer = api.execute(query, {"id": f"job_{job}"} if query is RETRY_JOB else {})
        assert codes(answer) == {"EXECUTION_TIMEOUT"}
        # The statement's time ran out, not that of the whole operation.
        said = "The change took too l" if query is RETRY_JOB else "Reading took too long"
        assert {error["message"][:21] for error in answer["errors"]} == {said}
    assert codes(api.execute(query, {"id": f"job_{job}"} if query is RETRY_JOB else {})) == set()
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs") == (2 if query is RETRY_JOB else 1)


def everything_given_back(api: Api) -> bool:
    statistics = api.app.state.database.statistics()
    return statistics["pool_available"] == statistics["pool_size"]


@pytest.mark.parametrize(
    ("query", "table"), [(RUNS, "ai_run_logs"), (BLOCKS, "ai_run_logs"), (RETRY_JOB, "ai_trigger_jobs")]
)
def test_a_cancelled_request_cancels_its_statement_and_gives_its_connection_back(
    api: Api, store: Store, other: Store, query: str, table: str
) -> None:
    job = store.job()
    variables = {"id": f"job_{job}"} if query is RETRY_JOB else {}

    async def ask_and_go() -> bool:
        request = asyncio.ensure_future(api.post(query, variables))
        await until(lambda: other.value(WAITING) >= 1)
        request.cancel()
        await asyncio.wait({request}, timeout=20)
        await until(lambda: other.value(STATEMENTS) == 0)
        await until(lambda: everything_given_back(api))
        return request.cancelled()

    with store.connection.transaction():
        store.rows(f"LOCK TABLE biz.{table} IN ACCESS EXCLUSIVE MODE")
        assert api.runner.run(ask_and_go())
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs") == 1
    assert codes(api.execute(query, variables)) == set()


def test_an_operation_that_takes_too_long_is_stopped_in_the_database_too(
    make_api: Callable[..., Api], store: Store, other: Store
) -> None:
    api = make_api(execution_timeout=0.5)
    with store.connection.transaction():
        store.rows("LOCK TABLE biz.ai_run_logs IN ACCESS EXCLUSIVE MODE")
        assert codes(api.execute(RUNS)) == {"EXECUTION_TIMEOUT"}
        api.runner.run(until(lambda: other.value(STATEMENTS) == 0))
    assert codes(api.execute(RUNS)) == set()


def test_a_session_speaks_utc_whatever_the_server_is_set_to(dsn: str, store: Store) -> None:
    name = conninfo_to_dict(dsn)["dbname"]
    store.rows(f"ALTER DATABASE \"{name}\" SET TimeZone = 'Asia/Tokyo'")
    store.run(created_at="2026-05-01T00:00:00Z")
    api = Api(dsn)
    try:
        (edge,) = api.data("{ runLogs { edges { node { createdAt } } } }")["runLogs"]["edges"]
    finally:
        api.close()
    assert edge["node"]["createdAt"] == "2026-05-01T00:00:00+00:00"
