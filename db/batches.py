"""Batches: calls that an operator may start after seeing what they cost.

Tables: runglass.batches, and biz.ai_trigger_jobs for the jobs of a confirmed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from db.pool import Connection, fetch_all, fetch_one
from db.scope import Scope, SiteStatement


class BatchRow(NamedTuple):
    """A batch without its member ids, which may be very many.

    `app_estimates` holds one object per app: app_type, calls, mean_tokens, sample_size.
    """

    id: UUID
    site_id: str
    app_types: list[str]
    member_count: int
    status: str
    is_expired: bool
    estimated_calls: int
    estimated_tokens: int
    app_estimates: list[dict[str, Any]]
    created_by: str
    created_at: datetime
    expires_at: datetime
    confirmed_by: str | None
    confirmed_at: datetime | None


BATCH_COLUMNS: LiteralString = """
    id, site_id, app_types, cardinality(member_ids), status, status = 'estimated' AND expires_at <= now(),
    estimated_calls, estimated_tokens, app_estimates, created_by, created_at, expires_at,
    confirmed_by, confirmed_at"""

GET_BATCHES = SiteStatement(
    f"SELECT {BATCH_COLUMNS} FROM runglass.batches WHERE id = ANY(%(ids)s) AND {{scope}}"
)

LOCK_BATCH = SiteStatement(
    f"SELECT {BATCH_COLUMNS} FROM runglass.batches WHERE id = %(id)s AND {{scope}} FOR UPDATE"
)

# The site stands in the WHERE clause as well, so that a batch can only be made where the caller may see it.
INSERT_BATCH = SiteStatement(
    f"""
    INSERT INTO runglass.batches (
        site_id, app_types, member_ids, estimated_calls, estimated_tokens, app_estimates, created_by,
        expires_at
    )
    SELECT wanted.site_id, %(app_types)s::text[], %(member_ids)s::text[], %(estimated_calls)s,
        %(estimated_tokens)s, %(app_estimates)s, %(created_by)s, now() + %(lifetime)s * interval '1 second'
    FROM (SELECT %(site_id)s::text AS site_id) AS wanted
    WHERE {{scope}}
    RETURNING {BATCH_COLUMNS}""",
    column="wanted.site_id",
)

CONFIRM_BATCH = SiteStatement(
    f"""
    UPDATE runglass.batches SET status = 'confirmed', confirmed_by = %(actor)s, confirmed_at = now()
    WHERE id = %(id)s AND status = 'estimated' AND {{scope}}
    RETURNING {BATCH_COLUMNS}"""
)

# jsonb_populate_record gives site and member the types of the job table's own columns.
INSERT_BATCH_JOBS = SiteStatement(
    """
    INSERT INTO biz.ai_trigger_jobs (
        site_id, event_type, connector_type, member_id, payload, app_chain, is_forced, status, batch_id,
        attempt, created_at, reserved_tokens
    )
    SELECT typed.site_id, 'batch', 'batch', typed.member_id, '{}'::jsonb,
        runglass.app_chain(ARRAY[app.app_type]), false, 'pending', batch.id, 1, now(),
        jsonb_build_object(app.app_type, app.mean_tokens)
    FROM runglass.batches AS batch
    CROSS JOIN unnest(batch.member_ids) AS member(id)
    CROSS JOIN LATERAL jsonb_populate_record(
        NULL::biz.ai_trigger_jobs, jsonb_build_object('site_id', batch.site_id, 'member_id', member.id)
    ) AS typed
    CROSS JOIN jsonb_to_recordset(batch.app_estimates) AS app(app_type text, mean_tokens float8)
    WHERE batch.id = %(id)s AND {scope}""",
    column="batch.site_id",
)


async def get_batches(connection: Connection, *, scope: Scope, ids: Sequence[UUID]) -> list[BatchRow]:
    """The batches with these ids that lie in the scope, in no order."""
    return await fetch_all(connection, BatchRow, GET_BATCHES, scope, {"ids": list(ids)})


async def insert_batch(
    connection: Connection,
    *,
    scope: Scope,
    site_id: str,
    app_types: Sequence[str],
    member_ids: Sequence[str],
    estimated_tokens: int,
    app_estimates: Sequence[dict[str, Any]],
    actor: str,
    lifetime_seconds: int,
) -> BatchRow | None:
    """Store an estimate that may be confirmed for `lifetime_seconds`; None where the site is out of scope."""
    values = {
        "site_id": site_id,
        "app_types": list(app_types),
        "member_ids": list(member_ids),
        "estimated_calls": len(app_types) * len(member_ids),
        "estimated_tokens": estimated_tokens,
        "app_estimates": Jsonb(list(app_estimates)),
        "created_by": actor,
        "lifetime": lifetime_seconds,
    }
    return await fetch_one(connection, BatchRow, INSERT_BATCH, scope, values)


async def lock_batch(connection: Connection, *, scope: Scope, batch_id: UUID) -> BatchRow | None:
    """The batch, locked until the transaction ends, or None where it is not in the scope."""
    return await fetch_one(connection, BatchRow, LOCK_BATCH, scope, {"id": batch_id})


async def confirm_batch(
    connection: Connection, *, scope: Scope, batch_id: UUID, actor: str
) -> BatchRow | None:
    """Mark an estimated batch as confirmed; None where it was not waiting for that."""
    return await fetch_one(connection, BatchRow, CONFIRM_BATCH, scope, {"id": batch_id, "actor": actor})


async def insert_batch_jobs(connection: Connection, *, scope: Scope, batch_id: UUID) -> int:
    """Add one pending job per app and member of the batch, each with its reservation; gives how many."""
    statement = INSERT_BATCH_JOBS.sql(scope)
    cursor = await connection.execute(statement, {"id": batch_id, **scope.parameters()})
    return cursor.rowcount
