"""Server and worker behind the real pgbouncer in transaction mode, which gives four connections to all."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.api.mutations.test_retry_job import RETRY_JOB
from tests.support.api import Api
from tests.support.pooler import CONNECTIONS, Pooled, needs_pgbouncer
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, enqueue, eventually

pytestmark = needs_pgbouncer

RUNS = "{ runLogs(first: 5) { edges { node { id createdAt } } totalCount { count } } }"
DASHBOARD = "{ dashboard { today { calls latency { p50 } } trend(days: 3) { date calls } } }"
SESSION = """
SELECT current_setting('synchronous_commit'), current_setting('search_path'),
    current_setting('statement_timeout'), current_setting('lock_timeout'), current_setting('TimeZone'),
    (SELECT count(*) FROM pg_prepared_statements), (SELECT count(*) FROM pg_listening_channels())
"""
LOCKS = "SELECT count(*) AS locks FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"


def sessions(dsn: str) -> set[tuple[Any, ...]]:
    """What other clients of the pooler find set, on each of its connections."""
    clients = [psycopg.connect(dsn, prepare_threshold=None) for _ in range(CONNECTIONS)]
    try:
        # In open transactions, so that each has a connection of the pooler's for itself.
        return {row for client in clients for row in client.execute(SESSION).fetchall()}
    finally:
        for client in clients:
            client.close()


def sessions_beside(api: Api, dsn: str) -> set[tuple[Any, ...]]:
    """The same while the app runs on: what it is in the middle of keeps a connection of the pooler's."""
    return api.runner.run(asyncio.to_thread(sessions, dsn))


@pytest.fixture
def untouched(dsn: str, pooled: Pooled) -> set[tuple[Any, ...]]:
    """What clients of the pooler find set before any of ours has used it."""
    return sessions(pooled(dsn))


def run(dsn: str, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "graph", *command],
        env={**os.environ, "DATABASE_URL": dsn, "RUNGLASS_POOLER": "transaction", **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_migrating_twice_leaves_no_lock_and_no_setting(empty_dsn: str, pooled: Pooled) -> None:
    before = sessions(pooled(empty_dsn))
    first = run(pooled(empty_dsn), "migrate")
    assert (first.returncode, first.stderr) == (0, "")
    assert "applied 0001" in first.stdout
    assert run(pooled(empty_dsn), "migrate").stdout == "nothing to apply\n"
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute(LOCKS).fetchone() == (0,)
    assert sessions(pooled(empty_dsn)) == before


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("worker",)], ids=" ".join)
def test_a_start_that_was_not_told_of_the_pooler_says_so(
    dsn: str, pooled: Pooled, command: tuple[str, ...]
) -> None:
    done = run(pooled(dsn), *command, RUNGLASS_POOLER="none")
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == (
        "runglass: a pooler stands before the database: set RUNGLASS_POOLER to transaction, or to session"
    )


@pytest.fixture
def pooled_api(dsn: str, pooled: Pooled, untouched: set[tuple[Any, ...]]) -> Iterator[Api]:
    """The app behind the pooler, with more connections than that has."""
    api = Api(pooled(dsn), pooler="transaction", pool_min_size=8, pool_max_size=8)
    yield api
    api.close()


def test_many_requests_at_once_have_no_error_and_leave_nothing_to_others(
    pooled_api: Api, dsn: str, pooled: Pooled, store: Store, untouched: set[tuple[Any, ...]]
) -> None:
    store.run(created_at="2026-05-01T00:00:00Z")
    jobs = [store.job() for _ in range(40)]
    # Its key is known from then on: of keys that are not, only some a second are looked up.
    pooled_api.data(RUNS)

    async def send() -> list[Any]:
        requests = [pooled_api.post(RETRY_JOB, {"id": f"job_{job}"}) for job in jobs]
        requests += [pooled_api.post(query) for query in (RUNS, DASHBOARD) for _ in range(100)]
        return await asyncio.gather(*requests)

    answers = [response.json() for response in pooled_api.runner.run(send())]

    assert [answer for answer in answers if "errors" in answer] == []
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs WHERE status = 'pending'") == len(jobs)
    (edge,) = answers[len(jobs)]["data"]["runLogs"]["edges"]
    assert edge["node"]["createdAt"] == "2026-05-01T00:00:00+00:00"
    assert sessions_beside(pooled_api, pooled(dsn)) == untouched


def test_an_error_within_a_transaction_leaves_the_connection_clean(
    pooled_api: Api, dsn: str, pooled: Pooled, store: Store, untouched: set[tuple[Any, ...]]
) -> None:
    for _ in range(CONNECTIONS * 2):
        answer = pooled_api.execute('{ runLogs(filter: {errorContains: "\\u0000"}) { edges { cursor } } }')
        assert answer["errors"]
    assert pooled_api.data(RUNS)["runLogs"]["totalCount"]["count"] == 0
    assert sessions_beside(pooled_api, pooled(dsn)) == untouched


@pytest.fixture
def pooled_workers(dsn: str, pooled: Pooled, tmp_path: Path, apps: AppServer) -> Iterator[Workers]:
    """Workers behind the pooler that are gone at the end of the test."""
    workers = Workers(pooled(dsn), tmp_path, apps)
    yield workers
    workers.close()


def test_workers_run_every_job_once(
    dsn: str,
    pooled: Pooled,
    store: Store,
    apps: AppServer,
    pooled_workers: Workers,
    untouched: set[tuple[Any, ...]],
) -> None:
    workers = pooled_workers
    jobs = [enqueue(store, member_id=f"m{number}") for number in range(60)]
    for _ in range(2):
        workers.start(pooler="transaction")
    done = "SELECT count(*) FROM biz.ai_trigger_jobs WHERE status = 'success'"
    eventually(lambda: store.value(done) == len(jobs), "every job is done")
    assert len(apps.calls()) == len(jobs)
    assert sessions(pooled(dsn)) == untouched
    for process in workers.processes:
        assert workers.stop(process) == 0
    assert "Traceback" not in workers.log(0) + workers.log(1)


def test_check_says_what_stands_between(dsn: str, pooled: Pooled) -> None:
    assert "ok: a pooler in transaction mode" in run(pooled(dsn), "check").stdout
    unnamed = run(pooled(dsn), "check", RUNGLASS_POOLER="none")
    assert "wrong: a pooler stands before the database" in unnamed.stdout
    direct = run(pooled(dsn), "check", RUNGLASS_DIRECT_DATABASE_URL=pooled(dsn))
    assert "wrong: RUNGLASS_DIRECT_DATABASE_URL leads to a pooler too" in direct.stdout


def test_an_import_loads_all_and_leaves_nothing_to_others(
    dsn: str, pooled: Pooled, store: Store, tmp_path: Path, untouched: set[tuple[Any, ...]]
) -> None:
    lines = [
        f"berlin,chat,success,{number % 7},2019-0{number % 9 + 1}-04T00:00Z,x{number}"
        for number in range(5000)
    ]
    file = tmp_path / "runs.csv"
    file.write_text("\n".join(["site_id,app_type,status,tokens_used,created_at,external_id", *lines]))
    for options in ((), ("--update",)):
        done = run(pooled(dsn), "import", str(file), *options)
        assert done.returncode == 0, done.stderr
    again = run(pooled(dsn), "import", str(file))
    assert again.returncode == 1
    assert store.rows("SELECT count(*) AS runs, sum(tokens_used) AS tokens FROM biz.ai_run_logs") == [
        {"runs": 5000, "tokens": sum(number % 7 for number in range(5000))}
    ]
    assert store.value("SELECT sum(calls) FROM runglass.run_totals") == 5000
    assert sessions(pooled(dsn)) == untouched
    with psycopg.connect(dsn) as connection:
        assert connection.execute(LOCKS).fetchone() == (0,)


def test_in_session_mode_all_goes_as_without_a_pooler(
    empty_dsn: str, session_pooled: Pooled, tmp_path: Path, apps: AppServer
) -> None:
    dsn = session_pooled(empty_dsn)
    told = {"RUNGLASS_POOLER": "session"}
    migrated = run(dsn, "migrate", **told)
    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert "ok: a pooler in session mode" in run(dsn, "check", **told).stdout
    unnamed = run(dsn, "check", RUNGLASS_POOLER="none")
    assert "wrong: a pooler stands before the database" in unnamed.stdout
    file = tmp_path / "runs.csv"
    file.write_text(
        "site_id,app_type,status,tokens_used,created_at\nberlin,chat,success,5,2019-03-04T00:00Z\n"
    )
    assert run(dsn, "import", str(file), **told).returncode == 0
    assert run(dsn, "rollup", "rebuild", **told).stdout == "rebuilt from 1 runs\n"
    store = Store(empty_dsn)
    api = Api(dsn, pooler="session")
    workers = Workers(dsn, tmp_path, apps)
    try:
        failed = store.job()
        assert api.data(RETRY_JOB, {"id": f"job_{failed}"})["retryJob"]["__typename"] == "TriggerJob"
        assert api.data(RUNS)["runLogs"]["totalCount"]["count"] == 1
        process = workers.start(pooler="session")
        done = "SELECT count(*) FROM biz.ai_trigger_jobs WHERE status = 'success'"
        eventually(lambda: store.value(done) == 1, "the job is done")
        assert workers.stop(process) == 0
        assert "Traceback" not in workers.log()
        with psycopg.connect(empty_dsn) as connection:
            assert connection.execute(LOCKS).fetchone() == (0,)
    finally:
        workers.close()
        api.close()
        store.connection.close()
    # The pooler cleans a connection before it gives it to another client.
    assert len(sessions(dsn)) == 1
