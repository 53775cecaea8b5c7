"""What tests share: an embedded server, a database of its own for each test, and whole requests."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from db.embedded import server as embedded
from db.migrations.runner import apply_migrations
from tests.support.api import Api
from tests.support.databases import cloned_database
from tests.support.store import Store

pytest_plugins = ("tests.support.pooler", "tests.support.workers")

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
    with cloned_database(server_dsn, name):
        asyncio.run(apply_migrations(server_dsn(name)))
        with psycopg.connect(server_dsn(name)) as connection:
            # Its clones would be taken for copies of an installation, whose workers wait.
            connection.execute("UPDATE runglass.installation SET database_identity = NULL")
        yield name


@pytest.fixture
def dsn(server_dsn: Callable[[str], str], template: str) -> Iterator[str]:
    """The address of a fresh, migrated, empty database."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with cloned_database(server_dsn, name, template):
        yield server_dsn(name)


@pytest.fixture
def empty_dsn(server_dsn: Callable[[str], str]) -> Iterator[str]:
    """The address of a fresh database without migrations."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    with cloned_database(server_dsn, name):
        yield server_dsn(name)


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
    with cloned_database(server_dsn, name, template):
        yield server_dsn(name)


@pytest.fixture(scope="module")
def module_store(module_dsn: str) -> Iterator[Store]:
    """Direct access to the module's database."""
    store = Store(module_dsn)
    yield store
    store.connection.close()


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
