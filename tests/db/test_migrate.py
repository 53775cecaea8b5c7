"""Migrations: applied once, in order, by one process at a time."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from db.migrations import runner as migrate
from db.migrations.runner import MigrationError, apply_migrations, known_migrations
from db.postgres.errors import Unavailable
from tests.support.store import Store

LEDGER = "SELECT number, name, checksum, applied_at FROM runglass.migrations ORDER BY number"


def rows(dsn: str, statement: str) -> list[Any]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(statement).fetchall()


def apply(dsn: str, folder: Path | None = None) -> list[str]:
    return asyncio.run(apply_migrations(dsn, folder=folder) if folder else apply_migrations(dsn))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small migrations, the second of which needs the first."""
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first (id integer); INSERT INTO first VALUES (1)")
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE first ADD COLUMN name text")
    return tmp_path


def test_every_file_is_applied_once_in_order_and_written_down(empty_dsn: str) -> None:
    names = [migration.name for migration in known_migrations()]
    assert names == sorted(names)
    *applied, engine = apply(empty_dsn)
    assert applied == names
    assert engine.startswith("procrastinate ")
    ledger = rows(empty_dsn, LEDGER)
    assert [name for _, name, _, _ in ledger] == names
    assert [checksum for _, _, checksum, _ in ledger] == [each.checksum for each in known_migrations()]


def test_the_second_time_nothing_is_done(dsn: str) -> None:
    before = rows(dsn, LEDGER)
    assert apply(dsn) == []
    assert rows(dsn, LEDGER) == before


def test_only_what_is_missing_is_applied(empty_dsn: str, folder: Path) -> None:
    (folder / "0002_second.sql").rename(folder / "later")
    assert apply(empty_dsn, folder) == ["0001_first"]
    (folder / "later").rename(folder / "0002_second.sql")
    assert apply(empty_dsn, folder) == ["0002_second"]
    assert rows(empty_dsn, "SELECT id, name FROM first") == [(1, None)]


def test_a_file_that_was_changed_after_it_was_applied_is_refused(empty_dsn: str, folder: Path) -> None:
    apply(empty_dsn, folder)
    with (folder / "0001_first.sql").open("a") as file:
        file.write("-- a word more")
    (folder / "0003_third.sql").write_text("CREATE TABLE third ()")
    with pytest.raises(MigrationError, match="0001_first was changed after it was applied"):
        apply(empty_dsn, folder)
    assert rows(empty_dsn, "SELECT to_regclass('third')") == [(None,)]


def test_a_database_of_a_newer_version_is_served_and_not_migrated(
    empty_dsn: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    apply(empty_dsn, folder)
    (folder / "0002_second.sql").unlink()
    caplog.set_level("INFO", "db.migrations.runner")

    assert apply(empty_dsn, folder) == []

    (said,) = caplog.messages
    assert "0002_second, newer than this version" in said
    with pytest.raises(MigrationError, match="0002_second, which is newer than this version"):
        asyncio.run(apply_migrations(empty_dsn, folder=folder, refuse_newer=True))


def test_a_database_that_is_newer_and_lacks_something_is_refused(empty_dsn: str, folder: Path) -> None:
    apply(empty_dsn, folder)
    (folder / "0002_second.sql").rename(folder / "0003_third.sql")
    with pytest.raises(
        MigrationError, match="0002_second, unknown to this version of Runglass, and lacks 0003"
    ):
        apply(empty_dsn, folder)
    assert [name for _, name, _, _ in rows(empty_dsn, LEDGER)] == ["0001_first", "0002_second"]


def test_where_nothing_is_missing_nothing_is_written(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as writer:
        database = sql.Identifier(writer.info.dbname)
        writer.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(database))
    assert apply(dsn) == []


def test_a_database_that_takes_no_changes_is_refused_in_one_line(empty_dsn: str) -> None:
    read_only = psycopg.conninfo.make_conninfo(empty_dsn, options="-c default_transaction_read_only=on")
    with pytest.raises(MigrationError, match="cannot execute CREATE SCHEMA in a read-only") as caught:
        apply(read_only)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_too_old_is_refused(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "OLDEST_SERVER", 990_000)
    with pytest.raises(MigrationError, match=r"is PostgreSQL \d+; 14 or newer is needed"):
        apply(empty_dsn)


def test_who_waits_for_another_process_says_for_whom(
    empty_dsn: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = threading.Event()

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.set()

    handler = Said()
    logging.getLogger("db.migrations.lock").addHandler(handler)
    try:
        with psycopg.connect(empty_dsn) as other, ThreadPoolExecutor() as executor:
            # As a version from before this one does: the lock of a session.
            other.execute("SELECT pg_advisory_lock(7864511245001)")
            other.commit()
            waiting = executor.submit(apply, empty_dsn, folder)
            assert said.wait(30)
            other.execute("BEGIN")
            other.execute("SELECT pg_advisory_unlock(7864511245001)")
            assert waiting.result(30) == ["0001_first", "0002_second"]
            (line,) = caplog.messages
            assert f"waiting for another process that migrates: process {other.info.backend_pid} of " in line
    finally:
        logging.getLogger("db.migrations.lock").removeHandler(handler)
    left = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
    assert rows(empty_dsn, left) == [(0,)]


def test_of_a_file_that_fails_nothing_stays(empty_dsn: str, folder: Path) -> None:
    (folder / "0002_second.sql").write_text(
        "CREATE TABLE second (); INSERT INTO first VALUES (2); SELECT 1 / 0"
    )
    with pytest.raises(MigrationError, match="0002_second failed: division by zero"):
        apply(empty_dsn, folder)
    assert rows(empty_dsn, "SELECT to_regclass('second'), (SELECT count(*) FROM first)") == [(None, 1)]
    assert [name for _, name, _, _ in rows(empty_dsn, LEDGER)] == ["0001_first"]

    (folder / "0002_second.sql").write_text("CREATE TABLE second ()")
    assert apply(empty_dsn, folder) == ["0002_second"]


def test_a_database_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot be reached") as caught:
        apply(f"host={tmp_path} dbname=nothing")
    assert "\n" not in str(caught.value)


APPLY = """
import asyncio, pathlib, sys
from db.migrations.runner import apply_migrations
print(len(asyncio.run(apply_migrations(sys.argv[1], folder=pathlib.Path(sys.argv[2])))))
"""


def test_eight_processes_at_once_apply_each_file_once(empty_dsn: str, folder: Path, repository: Path) -> None:
    for path in folder.glob("*.sql"):
        path.write_text("SELECT pg_sleep(0.2); " + path.read_text())
    command = [sys.executable, "-c", APPLY, empty_dsn, str(folder)]
    processes = [subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE) for _ in range(8)]
    answers = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sorted(map(int, answers)) == [0] * 7 + [2]
    assert rows(empty_dsn, "SELECT count(*) FROM first") == [(1,)]


def test_the_template_of_the_tests_is_migrated(store: Store) -> None:
    assert store.value("SELECT count(*) FROM runglass.migrations") == len(known_migrations())
