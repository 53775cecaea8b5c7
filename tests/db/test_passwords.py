"""A password that is wrong, or becomes so: one line, few attempts, and no restart once it is right again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from db.migrations.runner import apply_migrations
from tests.support.api import signed_in
from tests.support.cluster import Cluster, cluster
from tests.support.serving import ROOT, serving
from tests.support.workers import eventually

REFUSED = "password authentication failed"
CALLS = {"query": "{ dashboard { today { calls } } }"}


@pytest.fixture
def guarded() -> Iterator[Cluster]:
    """A server that asks the role `app` for its password."""
    with cluster() as own:
        own.make()
        own.start()
        with psycopg.connect(own.dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE runglass")
            connection.execute("CREATE ROLE app LOGIN SUPERUSER PASSWORD 'right'")
        asyncio.run(apply_migrations(own.dsn("runglass")))
        yield own


@pytest.mark.parametrize(
    "command", [("serve", "--port", "0"), ("worker",), ("migrate",), ("key", "list")], ids=" ".join
)
def test_a_start_with_a_wrong_password_is_one_line(guarded: Cluster, command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graph", *command],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": guarded.dsn("runglass", "app", "hunter2")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert line.startswith("runglass: ")
    assert REFUSED in line
    assert "hunter2" not in done.stderr
    assert guarded.log().count(REFUSED) <= 2


def test_a_password_that_is_changed_meanwhile_is_told_and_waited_for(
    guarded: Cluster, tmp_path: Path
) -> None:
    key = signed_in(guarded.dsn("runglass"), name="tests")
    log = tmp_path / "server.log"
    with (
        psycopg.connect(guarded.dsn("runglass"), autocommit=True) as admin,
        serving(guarded.dsn("runglass", "app", "right"), log=log) as server,
    ):

        def ask() -> dict[str, object]:
            return httpx.post(f"{server.address}/graphql", json=CALLS, headers=key, timeout=30).json()

        def ready() -> int:
            return httpx.get(f"{server.address}/readyz", timeout=30).status_code

        assert "errors" not in ask()
        admin.execute("ALTER ROLE app PASSWORD 'another'")
        admin.execute("SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'app'")
        eventually(lambda: ready() == 503, "readyz tells")
        for _ in range(3):
            answer = ask()
            (error,) = answer["errors"]  # type: ignore[misc]
            assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        attempts = guarded.log().count(REFUSED)
        assert attempts <= 60, attempts
        assert "another" not in log.read_text()

        admin.execute("ALTER ROLE app PASSWORD 'right'")
        eventually(lambda: ready() == 200, "it is ready again")
        assert "errors" not in ask()
    said = log.read_text()
    assert "Traceback" not in said
    assert said.count(REFUSED) <= 6, said
