"""An older server beside a database that a newer version migrated, and a newer one before an older database.

The newer version is a copy of the tree with one more migration.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.api.mutations.test_retry_job import RETRY_JOB
from tests.support.api import signed_in
from tests.support.serving import ROOT, Server, serving
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, ended, enqueue, eventually

ADDED = (
    "ALTER TABLE biz.ai_trigger_jobs ADD COLUMN added_later text;\nCREATE TABLE runglass.later (id int);\n"
)


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """The root of a version with one more migration."""
    for floor in ("graph", "resolvers", "db"):
        shutil.copytree(
            ROOT / floor, tmp_path / "newer" / floor, ignore=shutil.ignore_patterns("__pycache__")
        )
    (tmp_path / "newer" / "db" / "migrations" / "9999_later.sql").write_text(ADDED)
    return tmp_path / "newer"


def command(root: Path, dsn: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "graph", *words],
        cwd=root,
        env={**os.environ, "DATABASE_URL": dsn, "PORT": "0"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def ask(server: Server, key: dict[str, str], query: str, variables: dict[str, Any]) -> dict[str, Any]:
    body = {"query": query, "variables": variables}
    answer = httpx.post(f"{server.address}/graphql", json=body, headers=key, timeout=30).json()
    assert "errors" not in answer, answer
    return answer["data"]


def test_older_servers_and_workers_go_on_beside_a_newer_database(
    newer: Path, dsn: str, store: Store, apps: AppServer, tmp_path: Path
) -> None:
    key = signed_in(dsn, name="tests")
    workers = Workers(dsn, tmp_path, apps)
    try:
        workers.start()
        with serving(dsn) as old:
            assert httpx.get(f"{old.address}/readyz").status_code == 200
            migrated = command(newer, dsn, "migrate")
            assert (migrated.returncode, migrated.stdout) == (0, "applied 9999_later\n")

            # One that runs, one that is started now, and the newer one, side by side.
            with serving(dsn) as started, serving(dsn, "--no-migrate", root=newer) as new:
                for server in (old, started, new):
                    assert httpx.get(f"{server.address}/readyz").status_code == 200
                    job = store.job()
                    retried = ask(server, key, RETRY_JOB, {"id": f"job_{job}"})
                    assert retried["retryJob"]["__typename"] == "TriggerJob"
            job = enqueue(store)
            workers.start()
            eventually(ended(store, job), "an older worker runs it")
        eventually(lambda: "9999_later, newer than this version" in workers.log(1), "a later one says it")
        refused = command(ROOT, dsn, "migrate")
        assert refused.returncode == 1
        assert "9999_later, which is newer than this version of Runglass" in refused.stderr
        assert command(ROOT, dsn, "check").returncode == 0
    finally:
        workers.close()


def test_a_newer_version_migrates_an_older_database_or_says_that_it_must_be(newer: Path, dsn: str) -> None:
    for words in (("serve", "--no-migrate"), ("worker", "--no-migrate")):
        refused = command(newer, dsn, *words)
        assert refused.returncode == 1
        assert refused.stderr.splitlines()[-1] == (
            "runglass: migration 9999_later is not applied: run `runglass migrate`"
        )
    with serving(dsn, root=newer) as server:
        assert httpx.get(f"{server.address}/readyz").status_code == 200
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('runglass.later') IS NOT NULL").fetchone() == (True,)
