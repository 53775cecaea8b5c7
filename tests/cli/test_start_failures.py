"""A start that cannot go on: one line that says why, the right exit code, no traceback and no password."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from graph.settings.config import SettingsError, load_settings, unknown_variables
from graph.settings.misspelt import misspelt

COMMANDS = (("migrate",), ("serve", "--port", "0"), ("worker",), ("check",), ("key", "list"))


def run(dsn: str, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": dsn, "RUNGLASS_CONNECT_TIMEOUT": "2", **variables}
    return subprocess.run(
        [sys.executable, "-m", "graph", *command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port where something takes connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        yield listener.getsockname()[1]


@pytest.fixture
def web_port() -> Iterator[int]:
    """A port where something speaks HTTP."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)

        def answer() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(100)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_server_that_never_answers_is_given_up_by_every_command(silent_port: int) -> None:
    dsn = f"postgresql://runner:hunter2@127.0.0.1:{silent_port}/store"
    with ThreadPoolExecutor() as executor:
        for done in executor.map(lambda command: run(dsn, *command), COMMANDS):
            assert done.returncode == 1
            said = (done.stdout + done.stderr).splitlines()
            assert any(
                f"127.0.0.1:{silent_port}/store as runner cannot be reached" in line for line in said
            ), said
            assert "Traceback" not in done.stderr
            assert "hunter2" not in done.stdout + done.stderr


def refused(dsn: str) -> str:
    """The one line of `runglass check` that is wrong."""
    done = run(dsn, "check")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    return line


def test_what_speaks_http_is_no_database(web_port: int) -> None:
    assert "cannot be reached" in refused(f"postgresql://runner:hunter2@127.0.0.1:{web_port}/store")


def test_a_host_without_an_address_and_a_closed_port_are_named() -> None:
    assert "nowhere.invalid" in refused("postgresql://runner:hunter2@nowhere.invalid/store")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert "refused" in refused(f"postgresql://runner:hunter2@127.0.0.1:{port}/store")


def test_a_database_a_role_or_encryption_that_is_not_there_is_named(dsn: str) -> None:
    assert 'database "nothing" does not exist' in refused(make_conninfo(dsn, dbname="nothing"))
    assert 'role "nobody"' in refused(make_conninfo(dsn, user="nobody", password="hunter2"))
    if not conninfo_to_dict(dsn).get("host", "/").startswith("/"):
        assert "SSL" in refused(make_conninfo(dsn, sslmode="require"))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://runner:hunter2/x@host/store",
        "postgresql://runner:hunter2%zz@host/store",
        "postgresql://runner:hunter2@host:hunter2/store",
        "postgresql://runner:hunter2@host:99999/store",
        "postgresql://runner@host/store?hunter2=1",
        "host=x hunter2=y",
    ],
)
def test_an_address_that_cannot_be_read_is_refused_and_not_repeated(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", address)
    with pytest.raises(SettingsError, match=r"^DATABASE_URL: ") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_misspelt_variable_is_told_with_the_name_that_was_meant(
    dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apps = tmp_path / "apps.toml"
    apps.write_text('[apps.chat]\nurl = "http://127.0.0.1:9/"\nsecret_env = "RUNGLASS_CHAT_SECRET"\n')
    done = run(
        dsn,
        "check",
        RUNGLASS_POOL_MAXSIZE="3",
        RUNGLASS_APPS_FILE=str(apps),
        RUNGLASS_CHAT_SECRET="s",
        RUNGLASS_DATABASE_URL=dsn,
    )
    assert done.returncode == 1
    wrong = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    meant = "RUNGLASS_POOL_MAX_SIZE was probably meant"
    assert wrong == [f"wrong: RUNGLASS_POOL_MAXSIZE is no setting and does nothing; {meant}"]

    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("RUNGLASS_LOGLEVEL=debug\n")
    assert [line.split(" ", 1)[0] for line in unknown_variables(None)] == ["RUNGLASS_LOGLEVEL"]


def test_only_what_looks_like_a_setting_can_be_misspelt() -> None:
    known = ("RUNGLASS_PORT", "DATABASE_URL")
    assert misspelt(["PATH", "runglass_port", "RUNGLASS_PORT", "GLASS_PORT"], known) == []
    assert misspelt(["RUNGLAS_PORT", "RUNGLASS_ZZZZZZZZZZ"], known) == [
        "RUNGLASS_ZZZZZZZZZZ is no setting and does nothing",
        "RUNGLAS_PORT is no setting and does nothing; RUNGLASS_PORT was probably meant",
    ]


def test_a_worker_says_what_it_is_and_that_it_has_stopped(dsn: str) -> None:
    worker = subprocess.Popen(
        [sys.executable, "-m", "graph", "worker"],
        env={**os.environ, "DATABASE_URL": dsn},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert worker.stderr is not None
    said: list[str] = []
    with worker.stderr:
        for line in worker.stderr:
            said.append(line)
            if "working for" in line:
                worker.terminate()
    assert worker.wait(30) == 0
    started = next(line for line in said if "the worker starts: Runglass " in line)
    assert str(conninfo_to_dict(dsn)["dbname"]) in started
    assert "the worker has stopped" in said[-1]
