"""The app of a test, asked by whole HTTP requests."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Any

import httpx
import psycopg

from db.postgres.connection import Connection
from db.postgres.pool import Database
from graph.app import create_app
from graph.settings.config import Settings
from resolvers.access.secrets import new_key

_MUTATION = re.compile(r"\bmutation\b")
_ERROR_ID = re.compile(r'"errorId":"[0-9a-f]+"')
# The statements of the operation under way, and of nothing that runs beside it, such as the upkeep.
of_operation: ContextVar[list[str] | None] = ContextVar("of_operation", default=None)


class CountingConnection(Connection):
    """Counts the statements that an operation runs; asking whether a connection lives is none."""

    async def execute(self, query: Any, *args: Any, **kwargs: Any) -> Any:
        self._count(query)
        return await super().execute(query, *args, **kwargs)

    async def fetch(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
        self._count(sql)
        return await super().fetch(sql, *args, **kwargs)

    def _count(self, query: Any) -> None:
        counted = of_operation.get()
        if counted is not None and query:
            counted.append(query)


class Client:
    """Asks the app by whole HTTP requests, as one caller, from a synchronous test."""

    def __init__(self, runner: asyncio.Runner, client: httpx.AsyncClient, headers: dict[str, str]) -> None:
        self.runner = runner
        self.client = client
        self.headers = headers
        self.asks_twice = False

    async def post(self, query: str, variables: dict[str, Any] | None = None) -> httpx.Response:
        """One request, for tests that send several at once."""
        body = {"query": query, "variables": variables or {}}
        # In ASCII, so that a lone surrogate can be sent, as clients in JavaScript do.
        headers = {"content-type": "application/json", **self.headers}
        return await self.client.post("/graphql", content=json.dumps(body), headers=headers)

    def execute(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer to an operation.

        With `asks_twice` a query is sent twice: the second time that a document comes it is run by the
        compiler, which must answer as the standard executor does, with the members in the same order.
        """
        answer = self.runner.run(self.post(query, variables)).text
        if self.asks_twice and _MUTATION.search(query) is None:
            again = self.runner.run(self.post(query, variables)).text
            assert _ERROR_ID.sub("", again) == _ERROR_ID.sub("", answer)
        return json.loads(answer)

    def data(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of an operation that must have no errors."""
        answer = self.execute(query, variables)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def error(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """The one error of an operation: {"code", "message", …}."""
        answer = self.execute(query, variables)
        assert len(answer.get("errors", [])) == 1, answer
        error = answer["errors"][0]
        return {"message": error["message"], **error["extensions"]}

    def at_once(self, query: str, variables: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The data of the same operation sent several times at once."""

        async def send() -> list[httpx.Response]:
            return await asyncio.gather(*(self.post(query, each) for each in variables))

        return [response.json()["data"] for response in self.runner.run(send())]

    def statements(self, query: str, variables: dict[str, Any] | None = None) -> int:
        """How many statements an operation runs, the second time it is asked."""
        self.data(query, variables)
        response, count = self.counted(self.post(query, variables))
        assert "errors" not in response.json(), response.json()["errors"]
        return count

    def counted(self, request: Awaitable[httpx.Response]) -> tuple[httpx.Response, int]:
        """The answer to a request, and how many statements it ran."""
        response, statements = self.watched(request)
        return response, len(statements)

    def watched(self, request: Awaitable[httpx.Response]) -> tuple[httpx.Response, list[str]]:
        """The answer to a request, and the statements that it ran."""

        async def watch() -> tuple[httpx.Response, list[str]]:
            token = of_operation.set(statements := [])
            try:
                return await request, statements
            finally:
                of_operation.reset(token)

        return self.runner.run(watch())


class Api(Client):
    """The app with its lifespan, asked as an admin of every site who may read texts.

    `as_key` gives callers that may do less; `headers` may be set to none at all.
    """

    def __init__(
        self, dsn: str, connection_class: type[Connection] = CountingConnection, **settings: Any
    ) -> None:
        # Long enough for no statement of a slow test to be one that looks its caller up again.
        settings = {"key_cache_seconds": 60, **settings}
        self.settings = Settings(database_url=dsn, _env_file=None, **settings)
        self.app = create_app(
            self.settings, Database(dsn, self.settings.pool, connection_class=connection_class)
        )
        self._lifespan = self.app.router.lifespan_context(self.app)
        self._clients: list[httpx.AsyncClient] = []
        runner = asyncio.Runner()
        runner.run(self._lifespan.__aenter__())
        super().__init__(runner, self.browser(), signed_in(dsn, name="tests"))

    def close(self) -> None:
        """End the app as a server does."""
        for client in self._clients:
            self.runner.run(client.aclose())
        self.runner.run(self._lifespan.__aexit__(None, None, None))
        self.runner.close()

    def browser(self, base_url: str = "http://runglass", **options: Any) -> httpx.AsyncClient:
        """A client of the app with cookies of its own and no key."""
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        self._clients.append(httpx.AsyncClient(transport=transport, base_url=base_url, **options))
        return self._clients[-1]

    def as_key(
        self,
        *,
        role: str = "viewer",
        sites: list[str] | None = None,
        reads_texts: bool = False,
        name: str = "another",
    ) -> Client:
        """The same app, asked with a new key; `sites` None is every site."""
        dsn = str(self.settings.database_url)
        headers = signed_in(dsn, name=name, role=role, sites=sites, reads_texts=reads_texts)
        client = Client(self.runner, self.client, headers)
        client.asks_twice = self.asks_twice
        return client


def signed_in(
    dsn: str,
    *,
    name: str,
    role: str = "admin",
    sites: list[str] | None = None,
    reads_texts: bool = True,
) -> dict[str, str]:
    secret = new_key()
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO runglass.api_keys"
            " (name, key_hash, key_prefix, role, sites, reads_texts, created_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, 'tests')",
            (name, secret.hash, secret.prefix, role, sites, reads_texts),
        )
    return {"authorization": f"Bearer {secret.text}"}
