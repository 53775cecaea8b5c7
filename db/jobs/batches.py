"""Batches: calls that an operator may start after seeing what they cost.

Tables: runglass.batches, and biz.ai_trigger_jobs for the jobs of a confirmed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from db.postgres.pool import Connection, fetch_all, fetch_count, fetch_one
from db.sql.conditions import CREATED_RANGE, conditions_of
from db.sql.keyset import LEAST_UUID, Page, PageRequest, keyset, page_of, within
from db.sql.scope import EVERY_SITE, Scope, SiteStatement


class BatchRow(NamedTuple):
    """A batch without its member ids, which may be very many.

    `app_estimates` holds one object per app, as `resolvers.usage.estimates.estimate_apps` makes it.
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
    started_at: datetime | None
    finished_at: datetime | None
    cancelled_by: str | None
    retry_of_id: UUID | None
    # The final counts; None until the last job has ended.
    jobs_succeeded: int | None
    jobs_failed: int | None
    tokens_used: int | None


class BatchCountsRow(NamedTuple):
    """How many jobs of a batch are in which state, and the tokens of those that have ended."""

    id: UUID
    pending: int
    running: int
    succeeded: int
    failed: int
    tokens_used: int


@dataclass(frozen=True, slots=True)
class BatchFilter:
    """Conditions on batches, all of which must hold. Times are half-open: from <= created_at < to."""

    statuses: tuple[str, ...] | None = None
    created_by: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


BATCH_COLUMNS: LiteralString = """
    id, site_id, app_types, cardinality(member_ids), status, status = 'estimated' AND expires_at <= now(),
    estimated_calls, estimated_tokens, app_estimates, created_by, created_at, expires_at,
    confirmed_by, confirmed_at, started_at, finished_at, cancelled_by, retry_of_id,
    jobs_succeeded, jobs_failed, tokens_used"""

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
    SELECT new.site_id, %(app_types)s::text[], %(member_ids)s::text[], %(estimated_calls)s,
        %(estimated_tokens)s, %(app_estimates)s, %(created_by)s, now() + %(lifetime)s * interval '1 second'
    FROM (SELECT %(site_id)s::text AS site_id) AS new
    WHERE {{scope}}
    RETURNING {BATCH_COLUMNS}""",
    column="new.site_id",
)

CONFIRM_BATCH = SiteStatement(
    f"""
    UPDATE runglass.batches SET status = 'confirmed', confirmed_by = %(actor)s, confirmed_at = now()
    WHERE id = %(id)s AND status = 'estimated' AND {{scope}}
    RETURNING {BATCH_COLUMNS}"""
)

INSERT_BATCH_JOBS = SiteStatement(
    """
    INSERT INTO biz.ai_trigger_jobs (
        site_id, event_type, connector_type, member_id, payload, app_chain, is_forced, status, batch_id,
        attempt, created_at, reserved_tokens
    )
    SELECT runglass.as_site_id(batch.site_id), 'batch', 'batch', runglass.as_member_id(member.id),
        '{}'::jsonb, runglass.app_chain(ARRAY[app.app_type]), false, 'pending', batch.id, 1, now(),
        jsonb_build_object(app.app_type, app.mean_tokens)
    FROM runglass.batches AS batch
    CROSS JOIN unnest(batch.member_ids) AS member(id)
    CROSS JOIN jsonb_to_recordset(batch.app_estimates) AS app(app_type text, mean_tokens float8)
    WHERE batch.id = %(id)s AND {scope}""",
    column="batch.site_id",
)

# Reads the index of a batch's jobs alone. Jobs that were stopped or skipped count as failed.
COUNT_BATCH_JOBS = SiteStatement(
    """
    SELECT batch.id, jobs.* FROM unnest(%(ids)s::uuid[]) AS batch(id) CROSS JOIN LATERAL (
        SELECT
            count(*) FILTER (WHERE status = 'pending'),
            count(*) FILTER (WHERE status = 'running'),
            count(*) FILTER (WHERE status = 'success'),
            count(*) FILTER (WHERE status NOT IN ('pending', 'running', 'success')),
            coalesce(sum(tokens_used), 0)::bigint
        FROM biz.ai_trigger_jobs WHERE batch_id = batch.id AND {scope}
    ) AS jobs"""
)

# The later of two last jobs sees that both have ended, because each looks after its own commit. This is asked
# very often: so it looks into the queue first, then from the last job backward, where unfinished ones are.
SETTLE_BATCHES = SiteStatement(
    """
    WITH ended AS MATERIALIZED (
        SELECT id FROM runglass.batches
        WHERE status IN ('confirmed', 'running', 'cancelled') AND finished_at IS NULL AND {scope}
          AND CASE
            WHEN EXISTS (SELECT FROM runglass.job_queue AS queue WHERE queue.batch_id = batches.id) THEN false
            ELSE (
                SELECT true FROM biz.ai_trigger_jobs AS job
                WHERE job.batch_id = batches.id AND job.status IN ('pending', 'running')
                ORDER BY job.created_at DESC, job.id DESC LIMIT 1
            ) IS NULL
          END
        FOR UPDATE SKIP LOCKED
    ), counted AS (
        SELECT ended.id,
            count(*) FILTER (WHERE status = 'success') AS succeeded,
            count(*) FILTER (WHERE status <> 'success') AS failed,
            coalesce(sum(tokens_used), 0) AS tokens
        FROM ended JOIN biz.ai_trigger_jobs AS job ON job.batch_id = ended.id GROUP BY ended.id
    )
    UPDATE runglass.batches AS batch SET
        status = CASE
            WHEN batch.status = 'cancelled' THEN 'cancelled'
            WHEN failed > 0 THEN 'completed_with_failures'
            ELSE 'completed'
        END,
        finished_at = now(), jobs_succeeded = succeeded, jobs_failed = failed, tokens_used = tokens
    FROM counted WHERE batch.id = counted.id"""
)

CANCEL_BATCH = SiteStatement(
    f"""
    UPDATE runglass.batches SET status = 'cancelled', cancelled_by = %(actor)s,
        finished_at = CASE WHEN status = 'estimated' THEN now() END
    WHERE id = %(id)s AND status IN ('estimated', 'confirmed', 'running') AND {{scope}}
    RETURNING {BATCH_COLUMNS}"""
)

CANCEL_PENDING_JOBS = SiteStatement(
    """
    UPDATE biz.ai_trigger_jobs SET status = 'cancelled', error_message = %(reason)s, finished_at = now()
    WHERE batch_id = %(id)s AND status = 'pending' AND {scope}"""
)

_FRAGMENTS: dict[str, LiteralString] = {"created_by": "created_by = %(created_by)s", **CREATED_RANGE}

# Expired is an estimate whose time is up; nobody writes that down.
_STATUS_CONDITIONS: dict[str, LiteralString] = {
    "estimated": "(status = 'estimated' AND expires_at > now())",
    "expired": "(status = 'estimated' AND expires_at <= now())",
    "confirmed": "status = 'confirmed'",
    "running": "status = 'running'",
    "completed": "status = 'completed'",
    "completed_with_failures": "status = 'completed_with_failures'",
    "cancelled": "status = 'cancelled'",
}


def _conditions(filters: BatchFilter) -> tuple[LiteralString, dict[str, Any]]:
    sql, values = conditions_of(filters, _FRAGMENTS)
    if filters.statuses is not None:
        alternatives: list[LiteralString] = [
            condition for word, condition in _STATUS_CONDITIONS.items() if word in filters.statuses
        ]
        sql += " AND (" + " OR ".join(alternatives or ["FALSE"]) + ")"
    return sql, values


async def list_batches(
    connection: Connection, *, scope: Scope, filters: BatchFilter, page: PageRequest
) -> Page[BatchRow]:
    """One page of the batches that match."""
    ends, filters = within(page, filters, LEAST_UUID)
    conditions, values = _conditions(filters)
    keys, order, key_values = keyset(ends)
    statement = SiteStatement(
        f"SELECT {BATCH_COLUMNS} FROM runglass.batches WHERE {{scope}}{conditions}{keys}{order}"
    )
    return page_of(page, await fetch_all(connection, BatchRow, statement, scope, values | key_values))


async def count_batches(connection: Connection, *, scope: Scope, filters: BatchFilter, limit: int) -> int:
    """How many batches match, counted no further than `limit`."""
    conditions, values = _conditions(filters)
    statement = SiteStatement(
        "SELECT count(*) FROM (SELECT FROM runglass.batches"
        f" WHERE {{scope}}{conditions} LIMIT %(limit)s) AS matching"
    )
    return await fetch_count(connection, statement, scope, values | {"limit": limit})


async def count_batch_jobs(
    connection: Connection, *, scope: Scope, ids: Sequence[UUID]
) -> list[BatchCountsRow]:
    """How far the jobs of these batches have come, in no order."""
    return await fetch_all(connection, BatchCountsRow, COUNT_BATCH_JOBS, scope, {"ids": list(ids)})


async def settle_batches(connection: Connection) -> None:
    """Complete every batch of which no job waits or runs any more, and keep its final counts."""
    await connection.execute(SETTLE_BATCHES.sql(EVERY_SITE))


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


async def cancel_batch(
    connection: Connection, *, scope: Scope, batch_id: UUID, actor: str
) -> BatchRow | None:
    """Mark a batch that has not ended as cancelled; None where it has."""
    return await fetch_one(connection, BatchRow, CANCEL_BATCH, scope, {"id": batch_id, "actor": actor})


async def cancel_pending_jobs(connection: Connection, *, scope: Scope, batch_id: UUID, reason: str) -> int:
    """End the jobs of a batch that wait; gives how many."""
    values = {"id": batch_id, "reason": reason, **scope.parameters()}
    return (await connection.execute(CANCEL_PENDING_JOBS.sql(scope), values)).rowcount
