"""Questions to the server about itself."""

from __future__ import annotations

from typing import LiteralString, NamedTuple

from db.postgres.address import connected
from db.postgres.pool import Connection, fetch_plain

MISSING_PRIVILEGES: LiteralString = """
SELECT lower(needed.privilege) || ' ' || needed.relation
FROM (VALUES
    ('biz.ai_run_logs', 'SELECT'), ('biz.ai_run_logs', 'INSERT'), ('biz.ai_run_logs', 'UPDATE'),
    ('biz.ai_trigger_jobs', 'SELECT'), ('biz.ai_trigger_jobs', 'INSERT'), ('biz.ai_trigger_jobs', 'UPDATE'),
    ('biz.ai_cache', 'SELECT'), ('biz.ai_cache', 'UPDATE'),
    ('runglass.batches', 'INSERT'), ('runglass.audit_log', 'INSERT'),
    ('runglass.api_keys', 'INSERT'), ('runglass.api_keys', 'UPDATE'),
    ('runglass.sessions', 'INSERT'), ('runglass.sessions', 'DELETE'),
    ('runglass.sign_in_tokens', 'INSERT'), ('runglass.sign_in_tokens', 'DELETE')
) AS needed(relation, privilege)
WHERE NOT has_table_privilege(needed.relation, needed.privilege)
"""


# A standby says so too.
TAKES_CHANGES: LiteralString = "SELECT current_setting('transaction_read_only') = 'off'"


class _Answer(NamedTuple):
    is_yes: bool


class _Privilege(NamedTuple):
    text: str


async def stands_behind_pooler(dsn: str, *, seconds: float) -> bool:
    """Whether something between us and the database gives its connections to many clients, in any mode.

    Raises Unavailable where the server does not answer within `seconds`.
    """
    async with connected(dsn, seconds=seconds, purpose="check") as connection:
        cursor = await connection.execute("SELECT pg_backend_pid()")
        # A pooler tells its clients a number of its own, by which they can cancel.
        return await cursor.fetchone() != (connection.info.backend_pid,)


async def takes_changes(connection: Connection) -> bool:
    """Whether the database is no standby and not set to be read only."""
    (row,) = await fetch_plain(connection, _Answer, TAKES_CHANGES)
    return row.is_yes


async def server_version(connection: Connection) -> int:
    """The server's version as a number, such as 180004."""
    return connection.info.server_version


async def missing_privileges(connection: Connection) -> list[str]:
    """What the role would have to be granted, such as `insert biz.ai_run_logs`."""
    return [row.text for row in await fetch_plain(connection, _Privilege, MISSING_PRIVILEGES)]
