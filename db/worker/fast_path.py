"""Most jobs in two statements: one starts the job and its first call, one writes its last answer and its end.

A job that was run before, or whose app failed lately, goes step by step through `db.worker.work` instead.
Tables: runglass.job_queue, runglass.app_circuits, runglass.batches, biz.ai_trigger_jobs, biz.ai_run_logs,
runglass.run_external_ids, and procrastinate's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from db.postgres.pool import Connection, fetch_one
from db.sql.scope import Scope, SiteStatement
from db.sql.token_counts import UNKNOWN_TOKENS


class StartedRow(NamedTuple):
    """A job that has been started for the first time, and the row of its first call."""

    app_types: list[str]
    event_type: str
    member_id: str | None
    payload: Any
    batch_id: UUID | None
    run_id: int
    run_created_at: datetime


class FinishedRow(NamedTuple):
    """The job that has ended."""

    job_id: int


# What LEASE_JOB, START_BATCH, CHECK_CIRCUIT and START_RUN of `db.worker.work` do, at once: for a job that
# nobody has run before, whose first app has no failures to its name. Anything else gives no row and changes
# nothing.
START_JOB = SiteStatement(
    f"""
    WITH place AS (
        SELECT job_id, app_types FROM runglass.job_queue
        WHERE job_id = %(job_id)s AND engine_id = %(engine_id)s AND holder IS NULL AND NOT cancel_requested
          AND app_types <> '{{}}' AND app_types <@ %(apps)s::text[]
        FOR UPDATE
    ), job AS (
        UPDATE biz.ai_trigger_jobs AS started
        SET status = 'running', started_at = coalesce(started_at, now()), reservation_released_at = NULL
        FROM place
        WHERE started.id = place.job_id AND status = 'pending' AND input_run_id IS NULL AND {{scope}}
          AND NOT EXISTS (
            SELECT FROM runglass.app_circuits AS circuit WHERE circuit.app_type = place.app_types[1]
        ) AND NOT EXISTS (
            SELECT FROM runglass.run_external_ids AS known
            WHERE known.site_id = %(site_id)s AND known.external_id = %(external_id)s
        )
        RETURNING started.id, event_type, member_id::text AS member, payload, batch_id, place.app_types
    ), lease AS (
        UPDATE runglass.job_queue AS queue SET holder = %(lease_id)s, waits_for = NULL,
            lease_until = now() + interval '1 second'
                * (%(lease_seconds)s::float8[])[array_position(%(apps)s::text[], queue.app_types[1])]
        FROM job WHERE queue.job_id = job.id
    ), batch AS (
        UPDATE runglass.batches AS batch SET status = 'running', started_at = now() FROM job
        WHERE batch.id = job.batch_id AND batch.status = 'confirmed'
    ), run AS (
        INSERT INTO biz.ai_run_logs (
            site_id, app_type, trigger_type, member_id, tokens_used, status, external_id, trigger_job_id,
            created_at
        )
        SELECT made.site_id, made.app_type, made.trigger_type, made.member_id, {UNKNOWN_TOKENS}, 'running',
            made.external_id, made.trigger_job_id, now()
        FROM job CROSS JOIN LATERAL jsonb_populate_record(NULL::biz.ai_run_logs, jsonb_build_object(
            'site_id', %(site_id)s::text, 'app_type', job.app_types[1], 'trigger_type', job.event_type,
            'member_id', job.member, 'external_id', %(external_id)s::text, 'trigger_job_id', job.id
        )) AS made
        RETURNING id, created_at
    ), claimed AS (
        INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
        SELECT %(site_id)s, %(external_id)s, id, created_at FROM run
    )
    SELECT app_types, event_type, member, payload, batch_id, run.id, run.created_at FROM job CROSS JOIN run"""
)

# What CHECK_LEASE, FINISH_RUN and END_JOB of `db.worker.work` and the engine's end of its job do, at once.
# Without the lease it gives no row and changes nothing.
FINISH_JOB = SiteStatement(
    f"""
    WITH lease AS (
        SELECT job_id FROM runglass.job_queue
        WHERE job_id = %(job_id)s AND holder = %(lease_id)s FOR UPDATE
    ), run AS (
        UPDATE biz.ai_run_logs AS run SET
            status = %(status)s, tokens_used = coalesce(%(tokens)s, {UNKNOWN_TOKENS}),
        prompt_tokens = %(prompt_tokens)s,
            completion_tokens = %(completion_tokens)s, model = %(model)s, response_text = %(response)s,
            latency_ms = %(latency_ms)s, error_message = %(error)s, finished_at = now()
        FROM lease
        WHERE run.id = %(run_id)s AND run.created_at = %(run_created_at)s AND {{scope}}
    ), job AS (
        UPDATE biz.ai_trigger_jobs AS job
        SET status = %(job_status)s, error_message = %(job_error)s, tokens_used = %(job_tokens)s,
            finished_at = now()
        FROM lease WHERE job.id = lease.job_id
    ), place AS (
        DELETE FROM runglass.job_queue AS queue USING lease WHERE queue.job_id = lease.job_id
    ), engine AS (
        DELETE FROM procrastinate.procrastinate_jobs AS engine USING lease WHERE engine.id = %(engine_id)s
    )
    SELECT job_id FROM lease""",
    column="run.site_id",
)


async def start_job(
    connection: Connection,
    *,
    scope: Scope,
    target: tuple[int, int, UUID],
    site_id: str,
    external_id: str,
    leases: Mapping[str, float],
) -> StartedRow | None:
    """Start a job (its id, the engine's id of it, and its lease) and its first call; None where not plain.

    `leases` says of each app that this worker can call how many seconds a call of it may take. Without a row
    nothing has changed: see `lease_job`.
    """
    job_id, engine_id, lease_id = target
    values = {
        "job_id": job_id,
        "engine_id": engine_id,
        "lease_id": lease_id,
        "site_id": site_id,
        "external_id": external_id,
        "apps": list(leases),
        "lease_seconds": list(leases.values()),
    }
    return await fetch_one(connection, StartedRow, START_JOB, scope, values)


async def finish_job(connection: Connection, *, scope: Scope, values: dict[str, Any]) -> bool:
    """Write what came of a job's last call and how it ended; False where the lease is lost.

    `values` are the parameters of `FINISH_JOB`. It ends the engine's job as well.
    """
    return await fetch_one(connection, FinishedRow, FINISH_JOB, scope, values) is not None
