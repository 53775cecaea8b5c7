"""The job engine's tables come from its package, once, and are brought up to date."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
from procrastinate.schema import SchemaManager

from db.migrations.engine_schema import engine_migrations
from db.migrations.runner import apply_migrations, migration_state
from tests.support.store import Store

FUNCTIONS = """
SELECT proname, md5(pg_get_functiondef(oid)) AS definition FROM pg_proc
WHERE pronamespace = 'procrastinate'::regnamespace ORDER BY proname, definition
"""


def missing(dsn: str) -> list[str]:
    """What the readiness check finds."""

    async def ask() -> list[str]:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            return (await migration_state(connection)).missing

    return asyncio.run(ask())


def test_the_schema_is_installed_once_and_apart(dsn: str, store: Store) -> None:
    assert asyncio.run(apply_migrations(dsn)) == []
    assert store.value("SELECT count(*) FROM runglass.engine_migrations") == len(engine_migrations())
    assert store.value("SELECT to_regclass('public.procrastinate_jobs')") is None
    assert store.value("SELECT to_regclass('procrastinate.procrastinate_jobs')") is not None
    assert missing(dsn) == []


def test_an_older_schema_is_brought_up_to_date(dsn: str, store: Store) -> None:
    wanted = store.rows(FUNCTIONS)
    older = [name for name in engine_migrations() if name < "03.02"]
    newer = engine_migrations()[len(older) :]
    store.rows("DROP SCHEMA procrastinate CASCADE")
    store.rows("CREATE SCHEMA procrastinate")
    store.rows("SET search_path = procrastinate, pg_catalog")
    for name in older:
        store.rows((Path(SchemaManager.get_migrations_path()) / f"{name}.sql").read_text())
    store.rows("RESET search_path")
    store.rows("DELETE FROM runglass.engine_migrations WHERE name = ANY(%s)", (newer,))
    assert missing(dsn) == [f"procrastinate {name}" for name in newer]

    assert asyncio.run(apply_migrations(dsn)) == [f"procrastinate {newer[-1]}"]

    assert store.rows(FUNCTIONS) == wanted
    assert missing(dsn) == []


def test_a_database_of_a_newer_package_is_left_alone(dsn: str, store: Store) -> None:
    store.rows("INSERT INTO runglass.engine_migrations (name) VALUES ('99.00.00_01_newer')")
    assert asyncio.run(apply_migrations(dsn)) == []
    assert missing(dsn) == []
