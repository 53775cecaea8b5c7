"""What tests share: an embedded server, a database of its own for each test, and whole requests."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from db.embedded import server as embedded
from db.migrations.runner import apply_migrations
from db.postgres.connection import Connection
from db.postgres.pool import Database
from graph.app import create_app
from graph.settings.config import Settings
from resolvers.access.secrets import new_key

pytest_plugins = ("tests.pooler",)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def server_dsn() -> Iterator[Callable[[str], str]]:
    """Gives the address of a database by name, on a server of the test session.

    TEST_DATABASE_URL names another server, as `.ci/run` does for Debian's; its role must be a superuser.
    """
    if url := os.environ.get("TEST_DATABASE_URL"):
        _end_forgotten_transactions(url)
        yield lambda name: psycopg.conninfo.make_conninfo(url, dbname=name)
        return
    folder = Path(tempfile.mkdtemp(prefix="runglass-tests-", dir=_roomy_folder()))
    folder.chmod(0o755)
    try:
        with embedded.start(folder, durable=False) as server:
            _end_forgotten_transactions(server.dsn("postgres"))
            yield server.dsn
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_forgotten_transactions(dsn: str) -> None:
    """An app of a test stands still between requests, perhaps within a transaction of its upkeep.

    Who changes a table meanwhile would wait for it until the test's time is over.
    """
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER ROLE CURRENT_USER SET idle_in_transaction_session_timeout = '30s'")


def _roomy_folder() -> str:
    """Where databases are cloned: in memory where there is room, as that takes a twentieth of the time.

    Not pytest's own folder, which is closed to the account as which root runs the server.
    """
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 4 * 2**30:
        return str(memory)
    return "/var/tmp"


@pytest.fixture(scope="session")
def template(server_dsn: Callable[[str], str]) -> Iterator[str]:
    """A migrated database to clone; cloning takes a tenth of migrating."""
    name = f"template_{os.getpid()}"
    with _database(server_dsn, name):
        asyncio.run(apply_migrations(server_dsn(name)))
        with psycopg.connect(server_dsn(name)) as connection:
            # Its clones would be taken for copies of an installation, whose workers wait.
            connection.execute("UPDATE runglass.installation SET database_identity = NULL")
        yield name


@pytest.fixture
def dsn(server_dsn: Callable[[str], str], template: str) -> Iterator[str]:
    """The address of a fresh, migrated, empty database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with _database(server_dsn, name, template):
        yield server_dsn(name)


@pytest.fixture
def empty_dsn(server_dsn: Callable[[str], str]) -> Iterator[str]:
    """The address of a fresh database without migrations."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with _database(server_dsn, name):
        yield server_dsn(name)


@contextlib.contextmanager
def _database(server_dsn: Callable[[str], str], name: str, template: str = "template1") -> Iterator[None]:
    with psycopg.connect(server_dsn("postgres"), autocommit=True) as admin:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        # Copying the files takes a third of writing them to the log; PostgreSQL 14 does nothing else.
        admin.execute(create + sql.SQL(" STRATEGY file_copy" if admin.info.server_version >= 150_000 else ""))
        try:
            yield
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class Store:
    """The test's own hand on the database, beside the app."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.connection.execute("SET TimeZone = 'UTC'")

    def rows(self, statement: str, parameters: Any = None) -> list[dict[str, Any]]:
        """The rows of a statement."""
        cursor = self.connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, parameters: Any = None) -> Any:
        """The first column of the first row."""
        return next(iter(self.rows(statement, parameters)[0].values()))

    def add(self, table: str, **values: Any) -> int:
        """Add a row and give its id; dicts and lists for jsonb columns come as `Jsonb`."""
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        marks = sql.SQL(", ").join(sql.Placeholder() * len(values))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
            sql.Identifier(*table.split(".")), names, marks
        )
        cursor = self.connection.execute(statement, list(values.values()))
        return cursor.fetchone()["id"]

    def run(self, **values: Any) -> int:
        """Add a run log: a success of `chat` at site `berlin`, unless told otherwise."""
        defaults = {"site_id": "berlin", "app_type": "chat", "status": "success", "tokens_used": 100}
        return self.add("biz.ai_run_logs", **(defaults | values))

    def job(self, **values: Any) -> int:
        """Add a job: a failed `order_created` at site `berlin`, unless told otherwise."""
        defaults = {
            "site_id": "berlin",
            "event_type": "order_created",
            "status": "failed",
            "payload": Jsonb({"order": 1}),
            "app_chain": ["chat"],
        }
        return self.add("biz.ai_trigger_jobs", **(defaults | values))

    def cache(self, **values: Any) -> int:
        """Add a valid cache entry of `chat` for member `m1` at site `berlin`, unless told otherwise."""
        defaults = {
            "site_id": "berlin",
            "cache_type": "chat",
            "target_id": "m1",
            "result": Jsonb({"text": "hi"}),
        }
        return self.add("biz.ai_cache", **(defaults | values))

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """Every row that a mutation may touch, to prove that a refusal changed nothing."""
        tables = (
            "biz.ai_run_logs",
            "biz.ai_trigger_jobs",
            "biz.ai_cache",
            "runglass.batches",
            "runglass.run_external_ids",
            "runglass.audit_log",
            "runglass.budgets",
        )
        # What a refused change to a key must leave as it was; last_used_at changes by use.
        keys = "SELECT id, revoked_at, revoked_by, sites, role FROM runglass.api_keys ORDER BY id"
        rows = {table: self.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}
        return rows | {"runglass.api_keys": self.rows(keys)}


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    """Direct access to the test's database."""
    store = Store(dsn)
    yield store
    store.connection.close()


@pytest.fixture(scope="module")
def module_dsn(server_dsn: Callable[[str], str], template: str) -> Iterator[str]:
    """The address of a fresh, migrated, empty database that the tests of a module share and only read."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with _database(server_dsn, name, template):
        yield server_dsn(name)


@pytest.fixture(scope="module")
def module_store(module_dsn: str) -> Iterator[Store]:
    """Direct access to the module's database."""
    store = Store(module_dsn)
    yield store
    store.connection.close()


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


@pytest.fixture
def api(dsn: str) -> Iterator[Api]:
    """The app on the test's database, called as an admin of every site; queries are asked twice."""
    api = Api(dsn)
    api.asks_twice = True
    yield api
    api.close()


@pytest.fixture(scope="module")
def module_api(module_dsn: str) -> Iterator[Api]:
    """The app on the module's database, called as an admin of every site; queries are asked twice."""
    api = Api(module_dsn)
    api.asks_twice = True
    yield api
    api.close()


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent
