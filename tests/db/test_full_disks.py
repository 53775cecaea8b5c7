"""A disk that is really full: one coded error, one line of the log each, no restart when there is room."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from db.migrations.runner import apply_migrations
from tests.api.mutations.test_record_runs import RECORD_RUNS, report
from tests.support.api import signed_in
from tests.support.cluster import cluster
from tests.support.serving import Server, serving
from tests.support.workers import eventually

MEGABYTES = 64


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system in memory with room for little."""
    # Not in pytest's folder, which each start of it closes to other accounts.
    folder = Path(tempfile.mkdtemp(prefix="small-", dir="/tmp"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=755", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("this account cannot mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    path = folder / "balloon"
    with path.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return path


def ask(server: Server, key: dict[str, str], query: str, variables: dict[str, Any]) -> dict[str, Any]:
    body = {"query": query, "variables": variables}
    return httpx.post(f"{server.address}/graphql", json=body, headers=key, timeout=30).json()


def runs(count: int, text: str) -> dict[str, Any]:
    return {"runs": [report(responseText=text) for _ in range(count)]}


def test_a_tablespace_that_is_full_refuses_changes_until_there_is_room(
    small_disk: Path, tmp_path: Path
) -> None:
    with cluster() as server_of_it:
        server_of_it.make()
        server_of_it.start()
        server_of_it.own(small_disk)
        with psycopg.connect(server_of_it.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
            connection.execute("CREATE DATABASE runglass TABLESPACE small")
        dsn = server_of_it.dsn("runglass")
        asyncio.run(apply_migrations(dsn))
        key = signed_in(dsn, name="tests")
        log = tmp_path / "server.log"
        with serving(dsn, log=log) as server:
            # Random, so that it is not made smaller.
            text = os.urandom(40_000).hex()
            assert "errors" not in ask(server, key, RECORD_RUNS, runs(1, text))
            balloon = fill(small_disk)

            def refused() -> bool:
                answer = ask(server, key, RECORD_RUNS, runs(10, text))
                if "errors" not in answer:
                    return False
                (error,) = answer["errors"]
                assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"
                assert error["message"].startswith("The database has no space left")
                return True

            # What was free within files that are there already is filled first.
            eventually(refused, "it is full")
            before = ask(server, key, "{ runLogs { totalCount { count } } }", {})
            assert refused()
            assert ask(server, key, "{ runLogs { totalCount { count } } }", {}) == before
            assert httpx.get(f"{server.address}/readyz").status_code == 200

            balloon.unlink()
            assert "errors" not in ask(server, key, RECORD_RUNS, runs(10, text))
        said = log.read_text()
        assert "Traceback" not in said
        # One of requests, and one of the upkeep.
        assert 1 <= said.count("no space left") <= 2, said


def test_a_server_whose_own_disk_is_full_is_waited_for(small_disk: Path, tmp_path: Path) -> None:
    with cluster(small_disk) as server_of_it:
        server_of_it.make()
        server_of_it.start()
        with psycopg.connect(server_of_it.dsn("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE runglass")
        dsn = server_of_it.dsn("runglass")
        asyncio.run(apply_migrations(dsn))
        key = signed_in(dsn, name="tests")
        log = tmp_path / "server.log"
        with serving(dsn, log=log) as server:
            text = os.urandom(40_000).hex()
            balloon = fill(small_disk)
            codes: set[str] = set()

            def down() -> bool:
                answer = ask(server, key, RECORD_RUNS, runs(20, text))
                codes.update(error["extensions"]["code"] for error in answer.get("errors", []))
                return httpx.get(f"{server.address}/readyz", timeout=30).status_code == 503 or bool(codes)

            eventually(down, "a change is refused, or the server has stopped for lack of room")
            assert codes <= {"SERVICE_UNAVAILABLE"}
            balloon.unlink()
            # Where it could not write its log of changes, it has ended.
            server_of_it.stop("immediate")
            server_of_it.start()
            eventually(
                lambda: "errors" not in ask(server, key, RECORD_RUNS, runs(1, text)),
                "changes are taken again",
            )
            assert httpx.get(f"{server.address}/readyz").status_code == 200
        assert "Traceback" not in log.read_text()
