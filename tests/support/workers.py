"""Apps behind real HTTP, and workers as processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.store import Store

SECRET = "test secret"
DEADLINE = 40.0


@dataclass(frozen=True)
class Received:
    """One request that reached the app server."""

    app: str
    method: str
    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> dict[str, Any]:
        """The request as the app reads it."""
        return json.loads(self.raw)

    @property
    def key(self) -> str:
        """Its idempotency key."""
        return self.headers["idempotency-key"]


# What a behaviour gives: a status, headers, and a body.
Reply = tuple[int, dict[str, str], bytes]


def answer(**values: Any) -> Reply:
    """A well-formed answer of an app."""
    body = {"status": "success", "tokens": 10, "model": "m-1", "response": "hello", "latencyMs": 5} | values
    return 200, {}, json.dumps(body).encode()


class AppServer:
    """Apps at /NAME on a free port of loopback; `behave` says what one of them does."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._behaviours: dict[str, Callable[[Received], Reply]] = {}
        self._changed = threading.Condition()
        self._released = threading.Event()
        handler = type("Handler", (_Handler,), {"apps": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """The address without a path."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def behave(self, app: str, behaviour: Callable[[Received], Reply]) -> None:
        """Have an app answer so from now on."""
        self._behaviours[app] = behaviour

    def hang(self, _received: Received) -> Reply:
        """A behaviour: no answer until `release`, or the end of the test."""
        self._released.wait()
        return answer()

    def release(self) -> None:
        """Let hanging answers go."""
        self._released.set()

    def handle(self, received: Received) -> Reply:
        """Keep a request and answer it."""
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()
        return self._behaviours.get(received.app, lambda _: answer())(received)

    def calls(self, app: str | None = None) -> list[Received]:
        """The requests so far, of one app or of all."""
        return [one for one in self.received if app in (None, one.app)]

    def wait_for(self, count: int, app: str | None = None) -> None:
        """Wait until so many requests have come."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.calls(app)) >= count, DEADLINE)
        assert arrived, f"{len(self.calls(app))} of {count} calls came"

    def close(self) -> None:
        """Stop, and let go of every request that hangs."""
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    apps: AppServer

    def _serve(self) -> None:
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        app = self.path.split("/")[1]
        status, more, body = self.apps.handle(Received(app, self.command, self.path, headers, raw))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.send_response(status)
            for name, value in more.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    do_POST = do_GET = _serve

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def apps() -> Iterator[AppServer]:
    """The apps that workers call."""
    server = AppServer()
    yield server
    server.close()


class Workers:
    """`runglass worker` as processes on the test's database."""

    def __init__(self, dsn: str, folder: Path, apps: AppServer) -> None:
        self._dsn = dsn
        self._folder = folder
        self._apps = apps
        self._file = folder / "apps.toml"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.register("chat", "mail")

    def register(self, *names: str, **extra: Any) -> None:
        """Write the apps file: these apps, with more fields in TOML for all of them."""
        fields = {"timeout_seconds": 5, "retries": "{max = 0}"} | extra
        lines = [f"{name} = {value}" for name, value in fields.items()]
        self._file.write_text(
            "\n".join(
                line
                for name in names
                for line in (
                    f"[apps.{name}]",
                    f'url = "{self._apps.url}/{name}"',
                    'secret_env = "TEST_APP_SECRET"',
                    *lines,
                )
            )
        )

    def start(self, **settings: Any) -> subprocess.Popen[bytes]:
        """Start a worker with a short lease; `settings` are RUNGLASS_… in lower case."""
        values = {"worker_lease": 3, "worker_grace": 2, "pool_min_size": 1} | settings
        environment = {
            **os.environ,
            "DATABASE_URL": self._dsn,
            "TEST_APP_SECRET": SECRET,
            "RUNGLASS_APPS_FILE": str(self._file),
            **{f"RUNGLASS_{name.upper()}": str(value) for name, value in values.items()},
        }
        log = (self._folder / f"worker{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "graph", "worker"], env=environment, stdout=log, stderr=log
        )
        log.close()
        self.processes.append(process)
        return process

    def log(self, index: int = 0) -> str:
        """What a worker has written."""
        return (self._folder / f"worker{index}.log").read_text()

    def stop(self, process: subprocess.Popen[bytes]) -> int:
        """Tell a worker to stop, wait for its end, and give its exit code."""
        process.send_signal(signal.SIGTERM)
        return process.wait(DEADLINE)

    def close(self) -> None:
        """Kill what still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()


@pytest.fixture
def workers(dsn: str, tmp_path: Path, apps: AppServer) -> Iterator[Workers]:
    """Workers that are gone at the end of the test."""
    workers = Workers(dsn, tmp_path, apps)
    yield workers
    workers.close()


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait for a state of the database that no event tells of; fails after a bounded time."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"never came true: {what}"
        time.sleep(0.05)


def enqueue(store: Store, *, rank: int = 0, **values: Any) -> int:
    """Add a pending job and put it into the queue, as the mutations do."""
    job = store.job(**({"status": "pending"} | values))
    store.rows(
        "INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank)"
        " SELECT id, site_id, app_chain, %s FROM biz.ai_trigger_jobs WHERE id = %s",
        (rank, job),
    )
    return job


def ended(store: Store, *jobs: int) -> Callable[[], bool]:
    """Whether these jobs have come to an end."""
    return lambda: (
        store.value(
            "SELECT count(*) FROM biz.ai_trigger_jobs WHERE id = ANY(%s) AND finished_at IS NOT NULL",
            (list(jobs),),
        )
        == len(jobs)
    )
