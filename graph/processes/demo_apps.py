"""Simulated apps for `serve --demo`: a process of their own behind HTTP on loopback, and a worker.

The apps answer as those of the demo data do: most at once, some slowly, some not at all. What an app does
with a call follows from its idempotency key, so that the same call has the same fate again. A member may be
named after a fate (answer-1, hang-2) to have it, and fails-once-1 is refused in the first job that calls for
it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from graph.settings.config import Settings, environment
from resolvers.demo.words import APPS, THINGS, App
from resolvers.worker.apps import sign

SECRET_NAME = "RUNGLASS_DEMO_APPS_SECRET"  # noqa: S105 - the name of it
TIMEOUT_SECONDS = 8
_OLDEST_SECONDS = 300
_STOP_SECONDS = 15.0
_APPS_BY_NAME = {app.name: app for app in APPS}

# What becomes of a call, and its share of all calls. The rest answers within a second or so.
FATES = (
    ("refuse", 0.02),
    ("break", 0.02),
    ("garble", 0.005),
    ("hang", 0.015),
    ("poll", 0.05),
    ("dawdle", 0.06),
)


def fate_of(key: str) -> tuple[str, Random]:
    """What becomes of the call with this idempotency key, and the chance that decides the rest of it."""
    random = Random(hashlib.sha256(key.encode()).digest())  # noqa: S311 - no secret is drawn
    drawn = random.random()
    for fate, share in FATES:
        if drawn < share:
            return fate, random
        drawn -= share
    return "answer", random


_NAMED_FATES = frozenset(fate for fate, _ in FATES) | {"answer"}


class Fates:
    """What becomes of calls, also of those for members who are named after a fate."""

    def __init__(self) -> None:
        self._first_keys: dict[tuple[str, str], str] = {}

    def of(self, app: str, member: str | None, key: str) -> tuple[str, Random]:
        """What becomes of a call; the same call again has the same fate."""
        drawn, random = fate_of(key)
        named = (member or "").rpartition("-")[0]
        if named == "fails-once":
            first = self._first_keys.setdefault((app, member or ""), key)
            return ("refuse" if key == first else "answer"), random
        return (named if named in _NAMED_FATES else drawn), random


def make_demo_app(secret: str) -> Starlette:
    """The simulated apps: POST /NAME calls one, GET /NAME/results asks for a slow answer."""
    fates = Fates()

    def is_genuine(request: Request, body: bytes) -> bool:
        timestamp = request.headers.get("x-runglass-timestamp", "")
        signature = request.headers.get("x-runglass-signature", "")
        fresh = (
            timestamp.isascii()
            and timestamp.isdigit()
            and abs(time.time() - int(timestamp)) < _OLDEST_SECONDS
        )
        return fresh and secrets.compare_digest(sign(secret, timestamp, body), signature)

    async def call(request: Request) -> Response:
        app = _APPS_BY_NAME.get(request.path_params["app"])
        body = await request.body()
        if not is_genuine(request, body):
            return JSONResponse({"error": "the signature is wrong or old"}, 401)
        if app is None:
            return JSONResponse({"error": "there is no such app"}, 404)
        key = request.headers.get("idempotency-key", "")
        fate, random = fates.of(app.name, json.loads(body).get("member"), key)
        if fate == "hang":
            # Until the caller has given up, so nobody reads the answer.
            await request.receive()
            return Response(status_code=504)
        return await _respond(app, fate, random)

    async def result(request: Request) -> Response:
        if not is_genuine(request, b""):
            return JSONResponse({"error": "the signature is wrong or old"}, 401)
        if time.time() < float(request.query_params["ready"]):
            return Response(status_code=202)
        app = _APPS_BY_NAME[request.path_params["app"]]
        return JSONResponse(_answer(app, fate_of(request.headers.get("idempotency-key", ""))[1]))

    return Starlette(
        routes=[Route("/{app}", call, methods=["POST"]), Route("/{app}/results", result, methods=["GET"])]
    )


async def _respond(app: App, fate: str, random: Random) -> Response:
    if fate == "poll":
        ready = time.time() + random.uniform(2, 5)
        return JSONResponse({"pollUrl": f"/{app.name}/results?ready={ready:.1f}"}, 202)
    await asyncio.sleep(random.uniform(2.5, 6) if fate == "dawdle" else random.uniform(0.1, 1.2))
    if fate == "break":
        return Response("upstream connect error", 503)
    if fate == "garble":
        return Response("<html><body>Bad Gateway</body></html>")
    if fate == "refuse":
        return JSONResponse({"status": "failed", "error": "context of 131072 tokens exceeded"})
    return JSONResponse(_answer(app, random))


def _answer(app: App, random: Random) -> dict[str, object]:
    prompt = round(app.prompt_tokens * random.uniform(0.7, 1.4))
    completion = round(app.completion_tokens * random.uniform(0.6, 1.6))
    thing, number = random.choice(THINGS), random.randint(1000, 9999)
    return {
        "status": "success",
        "promptTokens": prompt,
        "completionTokens": completion,
        "tokens": prompt + completion,
        "model": app.model,
        "response": random.choice(app.responses).format(thing=thing, number=number),
    }


@contextmanager
def start_demo_work(settings: Settings) -> Generator[None, None, None]:
    """Run the simulated apps and one worker as child processes, until the end of the block.

    Where an apps file is configured, the worker calls its apps instead and none are simulated. Both children
    also end when this process is killed: they watch their standard input.
    """
    with tempfile.TemporaryDirectory(prefix="runglass-demo-") as folder, socket.socket() as listener:
        settings_of_children = {**environment(), "DATABASE_URL": settings.dsn}
        children: list[subprocess.Popen[bytes]] = []
        if settings.apps_file is None:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            settings_of_children[SECRET_NAME] = secrets.token_hex(16)
            file = _write_apps_file(Path(folder), listener.getsockname()[1])
            settings_of_children["RUNGLASS_APPS_FILE"] = str(file)
            children.append(_start(["graph.processes.demo_apps"], settings_of_children, listener.fileno()))
        children.append(_start(["graph", "worker", "--with-parent"], settings_of_children))
        try:
            yield
        finally:
            # The worker first, so that its last calls are still answered.
            for child in reversed(children):
                _stop(child)


def _start(arguments: list[str], variables: dict[str, str], *sockets: int) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C must not reach the apps before the worker has ended.
    return subprocess.Popen(
        [sys.executable, "-m", *arguments, *map(str, sockets)],
        env=variables,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=sockets,
        start_new_session=True,
    )


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdin:
        child.stdin.close()


def _write_apps_file(folder: Path, port: int) -> Path:
    lines: list[str] = []
    for app in APPS:
        url = json.dumps(f"http://127.0.0.1:{port}/{app.name}")
        lines += [f"[apps.{app.name}]", f"url = {url}", f'secret_env = "{SECRET_NAME}"']
        lines += [
            f"timeout_seconds = {TIMEOUT_SECONDS}",
            "retries = {max = 0}",
            "circuit = {open_seconds = 10}",
        ]
    file = folder / "apps.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def main() -> None:
    """Serve the simulated apps on the socket whose number is the first argument."""
    server = uvicorn.Server(
        uvicorn.Config(
            make_demo_app(environment()[SECRET_NAME]),
            log_level="error",
            lifespan="off",
            # Calls that hang are not waited for.
            timeout_graceful_shutdown=1,
        )
    )

    def watch() -> None:
        # Standard input closes when the process that started this one has gone.
        while os.read(0, 1024):
            pass
        server.should_exit = server.force_exit = True

    threading.Thread(target=watch, daemon=True).start()
    server.run(sockets=[socket.socket(fileno=int(sys.argv[1]))])


if __name__ == "__main__":
    main()
