"""Whoever writes while a migration waits for a lock is held up for a moment at a time, whichever it is."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from contextlib import closing
from pathlib import Path

import procrastinate
import psycopg
import pytest

from db.migrations import runner
from db.migrations.runner import apply_migrations
from tests.support.workers import eventually

WRITES = {
    "biz.ai_run_logs": "INSERT INTO biz.ai_run_logs (site_id, app_type, status) VALUES ('a', 'b', 'c')",
    "procrastinate.procrastinate_jobs": (
        "INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name) VALUES ('q', 't')"
    ),
}


class Writer:
    """Writes one row after another and knows the longest that it had to wait, in seconds."""

    def __init__(self, dsn: str, statement: str) -> None:
        self.longest = 0.0
        self.writes = 0
        self._dsn, self._statement = dsn, statement
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not self._stop.is_set():
                started = time.monotonic()
                connection.execute(self._statement)  # pyright: ignore[reportArgumentType, reportCallIssue]
                self.longest = max(self.longest, time.monotonic() - started)
                self.writes += 1

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def migrate_beside(dsn: str, table: str, folder: Path | None) -> float:
    """Migrate while a transaction that wrote to `table` stays open; the longest wait of another writer."""
    told: list[str] = []
    with psycopg.connect(dsn) as open_transaction, closing(Writer(dsn, WRITES[table])) as writer:
        open_transaction.execute(WRITES[table])  # pyright: ignore[reportArgumentType, reportCallIssue]

        def migrate() -> None:
            options = {} if folder is None else {"folder": folder}
            asyncio.run(apply_migrations(dsn, progress=told.append, **options))

        migration = threading.Thread(target=migrate)
        migration.start()
        try:
            eventually(
                lambda: any("waits for a lock" in line for line in told), "it has waited several times"
            )
            seen = writer.writes
            eventually(lambda: writer.writes > seen + 10, "others write meanwhile")
        finally:
            open_transaction.rollback()
            migration.join()
    return writer.longest


@pytest.fixture
def before_the_trigger(empty_dsn: str, tmp_path: Path) -> str:
    """A database up to the migration before the one that makes a trigger on the run log and is not online."""
    for file in Path(runner.__file__).parent.glob("*.sql"):
        if file.name < "0060":
            shutil.copy(file, tmp_path)
    asyncio.run(apply_migrations(empty_dsn, folder=tmp_path))
    return empty_dsn


def test_a_trigger_is_made_beside_a_transaction_that_stays_open(
    before_the_trigger: str, tmp_path: Path
) -> None:
    shutil.copy(Path(runner.__file__).parent / "0060_alerts_that_fail_again.sql", tmp_path)
    assert migrate_beside(before_the_trigger, "biz.ai_run_logs", tmp_path) < 1
    with psycopg.connect(before_the_trigger) as connection:
        assert connection.execute("SELECT max(number) FROM runglass.migrations").fetchone() == (60,)


def test_the_job_engine_is_brought_up_to_date_beside_a_transaction_that_stays_open(
    dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = Path(procrastinate.__file__).parent / "sql"
    shutil.copytree(package, tmp_path / "sql")
    (tmp_path / "sql" / "migrations" / "99.99.99_01_later.sql").write_text(
        "ALTER TABLE procrastinate_jobs ADD COLUMN later text;"
    )
    monkeypatch.setattr("db.migrations.engine_schema._sql_folder", lambda: tmp_path / "sql")
    assert migrate_beside(dsn, "procrastinate.procrastinate_jobs", None) < 1
