"""The failed part of a batch, and the batch that repeats it.

Tables: runglass.batches, biz.ai_trigger_jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from db.jobs.batches import BATCH_COLUMNS, BatchRow
from db.postgres.pool import Connection, fetch_all, fetch_count, fetch_one
from db.sql.scope import Scope, SiteStatement


class FailedAppRow(NamedTuple):
    """What of a batch has failed at one app, or before it came to that app."""

    app_type: str
    calls: int


HAS_UNFINISHED_RETRY = SiteStatement(
    """
    SELECT count(*) FROM runglass.batches
    WHERE retry_of_id = %(id)s AND status IN ('confirmed', 'running') AND {scope}"""
)

# What has been retried since, by one retry or several in a line, with success or not yet ended, is left out.
_FAILED_JOBS: LiteralString = """
    FROM biz.ai_trigger_jobs AS job
    WHERE job.batch_id = %(id)s AND job.status IN ('failed', 'cancelled') AND NOT EXISTS (
        SELECT FROM biz.ai_trigger_jobs AS retry
        WHERE retry.retry_of_id = job.id AND retry.site_id = job.site_id AND (
            retry.status IN ('pending', 'running', 'success') OR EXISTS (
                WITH RECURSIVE line AS (
                    SELECT retry.id, retry.status
                    UNION
                    SELECT next.id, next.status FROM line
                    JOIN biz.ai_trigger_jobs AS next ON next.retry_of_id = line.id
                    WHERE next.site_id = job.site_id
                )
                SELECT FROM line WHERE status IN ('pending', 'running', 'success')
            )
        )
    ) AND {scope}"""

# Very many jobs have very few chains, which take long to read: each is read once.
FAILED_PART = SiteStatement(
    f"""
    SELECT app.name, sum(failed.jobs)::integer
    FROM (
        SELECT runglass.readable_json(job.app_chain) AS chain, count(*) AS jobs {_FAILED_JOBS} GROUP BY 1
    ) AS failed CROSS JOIN LATERAL unnest(runglass.chain_apps(failed.chain)) AS app(name)
    GROUP BY app.name ORDER BY app.name""",
    column="job.site_id",
)

INSERT_RETRY_BATCH = SiteStatement(
    f"""
    INSERT INTO runglass.batches (
        site_id, app_types, member_ids, status, estimated_calls, estimated_tokens, app_estimates, created_by,
        expires_at, confirmed_by, confirmed_at, retry_of_id
    )
    SELECT site_id, %(app_types)s::text[], ARRAY(
            SELECT DISTINCT job.member_id::text {_FAILED_JOBS} AND job.member_id IS NOT NULL ORDER BY 1
        ), 'confirmed', %(calls)s, %(tokens)s, %(estimates)s, %(actor)s, now(), %(actor)s, now(), id
    FROM runglass.batches WHERE id = %(id)s AND {{own_scope}}
    RETURNING {BATCH_COLUMNS}""",
    column="job.site_id",
)

INSERT_RETRY_JOBS = SiteStatement(
    f"""
    WITH reservation AS MATERIALIZED (
        SELECT chain, (
            SELECT jsonb_object_agg(app.app_type, app.mean_tokens)
            FROM jsonb_to_recordset(%(estimates)s) AS app(app_type text, mean_tokens float8)
            WHERE app.app_type = ANY(runglass.chain_apps(chain))
        ) AS tokens
        FROM (
            SELECT DISTINCT runglass.readable_json(job.app_chain) AS chain FROM biz.ai_trigger_jobs AS job
            WHERE job.batch_id = %(id)s AND {{scope}}
        ) AS chains
    ), failed AS (
        SELECT job.*, runglass.readable_json(job.app_chain) AS chain {_FAILED_JOBS}
    )
    INSERT INTO biz.ai_trigger_jobs (
        site_id, event_type, connector_type, member_id, payload, app_chain, is_forced, status, batch_id,
        retry_of_id, attempt, created_at, reserved_tokens
    )
    SELECT site_id, event_type, connector_type, member_id, payload, app_chain, true, 'pending', %(new_id)s,
        id, coalesce(attempt, 1) + 1, now(), reservation.tokens
    FROM failed LEFT JOIN reservation USING (chain)""",
    column="job.site_id",
)


async def has_unfinished_retry(connection: Connection, *, scope: Scope, batch_id: UUID) -> bool:
    """Whether another batch that repeats this one's failed part has not ended."""
    return await fetch_count(connection, HAS_UNFINISHED_RETRY, scope, {"id": batch_id}) > 0


async def failed_part(connection: Connection, *, scope: Scope, batch_id: UUID) -> list[FailedAppRow]:
    """The calls of a batch whose jobs failed or were cancelled and have not been retried, app by app."""
    return await fetch_all(connection, FailedAppRow, FAILED_PART, scope, {"id": batch_id})


async def insert_retry_batch(
    connection: Connection,
    *,
    scope: Scope,
    batch_id: UUID,
    app_types: Sequence[str],
    estimated_tokens: int,
    app_estimates: Sequence[dict[str, Any]],
    actor: str,
) -> BatchRow | None:
    """Add a confirmed batch for the failed part of another, with its jobs and what they reserve."""
    values = {
        "id": batch_id,
        "app_types": list(app_types),
        "calls": sum(app["calls"] for app in app_estimates),
        "tokens": estimated_tokens,
        "estimates": Jsonb(list(app_estimates)),
        "actor": actor,
    }
    batch = await fetch_one(connection, BatchRow, INSERT_RETRY_BATCH, scope, values)
    if batch is not None:
        jobs = {
            "id": batch_id,
            "new_id": batch.id,
            "estimates": values["estimates"],
            **scope.parameters(),
        }
        await connection.execute(INSERT_RETRY_JOBS.sql(scope), jobs)
    return batch
