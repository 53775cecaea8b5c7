"""Where requests go: nowhere that a header names, and through whatever middleware the application has."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from graph.app import create_app
from graph.settings.config import Settings
from tests.support.api import Api

PATHS = (
    "/graphql/",
    "/graphql//",
    "/healthz/",
    "/readyz/",
    "/sign-in/",
    "/graphql/assets/",
    "//evil.example",
)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_the_host_that_the_request_names(module_api: Api, path: str, method: str) -> None:
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "accept": "text/html"}
    reply = module_api.runner.run(
        module_api.client.request(method, f"http://runglass{path}", headers=headers)
    )
    assert reply.status_code == 404
    assert "location" not in reply.headers
    assert "evil" not in reply.text


def test_middleware_applies_to_the_api() -> None:
    app = create_app(Settings(database_url="postgresql://127.0.0.1:1/none", _env_file=None))

    class Marking:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def marked(message: Any) -> None:
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], (b"x-marked", b"yes")]
                await send(message)

            await self.app(scope, receive, marked)

    app.add_middleware(Marking)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            return await client.options("/graphql")

    assert asyncio.run(ask()).headers["x-marked"] == "yes"
