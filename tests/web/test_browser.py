"""The explorer in headless Chromium that reaches nothing but this machine, against a small schema."""

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from graph.http.explorer import DIST, explorer_page, explorer_routes

HERE = Path(__file__).resolve().parent
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
SIGN_IN_FIRST = "Sign in first: no key was sent."

MISSING = [
    what
    for what, there in {
        "Chromium (apt-get install chromium)": CHROMIUM,
        "node": shutil.which("node"),
        "playwright-core (npm ci in tests/web)": (HERE / "node_modules" / "playwright-core").is_dir(),
        "web/dist (python3 web/build.py)": (DIST / "index.html").is_file(),
    }.items()
    if not there
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"absent: {', '.join(MISSING)}")


@strawberry.type(description="What one day of calls amounts to.")
class Day:
    calls: int = strawberry.field(description="How many calls were made.")
    success_rate: float = strawberry.field(description="Successful among finished calls, 0 to 1.")
    tokens: int = strawberry.field(description="Tokens used by all calls.")


@strawberry.type(description="The figures of a console's first page.")
class Dashboard:
    today: Day = strawberry.field(description="The day in progress.")


@strawberry.type
class Query:
    @strawberry.field(description="The figures of the first page.")
    def dashboard(self) -> Dashboard:
        return Dashboard(today=Day(calls=4711, success_rate=0.98, tokens=1_234_567))

    @strawberry.field(description="The value of a request header.")
    def header(self, name: str, info: strawberry.Info[Request]) -> str | None:
        return info.context.headers.get(name)


schema = strawberry.Schema(query=Query)


async def answer(request: Request) -> Response:
    if request.cookies.get("session") != "test":
        refusal = {"message": SIGN_IN_FIRST, "extensions": {"code": "UNAUTHENTICATED"}}
        return JSONResponse({"errors": [refusal]})
    body: dict[str, Any] = json.loads(await request.body())
    result = await schema.execute(
        body["query"],
        variable_values=body.get("variables"),
        operation_name=body.get("operationName"),
        context_value=request,
    )
    errors = [error.formatted for error in result.errors or []]
    return JSONResponse({"data": result.data} | ({"errors": errors} if errors else {}))


async def page(request: Request) -> Response:
    return explorer_page(request)


async def sign_in(_request: Request) -> Response:
    response = RedirectResponse("/graphql", 303)
    response.set_cookie("session", "test", httponly=True, samesite="strict")
    return response


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A server on a free port of the loopback address; connections wait in its backlog until it accepts."""
    app = Starlette(
        routes=[
            Route("/graphql", page, methods=["GET"]),
            Route("/graphql", answer, methods=["POST"]),
            Route("/sign-in", sign_in, methods=["GET"]),
            *explorer_routes(),
        ]
    )
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join(30)
    listener.close()
    assert not thread.is_alive()


def browse(url: str, *options: str) -> dict[str, Any]:
    command = ["node", str(HERE / "browser.mjs"), url, *options]
    environment = os.environ | {"CHROMIUM": str(CHROMIUM)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.stdout, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, seen
    return seen


def assert_clean(seen: dict[str, Any]) -> None:
    assert seen["requests"] > 5
    assert {key: seen[key] for key in ("console", "violations", "foreign", "failed")} == {
        "console": [],
        "violations": [],
        "foreign": [],
        "failed": [],
    }


def test_signed_in_reader_sees_docs_and_runs_a_typed_query(address: str) -> None:
    seen = browse(f"{address}/sign-in")
    assert_clean(seen)
    assert "query: Query" in seen["docs"]
    assert "Dashboard" in seen["docs"]
    assert json.loads(seen["response"]) == {
        "data": {"dashboard": {"today": {"calls": 4711, "successRate": 0.98, "tokens": 1_234_567}}}
    }
    assert "successRate" in seen["explorer"]
    assert seen["alert"] == ""
    assert "Execute query" in seen["keys"]["text"]
    assert seen["keys"]["links"] == seen["settings"]["links"] == []


def test_header_of_the_editor_is_sent_and_never_kept(address: str) -> None:
    query, headers = '{ header(name: "authorization") }', '{ "Authorization": "Bearer from-the-editor" }'
    seen = browse(f"{address}/sign-in", "--query", query, "--headers", headers)
    assert_clean(seen)
    assert json.loads(seen["response"]) == {"data": {"header": "Bearer from-the-editor"}}
    assert "Theme" in seen["settings"]["text"]
    assert "Persist headers" not in seen["settings"]["text"]


def test_stranger_is_told_the_servers_own_words(address: str) -> None:
    seen = browse(f"{address}/graphql", "--signed-out")
    assert_clean(seen)
    assert seen["alert"] == SIGN_IN_FIRST


def test_policy_stops_whatever_gets_into_the_page(address: str) -> None:
    seen = browse(f"{address}/sign-in", "--attack")
    assert seen["attack"] == {
        "inline script": "stopped",
        "text run as code": "stopped",
        "style markup": "stopped",
        "worker of a blob": "stopped",
        "foreign image": "stopped",
        "foreign fetch": "stopped",
        "form": "stopped",
    }
