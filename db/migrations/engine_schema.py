"""The tables of procrastinate, the job engine, in a schema of their own.

They come from the installed package, so nothing of it is copied here. On a new database the package's whole
schema is applied at once; later its migrations that the database lacks, in the order of their names.
Table: runglass.engine_migrations (name, applied_at).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import LiteralString, cast

import psycopg

from db.migrations.online import Tell, patiently

# Its statements name tables and functions without a schema. Pinning the path on every function lets a
# connection with any other path call them, as the transactions that create jobs do.
_PIN_SEARCH_PATH: LiteralString = """
DO $$
DECLARE
    routine regprocedure;
BEGIN
    FOR routine IN
        SELECT oid FROM pg_proc WHERE pronamespace = 'procrastinate'::regnamespace AND prokind = 'f'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = procrastinate, pg_catalog', routine);
    END LOOP;
END
$$
"""


def engine_migrations() -> list[str]:
    """The names of the migrations of the installed package, oldest first."""
    return sorted(path.stem for path in (_sql_folder() / "migrations").glob("*.sql"))


async def missing_engine_migrations(connection: psycopg.AsyncConnection) -> list[str]:
    """The names of those that this database lacks; all of them on a new one."""
    cursor = await connection.execute("SELECT to_regclass('runglass.engine_migrations')")
    if await cursor.fetchone() == (None,):
        return engine_migrations()
    cursor = await connection.execute("SELECT name FROM runglass.engine_migrations")
    applied = {name for (name,) in await cursor.fetchall()}
    return [name for name in engine_migrations() if name not in applied]


async def apply_engine_schema(connection: psycopg.AsyncConnection, tell: Tell) -> str | None:
    """Install the engine's schema or bring it up to date; gives its version, or None where it was.

    Each step is a transaction with its row in the ledger, which waits for each lock only a moment at a time.
    The caller holds the lock of the migrations. A database that was upgraded by a newer package is left
    alone: the package keeps what older versions call.
    """
    missing = await missing_engine_migrations(connection)
    if missing == engine_migrations():
        await _apply(connection, (_sql_folder() / "schema.sql").read_text(encoding="utf-8"), missing, tell)
    else:
        folder = _sql_folder() / "migrations"
        for name in missing:
            await _apply(connection, (folder / f"{name}.sql").read_text(encoding="utf-8"), [name], tell)
    return missing[-1] if missing else None


def _sql_folder() -> Path:
    """Where the installed package has its files, found without importing it: only workers need more of it."""
    package = find_spec("procrastinate")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("procrastinate is not installed")
    return Path(package.origin).parent / "sql"


async def _apply(connection: psycopg.AsyncConnection, text: str, names: list[str], tell: Tell) -> None:
    async def work() -> None:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS procrastinate")
        await connection.execute("SET LOCAL search_path = procrastinate, pg_catalog")
        await connection.execute("SET LOCAL client_min_messages = warning")
        # Files of an installed package, as trusted as its code.
        await connection.execute(cast(LiteralString, text))
        await connection.execute(_PIN_SEARCH_PATH)
        await connection.execute(
            "INSERT INTO runglass.engine_migrations (name) SELECT unnest(%s::text[])", (names,)
        )

    await patiently(connection, work, tell)
