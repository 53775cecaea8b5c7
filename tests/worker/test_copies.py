"""A copy of a database is another installation: its workers call no app until somebody has decided."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.store import Store
from tests.support.workers import AppServer, Workers, enqueue, eventually

IDENTITY = "SELECT id, database_identity FROM runglass.installation"
DONE = "SELECT count(*) FROM biz.ai_trigger_jobs WHERE status = 'success'"


def command(dsn: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "graph", *words],
        env={**os.environ, "DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copied(dsn: str, server_dsn: Callable[[str], str]) -> Iterator[str]:
    """The address of a copy, as by dump and restore, of an installation with three jobs that wait."""
    original = Store(dsn)
    original.rows("UPDATE runglass.installation SET database_identity = runglass.database_identity()")
    for _ in range(3):
        enqueue(original)
    original.connection.close()
    name = f"{conninfo_to_dict(dsn)['dbname']}_copy"
    source = sql.Identifier(str(conninfo_to_dict(dsn)["dbname"]))
    with psycopg.connect(server_dsn("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), source))
        yield server_dsn(name)
        admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def workers_of_copy(copied: str, tmp_path: Path, apps: AppServer) -> Iterator[Workers]:
    """Workers on the copy that are gone at the end of the test."""
    workers = Workers(copied, tmp_path, apps)
    yield workers
    workers.close()


def test_workers_of_a_copy_wait_until_it_is_the_installation(
    copied: str, workers_of_copy: Workers, apps: AppServer
) -> None:
    store = Store(copied)
    before = store.rows(IDENTITY)
    workers_of_copy.start()
    eventually(lambda: "this database is a copy" in workers_of_copy.log(), "the worker says why it waits")
    checked = command(copied, "check")
    assert checked.returncode == 1
    assert "wrong: this database is a copy of another one" in checked.stdout
    assert apps.calls() == []

    confirmed = command(copied, "installation", "confirm")

    assert confirmed.returncode == 0, confirmed.stderr
    assert confirmed.stdout.endswith("in its own database\n")
    eventually(lambda: store.value(DONE) == 3, "the jobs run")
    after = store.rows(IDENTITY)
    assert after[0]["id"] == before[0]["id"]
    assert after[0]["database_identity"] != before[0]["database_identity"]
    prefix = before[0]["id"].hex[:12]
    assert {call.key.split("-")[0] for call in apps.calls()} == {prefix}
    store.connection.close()


def test_a_copy_beside_its_original_cancels_what_waited(
    copied: str, workers_of_copy: Workers, apps: AppServer
) -> None:
    store = Store(copied)
    batch = store.value(
        "INSERT INTO runglass.batches (site_id, app_types, member_ids, status, estimated_calls,"
        " estimated_tokens, app_estimates, created_by, expires_at, confirmed_at)"
        " VALUES ('berlin', '{chat}', '{m}', 'running', 1, 1, '[]', 'tests', now(), now()) RETURNING id"
    )
    unqueued = store.job(status="pending", batch_id=batch)
    foreign = store.job(status="pending")
    before = store.rows(IDENTITY)

    made = command(copied, "installation", "new")

    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("cancelled 4 jobs; installation ")
    (after,) = store.rows(IDENTITY)
    assert after["id"] != before[0]["id"]
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 0
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", [unqueued]) == "cancelled"
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", [foreign]) == "pending"
    assert store.rows("SELECT status, finished_at IS NULL AS open FROM runglass.batches") == [
        {"status": "cancelled", "open": False}
    ]
    assert store.value("SELECT action FROM runglass.audit_log") == "newInstallation"
    fresh = enqueue(store)
    workers_of_copy.start()
    eventually(lambda: store.value(DONE) == 1, "a new job runs")
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", [fresh]) == "success"
    assert len(apps.calls()) == 1
    store.connection.close()


def test_an_installation_in_its_own_database_is_none(dsn: str, store: Store) -> None:
    store.rows("UPDATE runglass.installation SET database_identity = runglass.database_identity()")
    assert "ok: installation" in command(dsn, "check").stdout
    assert command(dsn, "installation", "show").stdout.endswith(", 0 jobs wait or run: in its own database\n")


def test_where_the_server_does_not_tell_its_identity_nothing_waits(
    dsn: str, store: Store, server_dsn: Callable[[str], str]
) -> None:
    store.rows("UPDATE runglass.installation SET database_identity = 'elsewhere'")
    store.rows("REVOKE EXECUTE ON FUNCTION pg_catalog.pg_control_system() FROM PUBLIC")
    role = f"managed_{os.getpid()}"
    store.rows(f"CREATE ROLE {role} LOGIN")
    store.rows(f"GRANT USAGE ON SCHEMA runglass, biz, procrastinate TO {role}")
    store.rows(f"GRANT SELECT ON ALL TABLES IN SCHEMA runglass, biz, procrastinate TO {role}")
    try:
        shown = command(make_conninfo(dsn, user=role, options=""), "installation", "show")
        assert "does not tell its identity" in shown.stdout, shown.stderr
    finally:
        store.rows(f"DROP OWNED BY {role}")
        store.rows(f"DROP ROLE {role}")
