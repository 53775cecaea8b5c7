"""Adoption beside a service that goes on writing: nobody waits for long, each run is counted once."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from bench.adoption import TABLE, Writer, differences, fill
from db.migrations import online
from db.migrations.online import Statement, statements_of
from db.migrations.runner import MigrationError, apply_migrations, known_migrations
from tests.db.adopted import KINDS
from tests.db.catalog import catalog
from tests.db.recount import connect, fold, in_utc, rebuild
from tests.support.store import Store

ROWS = 4_000
ADD = "INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used) VALUES (1, 'chat', 'success', 3)"
INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


@pytest.mark.parametrize("partitioned", [False, True], ids=["one table", "partitions"])
def test_a_writer_goes_on_and_every_run_is_counted_once(empty_dsn: str, partitioned: bool) -> None:
    fill(empty_dsn, ROWS, partitioned=partitioned)
    with Writer(empty_dsn, ROWS) as writer:
        applied = asyncio.run(apply_migrations(empty_dsn))
    assert writer.writes > 0
    assert applied[:-1] == [each.name for each in known_migrations()]
    assert differences(empty_dsn) == 0
    with connect(empty_dsn) as connection:
        assert connection.execute(INVALID).fetchone() == (0,)
    fold(empty_dsn)
    assert differences(empty_dsn) == 0
    assert rebuild(empty_dsn) > 0
    assert differences(empty_dsn) == 0


def test_it_may_be_killed_at_any_statement_and_run_again(empty_dsn: str, repository: Path) -> None:
    """Each time some statements further on, until the last one is reached."""
    fill(empty_dsn, 300, partitioned=True)
    command = [sys.executable, "-c", KILLED, empty_dsn]
    with Writer(empty_dsn, 300) as writer:
        for statement in range(2, 500, 47):
            killed = subprocess.run([*command, str(statement)], cwd=repository, check=False)
            if killed.returncode == 0:
                break
            assert killed.returncode == 9
        asyncio.run(apply_migrations(empty_dsn))
    assert writer.writes > 0
    assert differences(empty_dsn) == 0
    with connect(empty_dsn) as connection:
        assert connection.execute(INVALID).fetchone() == (0,)


# Dies as if it were killed, when it has sent so many statements and not read the answer of the last.
KILLED = """
import asyncio, os, sys
import psycopg
from db.migrations.runner import apply_migrations

dsn, left = sys.argv[1], int(sys.argv[2])
send = psycopg.AsyncConnection.execute

async def execute(self, *args, **options):
    global left
    left -= 1
    if left == 0:
        asyncio.get_running_loop().call_later(0.005, os._exit, 9)
    return await send(self, *args, **options)

psycopg.AsyncConnection.execute = execute
asyncio.run(apply_migrations(dsn))
"""


def test_an_index_that_was_left_invalid_is_built_anew(empty_dsn: str) -> None:
    with connect(empty_dsn) as connection:
        connection.execute(KINDS["integers"])
        # As a kill leaves it: the two rows of one day make this one fail half-way.
        connection.execute("ALTER TABLE biz.ai_run_logs ALTER app_type SET NOT NULL")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute(
                "CREATE UNIQUE INDEX CONCURRENTLY run_logs_newest ON biz.ai_run_logs (app_type)"
            )
        assert connection.execute(INVALID).fetchone() == (1,)
        asyncio.run(apply_migrations(empty_dsn))
        assert connection.execute(INVALID).fetchone() == (0,)
        definition = connection.execute("SELECT pg_get_indexdef('biz.run_logs_newest'::regclass)").fetchone()
    assert definition == (
        "CREATE INDEX run_logs_newest ON biz.ai_run_logs USING btree (created_at DESC, id DESC)",
    )


def test_indexes_of_partitions_are_built_one_by_one_and_attached(empty_dsn: str) -> None:
    kind = KINDS["partitioned"]
    with connect(empty_dsn) as connection:
        connection.execute(kind)
        connection.execute(
            'CREATE TABLE biz."Odd.Name of 2023" PARTITION OF biz.ai_run_logs'
            " FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') PARTITION BY LIST (site_id);"
            " CREATE TABLE biz.north PARTITION OF biz.\"Odd.Name of 2023\" FOR VALUES IN ('north');"
            ' CREATE TABLE biz.others PARTITION OF biz."Odd.Name of 2023" DEFAULT'
        )
        for site in ("north", "south"):
            connection.execute(
                "INSERT INTO biz.ai_run_logs (site_id, status, created_at)"
                " VALUES (%s, 'failed', '2023-05-05')",
                (site,),
            )
        lines: list[str] = []
        asyncio.run(apply_migrations(empty_dsn, progress=lines.append))
        unlike = connection.execute(
            "SELECT child.relname, count(inhparent) FROM pg_class AS child"
            " JOIN pg_index ON indrelid = child.oid AND indisvalid"
            " LEFT JOIN pg_inherits ON inhrelid = indexrelid"
            " WHERE child.relispartition AND child.relkind IN ('r', 'p') GROUP BY 1"
        ).fetchall()
        assert connection.execute(INVALID).fetchone() == (0,)
    assert len({count for _, count in unlike}) == 1
    assert {name for name, _ in unlike} >= {"Odd.Name of 2023", "north", "others", "of_old"}
    assert any("partition 1 of" in line for line in lines)


def test_a_lock_is_waited_for_a_moment_at_a_time(empty_dsn: str) -> None:
    """While a transaction has the log others go on, and who has it is told; then the migration ends."""
    with connect(empty_dsn) as connection:
        connection.execute(TABLE.format(partitioned=""))
        connection.execute(ADD)
    lines: list[str] = []
    with (
        psycopg.connect(empty_dsn, application_name="nightly") as long,
        connect(empty_dsn) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        long.execute(ADD)
        migrating = pool.submit(lambda: asyncio.run(apply_migrations(empty_dsn, progress=lines.append)))
        while not any("nightly" in line for line in lines):
            assert not migrating.done()
            # Would wait for ever behind a migration that waits for ever.
            other.execute(ADD)
        long.commit()
        migrating.result()
    with connect(empty_dsn) as connection:
        counted = connection.execute("SELECT sum(calls) FROM runglass.run_totals").fetchone()
        rows = connection.execute("SELECT count(*) FROM biz.ai_run_logs").fetchone()
    assert rows == counted


def test_a_lock_that_somebody_keeps_is_an_error_that_names_them(
    empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(online, "PATIENCE", 0.0)
    with psycopg.connect(empty_dsn, application_name="nightly") as long:
        long.execute(TABLE.format(partitioned=""))
        long.commit()
        long.execute(ADD)
        with pytest.raises(
            MigrationError, match=r"0001_tables failed: a lock .* \(nightly\) is in a transaction"
        ):
            asyncio.run(apply_migrations(empty_dsn))
    before = catalog(empty_dsn)
    assert not any("index alerts_newest" in line for line in before)


def test_old_runs_are_counted_beside_changes_of_the_same_days(empty_dsn: str) -> None:
    """Deltas of a day that is not counted yet are folded or not, and the day is right when it is counted."""
    dsn = in_utc(empty_dsn)
    with connect(dsn) as connection:
        connection.execute(TABLE.format(partitioned=""))
        moments = [datetime(2026, 11, day, tzinfo=UTC) + timedelta(hours=day) for day in range(1, 5)]
        for moment in moments * 3:
            connection.execute(
                "INSERT INTO biz.ai_run_logs (site_id, tokens_used, created_at) VALUES (1, 5, %s)", (moment,)
            )
        asyncio.run(apply_migrations(dsn))
        connection.execute("DELETE FROM runglass.run_usage; DELETE FROM runglass.run_latency")
        connection.execute("DELETE FROM runglass.run_totals; DELETE FROM runglass.run_log_deltas")
        connection.execute("UPDATE runglass.model_usage_start SET counted_from = 'infinity'")
        counted = []
        for number in range(10):
            connection.execute("DELETE FROM biz.ai_run_logs WHERE id = (SELECT min(id) FROM biz.ai_run_logs)")
            connection.execute("UPDATE biz.ai_run_logs SET tokens_used = tokens_used + 1 WHERE id % 2 = 0")
            if number % 2:
                fold(dsn)
            row = connection.execute("SELECT runglass.count_day_of_old_runs()").fetchone()
            assert row
            if row[0] is None:
                break
            counted.append(row[0])
        assert counted == ["2026-11-04", "2026-11-03", "2026-11-02", "2026-11-01"]
    assert differences(dsn) == 0


def test_who_counts_again_is_in_nobodys_way(dsn: str, store: Store) -> None:
    """In the middle of a rebuild, and of the counting of old runs, a writer gets every lock at once."""
    store.add("biz.ai_run_logs", site_id="north", app_type="chat", status="success", tokens_used=1)
    writes = (
        "INSERT INTO biz.ai_run_logs (site_id, app_type, status) VALUES ('north', 'chat', 'success')",
        "UPDATE biz.ai_run_logs SET tokens_used = tokens_used + 1",
        "DELETE FROM biz.ai_run_logs WHERE tokens_used = 1",
    )
    counts = (
        "SELECT runglass.rebuild_run_rollups(day, day + interval '1 day')"
        " FROM runglass.run_rollup_days() AS day",
        "SELECT runglass.rebuild_run_totals()",
        "SELECT runglass.count_day_of_old_runs()",
    )
    with psycopg.connect(dsn) as counting, psycopg.connect(dsn, autocommit=True) as writer:
        writer.execute("SET lock_timeout = 1")
        for statement in counts:
            counting.execute(statement)
            for write in writes:
                writer.execute(write)
            counting.commit()


def test_progress_is_one_line_on_a_terminal(empty_dsn: str, repository: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "graph", "migrate"]
    environment = {**os.environ, "DATABASE_URL": empty_dsn}
    with subprocess.Popen(
        command, cwd=repository, env=environment, stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        shown = b""
        # A terminal whose other side is closed gives an error at the end.
        with contextlib.suppress(OSError):
            while part := os.read(ours, 4096):
                shown += part
        assert process.wait(timeout=60) == 0
    os.close(ours)
    assert b"\r0002_indexes: index run_logs_newest (1 of " in shown
    assert shown.endswith(b"\r\x1b[K")
    assert b"\n" not in shown


def test_statements_are_told_apart() -> None:
    text = (
        "-- online\n-- Why.\n\n-- repeat\nSELECT one();\nCREATE INDEX a\n    ON b (c);\n\n-- d\nSELECT 2;\n"
    )
    assert statements_of(text) == [
        Statement("SELECT one()", True),
        Statement("CREATE INDEX a\n    ON b (c)", False),
        Statement("SELECT 2", False),
    ]
