"""A server that is told to stop says so first, then closes its port, and lets running requests end."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.cli.test_several_processes import answering
from tests.http.sockets import connected, request
from tests.support.api import Api
from tests.support.serving import Server, serving
from tests.support.store import Store

ASK = "{ viewer { name } }"
RETRY_JOB = 'mutation { retryJob(input: {jobId: \\"job_%d\\"}) { __typename } }'
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name LIKE 'runglass%'
"""


def port_of(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


def is_open(server: Server) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port_of(server))) == 0


def readiness(server: Server) -> httpx.Response:
    return httpx.get(f"{server.address}/readyz", timeout=30)


def key(api: Api) -> str:
    return f"Authorization: {api.headers['authorization']}"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.parametrize(
    ("workers", "number"), [("1", signal.SIGTERM), ("1", signal.SIGHUP), ("2", signal.SIGTERM)]
)
def test_it_says_so_before_its_port_closes(
    api: Api, dsn: str, log: Path, workers: str, number: signal.Signals
) -> None:
    with serving(dsn, "--workers", workers, log=log, RUNGLASS_DRAIN_TIMEOUT="2") as server:
        with connected(port_of(server)) as kept:
            kept.send(request(ASK, key(api)))
            first = kept.answer()
            assert first is not None
            assert (first.status, "connection" in first.headers) == (200, False)
            os.kill(server.process, number)
            # The test's timeout ends this where it is never said.
            while (ready := readiness(server)).status_code == 200:
                pass
            assert ready.json() == {"status": "not ready", "reason": "the server stops"}
            assert ready.headers["connection"] == "close"
            kept.send(request(ASK, key(api)))
            last = kept.answer()
            assert last is not None
            assert (last.status, last.headers["connection"]) == (200, "close")
            assert kept.answer() is None
        while is_open(server):
            pass
    assert "Traceback" not in log.read_text()


@pytest.fixture
def locked(api: Api, store: Store, dsn: str) -> Iterator[tuple[psycopg.Connection, bytes]]:
    """A connection that locks a job's row, and a request that waits for it."""
    job = store.job()
    with psycopg.connect(dsn) as other:
        other.execute("SELECT 1 FROM biz.ai_trigger_jobs WHERE id = %s FOR UPDATE", (job,))
        yield other, request(RETRY_JOB % job, key(api))
        other.rollback()


def wait_until_waiting(store: Store) -> None:
    while store.value(WAITING) != 1:
        store.value("SELECT 1 FROM pg_sleep(0.02)")


def test_a_running_request_ends_after_the_port_is_closed(
    locked: tuple[psycopg.Connection, bytes], store: Store, dsn: str
) -> None:
    other, waiting = locked
    with serving(dsn, "--workers", "2") as server, connected(port_of(server)) as client:
        client.send(waiting)
        wait_until_waiting(store)
        os.kill(server.process, signal.SIGTERM)
        while is_open(server):
            pass
        other.rollback()
        answer = client.answer()
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert json.loads(answer.body)["data"]["retryJob"]["__typename"] in ("TriggerJob", "Conflict")


def test_a_request_that_takes_longer_is_told_so(
    locked: tuple[psycopg.Connection, bytes], store: Store, dsn: str, log: Path
) -> None:
    with serving(dsn, log=log, RUNGLASS_STOP_TIMEOUT="1") as server, connected(port_of(server)) as client:
        client.send(locked[1])
        wait_until_waiting(store)
        os.kill(server.process, signal.SIGTERM)
        (answer,) = client.answers()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert json.loads(answer.body)["errors"][0]["extensions"]["code"] == "SERVICE_UNAVAILABLE"
    assert "Traceback" not in log.read_text()


def test_a_second_signal_does_not_wait(dsn: str) -> None:
    with serving(dsn, RUNGLASS_DRAIN_TIMEOUT="3600") as server:
        assert readiness(server).status_code == 200
        os.kill(server.process, signal.SIGTERM)
        while readiness(server).status_code == 200:
            pass
        os.kill(server.process, signal.SIGTERM)
        while is_open(server):
            pass


def test_several_processes_are_replaced_one_by_one_on_sighup(api: Api, dsn: str) -> None:
    with serving(dsn, "--workers", "2", RUNGLASS_DRAIN_TIMEOUT="0") as server:
        while len(before := answering(server)) < 2:
            pass
        os.kill(server.process, signal.SIGHUP)
        while len(after := answering(server)) != 2 or before & after:
            answer = httpx.post(
                f"{server.address}/graphql", json={"query": ASK}, headers=api.headers, timeout=60
            )
            assert answer.status_code == 200


def test_who_has_just_connected_is_answered_by_a_server_that_stops(api: Api, dsn: str) -> None:
    with serving(dsn, RUNGLASS_DRAIN_TIMEOUT="0") as server, ExitStack() as stack:
        asking, silent = (stack.enter_context(connected(port_of(server))) for _ in range(2))
        assert readiness(server).status_code == 200
        os.kill(server.process, signal.SIGTERM)
        while is_open(server):
            pass
        asking.send(request(ASK, key(api)))
        (answer,) = asking.answers()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert silent.answers() == []
