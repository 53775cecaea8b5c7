"""The address of a database: whether it can be read, how it is shown, and one connection to it.

What stands in an address may be a password, so nothing of one that cannot be read is ever repeated.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict

from db.postgres.connection import options_of
from db.postgres.errors import Unavailable, first_line

_HIGHEST_PORT = 65_535


def problem_of(dsn: str) -> str | None:
    """Why no connection can be made to an address, whatever the network says; None where one may be."""
    try:
        parts = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        return (
            "cannot be read as a PostgreSQL address such as postgresql://user:password@host:5432/database"
            " (in a password / ? # @ : % are written as %2F %3F %23 %40 %3A %25)"
        )
    for port in str(parts.get("port") or "5432").split(","):
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) <= _HIGHEST_PORT):
            return "names a port that is no number from 1 to 65535 (/ in a password is written as %2F)"
    return None


def shown(dsn: str) -> str:
    """Where a database is, as in `host:5432/name as user`, without a password."""
    parts = conninfo_to_dict(dsn)
    host = parts.get("hostaddr") or parts.get("host") or "the local socket"
    port = f":{parts['port']}" if parts.get("port") else ""
    name = parts.get("dbname") or parts.get("user") or "the user's database"
    user = f" as {parts['user']}" if parts.get("user") else ""
    return f"{host}{port}/{name}{user}"


@asynccontextmanager
async def connected(dsn: str, *, seconds: float, purpose: str) -> AsyncGenerator[AsyncConnection[Any], None]:
    """A connection of its own in autocommit, for what runs beside the pool; nothing is prepared on it.

    Raises Unavailable where the server does not answer within `seconds`.
    """
    try:
        connection = await AsyncConnection.connect(
            dsn,
            autocommit=True,
            prepare_threshold=None,
            client_encoding="utf8",
            **options_of(dsn, connect_seconds=seconds, application_name=f"runglass {purpose}"),
        )
    except psycopg.OperationalError as error:
        raise Unavailable(f"the database at {shown(dsn)} cannot be reached: {first_line(error)}") from error
    async with connection:
        yield connection
