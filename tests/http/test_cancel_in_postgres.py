"""A client that goes takes its statement in PostgreSQL with it, and the connection returns to the pool."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest

from tests.support.api import Api
from tests.support.serving import serving
from tests.support.store import Store

RETRY_JOB = 'mutation { retryJob(input: {jobId: "job_%d"}) { __typename } }'
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND application_name = 'runglass'
"""


@pytest.fixture
def address(dsn: str) -> Iterator[str]:
    """A server with one connection, whose timeouts are too long to be what ends a statement."""
    settings = {
        "POOL_MIN_SIZE": "1",
        "POOL_MAX_SIZE": "1",
        "STATEMENT_TIMEOUT": "600",
        "EXECUTION_TIMEOUT": "600",
    }
    with serving(dsn, **{f"RUNGLASS_{name}": value for name, value in settings.items()}) as server:
        yield server.address


def send(address: str, query: str, headers: dict[str, str]) -> socket.socket:
    """Send a request and leave the answer unread."""
    place = urlsplit(address)
    connection = socket.create_connection((str(place.hostname), int(place.port or 0)))
    body = json.dumps({"query": query}).encode()
    lines = ["POST /graphql HTTP/1.1", f"Host: {place.netloc}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
    return connection


def wait_until_waiting(store: Store, count: int) -> None:
    """Ask the database until so many statements of the server wait for a lock; the test's timeout ends it."""
    while store.value(WAITING) != count:
        store.value("SELECT 1 FROM pg_sleep(0.02)")


@pytest.mark.timeout(60)
def test_the_statement_is_cancelled_when_the_client_goes(
    api: Api, store: Store, dsn: str, address: str
) -> None:
    job = store.job()
    with psycopg.connect(dsn) as other:
        other.execute("SELECT 1 FROM biz.ai_trigger_jobs WHERE id = %s FOR UPDATE", (job,))
        with closing(send(address, RETRY_JOB % job, api.headers)):
            wait_until_waiting(store, 1)
        # Nothing else can end it: the lock is still held, and the timeouts are far away.
        wait_until_waiting(store, 0)
        answer = httpx.post(
            f"{address}/graphql",
            json={"query": "{ triggerJobs { totalCount { count } } }"},
            headers=api.headers,
        )
        assert answer.json() == {"data": {"triggerJobs": {"totalCount": {"count": 1}}}}
        other.rollback()
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs") == 1
    assert store.rows("SELECT action FROM runglass.audit_log") == []
