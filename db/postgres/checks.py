"""Questions to the server about itself."""

from __future__ import annotations

from typing import LiteralString, NamedTuple

from db.postgres.address import connected
from db.postgres.pool import Connection, fetch_unscoped

# What docs/roles.md grants; what is ours is looked up, so that nothing of a later migration is forgotten.
MISSING_PRIVILEGES: LiteralString = """
WITH ours AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname IN ('biz', 'runglass', 'procrastinate')
), needed (object, privilege, is_granted) AS (
    SELECT 'schema ' || nspname, 'usage', has_schema_privilege(oid, 'USAGE') FROM ours
    UNION ALL
    SELECT format('%%s.%%s', nspname, relname), lower(privilege), has_table_privilege(pg_class.oid, privilege)
    FROM pg_class JOIN ours ON ours.oid = relnamespace
    CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS privilege
    WHERE relkind IN ('r', 'p') AND CASE
        WHEN nspname = 'biz' THEN
            relname IN ('ai_run_logs', 'ai_trigger_jobs', 'ai_cache') AND privilege <> 'DELETE'
        WHEN relname IN ('migrations', 'engine_migrations') THEN privilege = 'SELECT'
        WHEN relname = 'audit_log' THEN privilege IN ('SELECT', 'INSERT')
        ELSE true END
    UNION ALL
    -- An identity's sequence needs no right of its own.
    SELECT format('%%s.%%s', nspname, relname), 'usage',
        CASE relkind WHEN 'S' THEN has_sequence_privilege(pg_class.oid, 'USAGE') END
    FROM pg_class JOIN ours ON ours.oid = relnamespace
    WHERE relkind = 'S' AND NOT EXISTS (
        SELECT FROM pg_depend WHERE objid = pg_class.oid AND classid = 'pg_class'::regclass AND deptype = 'i'
    ) AND (nspname <> 'biz' OR EXISTS (
        SELECT FROM pg_depend JOIN pg_class AS owner ON owner.oid = refobjid
        WHERE objid = pg_class.oid AND classid = 'pg_class'::regclass AND deptype = 'a'
            AND owner.relname IN ('ai_run_logs', 'ai_trigger_jobs', 'ai_cache')
    ))
    UNION ALL
    SELECT format('%%s.%%s', nspname, proname), 'execute', has_function_privilege(pg_proc.oid, 'EXECUTE')
    FROM pg_proc JOIN ours ON ours.oid = pronamespace WHERE nspname <> 'biz'
)
SELECT string_agg(privilege, ', ' ORDER BY privilege) || ' ' || object
FROM needed WHERE NOT is_granted GROUP BY object ORDER BY object
"""

# Partitions and triggers are made with the rights of the role that owns these functions.
MISSING_OWNERSHIPS: LiteralString = """
SELECT DISTINCT format('%%s, which migrated, %%s', rolname, lack)
FROM pg_proc JOIN pg_roles ON pg_roles.oid = proowner
CROSS JOIN LATERAL (
    SELECT 'may not create in the schema biz' WHERE NOT has_schema_privilege(proowner, 'biz', 'CREATE')
    UNION ALL
    SELECT format('does not own %%s', pg_class.oid::regclass) FROM pg_class
    WHERE pg_class.oid = 'biz.ai_run_logs'::regclass AND NOT pg_has_role(proowner, relowner, 'USAGE')
) AS lacking (lack)
WHERE pg_proc.oid = 'runglass.ensure_run_log_partitions(date, date)'::regprocedure
ORDER BY 1
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
    (row,) = await fetch_unscoped(connection, _Answer, TAKES_CHANGES)
    return row.is_yes


async def server_version(connection: Connection) -> int:
    """The server's version as a number, such as 180004."""
    return connection.info.server_version


async def missing_privileges(dsn: str, *, seconds: float) -> list[str]:
    """What the role would have to be granted, such as `insert, select biz.ai_run_logs`.

    Raises Unavailable where the server does not answer within `seconds`.
    """
    # Not by the pool, none of whose connections comes up without a right to our schema.
    async with connected(dsn, seconds=seconds, purpose="check") as connection:
        cursor = await connection.execute(MISSING_PRIVILEGES, {})
        return [text for (text,) in await cursor.fetchall()]


async def missing_ownerships(connection: Connection) -> list[str]:
    """Why partitions and triggers cannot be made, whoever asks for them."""
    return [row.text for row in await fetch_unscoped(connection, _Privilege, MISSING_OWNERSHIPS)]
