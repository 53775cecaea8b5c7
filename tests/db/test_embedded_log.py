"""The embedded server's log: bounded, and without anything that a caller sent."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from db.embedded import log as embedded_log
from db.embedded import server as embedded

SECRET = "geheim-4711"


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.EmbeddedServer]:
    folder = Path(tempfile.mkdtemp(prefix="runglass-log-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        with embedded.start(folder, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def logged(server: embedded.EmbeddedServer) -> str:
    return (server.data_dir / embedded_log.NAME).read_text(errors="replace")


def log_line(server: embedded.EmbeddedServer, length: int, times: int) -> None:
    """Have the server itself write lines to its log."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(
            "DO $$ BEGIN FOR n IN 1.."
            f"{times} LOOP RAISE LOG 'line % %', n, repeat('x', {length}); END LOOP; END $$"
        )


# What PostgreSQL itself would show of each: the statement, the value, the row, the key or its parameters.
FAULTY: dict[str, tuple[str, tuple[str, ...]]] = {
    "no number": ("SELECT %s::text::integer", (SECRET,)),
    "no syntax": (f"SELECT FROM WHERE '{SECRET}'", ()),
    "a key twice": ("INSERT INTO kept VALUES (%s), (%s)", (SECRET, SECRET)),
    "a check": ("INSERT INTO kept VALUES (%s)", (SECRET + "!",)),
    "a raised error": (f"DO $$ BEGIN RAISE EXCEPTION '{SECRET}' USING DETAIL = '{SECRET}'; END $$", ()),
    "a warning": (f"DO $$ BEGIN RAISE WARNING '{SECRET}'; END $$", ()),
    "a cancelled statement": (
        f"SET statement_timeout = 10; SELECT pg_sleep(5), '{SECRET}'; RESET statement_timeout",
        (),
    ),
    "a slow statement": (f"SELECT pg_sleep(0.2), '{SECRET}'", ()),
}


@pytest.mark.parametrize("name", FAULTY)
def test_nothing_that_was_sent_is_logged(server: embedded.EmbeddedServer, name: str) -> None:
    statement, values = FAULTY[name]
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (key text PRIMARY KEY CHECK (key NOT LIKE '%!'))")
        with contextlib.suppress(psycopg.Error):
            connection.execute(statement, values or None)
    log_line(server, 1, 1)
    assert "line 1 x" in logged(server)
    assert SECRET not in logged(server)


def test_of_a_connection_that_is_not_ours_no_statement_and_no_row_is_logged(
    server: embedded.EmbeddedServer,
) -> None:
    foreign = psycopg.conninfo.make_conninfo(server.dsn(), options="")
    with psycopg.connect(foreign, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS single (key text PRIMARY KEY)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO single VALUES (%s), (%s)", (SECRET, SECRET))
    assert "duplicate key value" in logged(server)
    assert SECRET not in logged(server)


def test_the_log_and_its_predecessors_are_bounded(
    server: embedded.EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_log, "LIMIT_BYTES", 20_000)
    for _ in range(5):
        log_line(server, 1_000, 30)
        server._process.limit_log()
    log_line(server, 10, 1)
    logs = sorted(path.name for path in server.data_dir.iterdir() if path.name.startswith("server.log"))
    assert logs == ["server.log", "server.log.1", "server.log.2"]
    assert sum((server.data_dir / name).stat().st_size for name in logs) < 3 * 20_000
    assert "line 30 " in (server.data_dir / "server.log.1").read_text()
    assert logged(server).count("line 1 ") == 1
    newest = (server.data_dir / "server.log.1").stat()
    assert newest.st_mode & 0o777 == 0o600
    assert newest.st_uid == (server.data_dir / "server.log").stat().st_uid


def test_a_log_within_its_limit_is_left_alone(server: embedded.EmbeddedServer) -> None:
    before = logged(server)
    server._process.limit_log()
    assert logged(server) == before


def test_no_link_is_followed(server: embedded.EmbeddedServer, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x" * 100)
    (tmp_path / embedded_log.NAME).symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        embedded_log.turn_over(tmp_path, server._process.place.account)
    assert other.stat().st_size == 100


def test_the_log_is_looked_at_while_the_server_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_log, "LOOK_SECONDS", 0.001)
    looked = threading.Semaphore(0)

    def look() -> None:
        looked.release()
        raise OSError(os.strerror(28))

    watch = embedded_log.LogWatch(look)
    try:
        assert looked.acquire(timeout=20)
        assert looked.acquire(timeout=20)
    finally:
        watch.stop()


def test_whoever_uses_the_server_watches_its_log(server: embedded.EmbeddedServer) -> None:
    assert any(thread.name == "embedded-log" and thread.daemon for thread in threading.enumerate())
