"""A role that may change rows and nothing else serves and works, given what docs/roles.md grants."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from db.postgres.pool import Database, PoolSettings
from resolvers.worker.checks import check_store
from resolvers.worker.maintenance import run_upkeep_once
from tests.api.mutations.test_record_runs import record, report
from tests.api.mutations.test_retry_job import RETRY_JOB
from tests.support.api import Api, signed_in
from tests.support.serving import ROOT, serving
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, eventually
from tests.worker.test_batches import confirm, finished

DOCS = ROOT / "docs" / "roles.md"
NEXT_MONTH = "'biz.ai_run_logs_' || to_char(current_date + interval '1 month', 'YYYY_MM')"
TODAY = "{ dashboard { today { calls tokens } } }"


def granted(role: str) -> str:
    """The statements of the documents, for a role of another name."""
    (block,) = re.findall(r"```sql\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert "runglass_app" in block
    return block.replace("runglass_app", role)


def command(dsn: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "graph", *words],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": dsn},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


class Roles(NamedTuple):
    """The addresses of one database as two roles, and the name of the second."""

    owner: str
    app: str
    name: str


@pytest.fixture
def roles(empty_dsn: str) -> Iterator[Roles]:
    """A database that its owner, no superuser, has migrated, and a role with the documented rights."""
    owner, name = f"owner_{os.getpid()}", f"app_{os.getpid()}"
    addresses = [make_conninfo(empty_dsn, user=role, password="test", options="") for role in (owner, name)]
    database = conninfo_to_dict(empty_dsn)["dbname"]
    with psycopg.connect(empty_dsn, autocommit=True) as admin:
        for role in (owner, name):
            admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'test'")
        admin.execute(f'GRANT CREATE ON DATABASE "{database}" TO {owner}')
        try:
            migrated = command(addresses[0], "migrate")
            assert (migrated.returncode, migrated.stderr) == (0, "")
            with psycopg.connect(addresses[0], autocommit=True) as connection:
                connection.execute(granted(name))
            yield Roles(*addresses, name)
        finally:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE usename = ANY(%s)", ([owner, name],)
            )  # fmt: skip
            for role in (name, owner):
                admin.execute(f"DROP OWNED BY {role} CASCADE")
                admin.execute(f"DROP ROLE {role}")


@pytest.fixture
def store(roles: Roles, empty_dsn: str) -> Iterator[Store]:
    """The test's own hand, a superuser's."""
    store = Store(empty_dsn)
    yield store
    store.connection.close()


def test_it_answers_changes_works_and_keeps_up(
    roles: Roles, store: Store, apps: AppServer, tmp_path: Path
) -> None:
    assert command(roles.app, "migrate").stdout == "nothing to apply\n"
    checked = command(roles.app, "check")
    assert checked.returncode == 0, checked.stdout
    assert "ok: permissions" in checked.stdout
    with psycopg.connect(roles.app) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE biz.another ()")

    api = Api(roles.app)
    try:
        assert record(api, report(externalId="x", tokensUsed=7))["added"] == 1
        job = store.job()
        assert api.data(RETRY_JOB, {"id": f"job_{job}"})["retryJob"]["__typename"] == "TriggerJob"
        confirm(api, 5, apps=("chat", "mail"))
        workers = Workers(roles.app, tmp_path, apps)
        try:
            process = workers.start()
            eventually(lambda: finished(store), "the batch finishes")
            assert workers.stop(process) == 0
            assert "no right" not in workers.log()
        finally:
            workers.close()
        assert api.data("{ auditLog(first: 5) { edges { node { action } } } }")["auditLog"]["edges"]
        assert api.data(TODAY)["dashboard"]["today"]["calls"] == store.value(
            "SELECT count(*) FROM biz.ai_run_logs"
        )
    finally:
        api.close()

    runs = tmp_path / "runs.csv"
    runs.write_text(
        "site_id,app_type,status,tokens_used,created_at\nberlin,chat,success,5,2019-03-04T00:00Z\n"
    )
    imported = command(roles.app, "import", str(runs))
    assert imported.returncode == 0, imported.stderr
    assert store.value("SELECT to_regclass('biz.ai_run_logs_2019_03') IS NOT NULL")
    rebuilt = command(roles.app, "rollup", "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr


def test_a_server_without_rights_to_create_makes_the_coming_month(roles: Roles, store: Store) -> None:
    store.rows(f"DO $$ BEGIN EXECUTE 'DROP TABLE ' || {NEXT_MONTH}; END $$")
    key = signed_in(roles.owner, name="tests")
    with serving(roles.app, "--no-migrate") as server:
        eventually(lambda: store.value(f"SELECT to_regclass({NEXT_MONTH}) IS NOT NULL"), "the month is made")
        answer = httpx.post(f"{server.address}/graphql", json={"query": TODAY}, headers=key)
        assert answer.json() == {"data": {"dashboard": {"today": {"calls": 0, "tokens": 0}}}}
    owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = to_regclass({})"
    assert store.value(owner.format(NEXT_MONTH)) == conninfo_to_dict(roles.owner)["user"]


def test_what_the_upkeep_may_not_do_is_said_once_and_the_rest_is_done(
    roles: Roles, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.rows(f"DO $$ BEGIN EXECUTE 'DROP TABLE ' || {NEXT_MONTH}; END $$")
    store.rows(
        "REVOKE EXECUTE ON FUNCTION runglass.ensure_run_log_partitions(date, date),"
        f" runglass.count_run_logs_from_now_on() FROM {roles.name}"
    )
    store.run(tokens_used=3)

    async def rounds() -> list[str]:
        database = Database(roles.app, PoolSettings())
        await database.open()
        try:
            for _ in range(3):
                await run_upkeep_once(database)
        finally:
            await database.close()
        return await check_store(roles.app, PoolSettings())

    checked = asyncio.run(rounds())

    said = [line for line in caplog.messages if "ensure_run_log_partitions" in line]
    assert len(said) == 1, caplog.messages
    assert "no right" in said[0]
    assert store.value("SELECT count(*) FROM runglass.run_log_deltas") == 0
    assert store.value("SELECT sum(calls) FROM runglass.run_totals") == 1
    (line,) = [line for line in checked if line.startswith("wrong")]
    assert "execute runglass.ensure_run_log_partitions" in line
    assert "docs/roles.md" in line
    assert "ok: migrations" in checked


def test_a_log_that_the_migrating_role_does_not_own_is_told(roles: Roles, store: Store) -> None:
    store.rows("ALTER TABLE biz.ai_run_logs OWNER TO CURRENT_USER")
    owner = conninfo_to_dict(roles.owner)["user"]
    (line,) = [
        line for line in asyncio.run(check_store(roles.app, PoolSettings())) if line.startswith("wrong")
    ]
    assert line == (
        f"wrong: partitions of run logs cannot be made: {owner}, which migrated, does not own biz.ai_run_logs"
    )


def test_what_a_later_migration_makes_is_granted_too(roles: Roles, store: Store) -> None:
    with psycopg.connect(roles.owner, autocommit=True) as connection:
        connection.execute("CREATE TABLE runglass.later (id bigserial)")
        connection.execute("CREATE FUNCTION runglass.later() RETURNS int LANGUAGE sql AS 'SELECT 1'")
        connection.execute("REVOKE EXECUTE ON FUNCTION runglass.later() FROM PUBLIC")
    assert "ok: permissions" in asyncio.run(check_store(roles.app, PoolSettings()))


@pytest.mark.parametrize(
    ("taken", "named"),
    [
        ("USAGE ON SCHEMA runglass", "usage schema runglass"),
        ("UPDATE ON biz.ai_run_logs", "update biz.ai_run_logs"),
        ("DELETE ON runglass.job_queue", "delete runglass.job_queue"),
        ("SELECT ON runglass.migrations", "select runglass.migrations"),
        ("USAGE ON SEQUENCE runglass.run_log_id", "usage runglass.run_log_id"),
    ],
    ids=lambda text: text,
)
def test_check_names_a_right_that_is_missing(roles: Roles, store: Store, taken: str, named: str) -> None:
    store.rows(f"REVOKE {taken} FROM {roles.name}")
    checked = asyncio.run(check_store(roles.app, PoolSettings()))
    assert any(line.startswith(f"wrong: no right to {named}") for line in checked), checked


def test_a_start_without_rights_is_one_line(roles: Roles, store: Store) -> None:
    store.rows(f"REVOKE USAGE ON SCHEMA runglass FROM {roles.name}")
    for words in (("serve", "--no-migrate", "--port", "0"), ("worker", "--no-migrate"), ("migrate",)):
        done = command(roles.app, *words)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        (line,) = [line for line in done.stderr.splitlines() if line.startswith("runglass: ")]
        assert "permission denied for schema runglass" in done.stderr, line


def test_nobody_else_may_have_partitions_and_triggers_made(roles: Roles, store: Store) -> None:
    store.rows(f"REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA runglass FROM {roles.name}")
    with psycopg.connect(roles.app, autocommit=True) as connection:
        for call in (
            "ensure_run_log_partitions('2040-01-01', '2040-01-01')",
            "notice_run_log_tables()",
            "count_run_logs_from_now_on()",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT runglass.{call}")  # pyright: ignore[reportArgumentType, reportCallIssue]
