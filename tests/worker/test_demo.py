"""`serve --demo` runs simulated apps and a worker beside the server, and ends with both."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

import httpx

from graph.processes.demo_apps import FATES, Fates, fate_of, make_demo_app, start_demo_work
from graph.settings.config import Settings
from resolvers.demo.words import APPS
from resolvers.worker.apps import sign
from tests.support.store import Store
from tests.support.workers import ended, enqueue, eventually

CONNECTED = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
    " AND application_name = 'runglass worker'"
)
PARENT = """
import sys
from graph.settings.config import load_settings
from graph.processes.demo_apps import start_demo_work
with start_demo_work(load_settings()):
    print("started", flush=True)
    sys.stdin.read()
"""


def test_fates_have_their_shares_and_follow_from_the_key() -> None:
    keys = [f"key-{n}" for n in range(20_000)]
    fates = Counter(fate_of(key)[0] for key in keys)
    for fate, share in FATES:
        assert abs(fates[fate] / len(keys) - share) < 0.2 * share + 0.002
    assert [fate_of(key)[0] for key in keys] == [fate_of(key)[0] for key in keys]


def test_a_member_may_be_named_after_its_fate() -> None:
    fates = Fates()
    keys = [f"key-{n}" for n in range(50)]
    assert {fates.of("chat", "answer-1", key)[0] for key in keys} == {"answer"}
    assert {fates.of("chat", "hang-1", key)[0] for key in keys} == {"hang"}
    assert [fates.of("chat", "member-1", key)[0] for key in keys] == [fate_of(key)[0] for key in keys]
    assert [fates.of("chat", "fails-once-1", key)[0] for key in ("a", "a", "b", "a")] == [
        "refuse",
        "refuse",
        "answer",
        "refuse",
    ]
    assert fates.of("mail", "fails-once-1", "b")[0] == "refuse"


def post(body: bytes, signature: str, timestamp: str, path: str = "/chat_assistant") -> httpx.Response:
    """Call a simulated app with the key of a call that answers at once."""
    key = next(key for key in map(str, range(100)) if fate_of(key)[0] == "answer")
    headers = {
        "x-runglass-timestamp": timestamp,
        "x-runglass-signature": signature,
        "idempotency-key": key,
    }

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(make_demo_app("s"))
        async with httpx.AsyncClient(transport=transport, base_url="http://apps") as client:
            return await client.post(path, content=body, headers=headers)

    return asyncio.run(send())


def test_a_simulated_app_checks_the_signature() -> None:
    now = str(int(time.time()))
    old = str(int(time.time()) - 3600)
    assert post(b"{}", sign("s", now, b"{}"), now).json()["status"] == "success"
    assert post(b"{}", sign("other", now, b"{}"), now).status_code == 401
    assert post(b"{ }", sign("s", now, b"{}"), now).status_code == 401
    assert post(b"{}", sign("s", old, b"{}"), old).status_code == 401
    assert post(b"{}", sign("s", now, b"{}"), now, "/nothing").status_code == 404


def test_a_call_that_hangs_ends_when_its_caller_has_gone() -> None:
    now, body = str(int(time.time())), b'{"member": "hang-1"}'
    received = iter([{"type": "http.request", "body": body}, {"type": "http.disconnect"}])
    headers = {"x-runglass-timestamp": now, "x-runglass-signature": sign("s", now, body)}
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/chat_assistant",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    sent: list[Any] = []

    async def call() -> None:
        async def receive() -> Any:
            return next(received)

        async def send(message: Any) -> None:
            sent.append(message)

        async with asyncio.timeout(20):
            await make_demo_app("s")(scope, receive, send)

    asyncio.run(call())
    assert sent[0]["status"] == 504


def test_jobs_of_the_demo_run(dsn: str, store: Store) -> None:
    settings = Settings(database_url=dsn, _env_file=None)
    apps = [app.name for app in APPS]
    with start_demo_work(settings):
        jobs = [enqueue(store, app_chain=[apps[n % len(apps)]], member_id=f"m{n}") for n in range(12)]
        eventually(ended(store, *jobs), "all jobs end")
    succeeded = store.rows("SELECT * FROM biz.ai_run_logs WHERE status = 'success'")
    assert len(succeeded) >= 6
    assert all(row["tokens_used"] > 0 and row["model"] and row["response_text"] for row in succeeded)
    eventually(lambda: store.value(CONNECTED) == 0, "the worker has gone")


def test_the_children_of_a_killed_server_end(dsn: str, store: Store) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, "DATABASE_URL": dsn},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdin
    assert parent.stdout
    assert parent.stdout.readline() == b"started\n"
    eventually(lambda: store.value(CONNECTED) > 0, "the worker is there")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    eventually(lambda: store.value(CONNECTED) == 0, "the worker has gone")
    assert json.dumps(store.rows("SELECT * FROM biz.ai_run_logs")) == "[]"
