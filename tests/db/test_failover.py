"""A standby by streaming replication serves reads; promoted, it is the installation, and workers go on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from db.migrations.runner import apply_migrations
from tests.api.mutations.test_retry_job import RETRY_JOB
from tests.support.api import signed_in
from tests.support.cluster import Cluster, cluster
from tests.support.serving import ROOT, serving
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, ended, enqueue, eventually

CALLS = "{ dashboard { today { calls } } runLogs { totalCount { count } } }"


@pytest.fixture
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    """A migrated primary, and a standby that follows it."""
    with cluster() as primary, cluster() as standby:
        primary.make()
        primary.start()
        with psycopg.connect(primary.dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE runglass")
        asyncio.run(apply_migrations(primary.dsn("runglass")))
        standby.copy_of(primary)
        standby.start()
        yield primary, standby


def check(dsn: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "graph", "check"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.splitlines()


def test_a_standby_is_read_and_goes_on_when_it_is_promoted(
    pair: tuple[Cluster, Cluster], apps: AppServer, tmp_path: Path
) -> None:
    primary, standby = pair
    store = Store(primary.dsn("runglass"))
    store.run()
    key = signed_in(primary.dsn("runglass"), name="tests")
    jobs = [enqueue(store, member_id=f"m{number}") for number in range(5)]
    failed = store.job()
    copy = Store(standby.dsn("runglass"))
    eventually(
        lambda: copy.value("SELECT count(*) FROM biz.ai_trigger_jobs") == len(jobs) + 1, "it has followed"
    )
    workers = Workers(standby.dsn("runglass"), tmp_path, apps)
    with serving(standby.dsn("runglass"), log=tmp_path / "server.log") as server:

        def ask(query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
            body = {"query": query, "variables": variables or {}}
            return httpx.post(f"{server.address}/graphql", json=body, headers=key, timeout=30).json()

        try:
            process = workers.start()
            assert ask(CALLS)["data"] == {
                "dashboard": {"today": {"calls": 1}}, "runLogs": {"totalCount": {"count": 1}}
            }  # fmt: skip
            (error,) = ask(RETRY_JOB, {"id": f"job_{failed}"})["errors"]
            assert error["extensions"]["code"] == "READ_ONLY"
            ready = httpx.get(f"{server.address}/readyz")
            assert ready.status_code == 200
            assert ready.json()["changes"].startswith("refused")
            wrong = [line for line in check(standby.dsn("runglass")) if line.startswith("wrong")]
            assert wrong == [
                "wrong: the database takes no changes: it is a standby, or read-only (reading works)"
            ]
            eventually(lambda: "takes no changes now" in workers.log(), "the worker waits")
            assert apps.calls() == []

            store.connection.close()
            primary.stop("immediate")
            standby.promote()

            eventually(ended(copy, *jobs), "the worker goes on by itself")
            assert len(apps.calls()) == len(jobs)
            eventually(
                lambda: "errors" not in ask(RETRY_JOB, {"id": f"job_{failed}"}), "changes are taken again"
            )
            assert "changes" not in httpx.get(f"{server.address}/readyz").json()
            assert [line for line in check(standby.dsn("runglass")) if line.startswith("wrong")] == []
            assert workers.stop(process) == 0
        finally:
            workers.close()
    for log in (workers.log(), (tmp_path / "server.log").read_text()):
        assert "Traceback" not in log
        for line in ("takes no changes now", "waits for the database"):
            # From as many places: the statement, the upkeep, the request, the worker.
            assert log.count(line) <= 4, log
    copy.connection.close()
