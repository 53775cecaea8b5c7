"""What a worker reads and writes while it runs a job.

Every write of an execution is made under its lease on the job (the column holder of runglass.job_queue).
Whoever lost the lease writes nothing more: its worker was taken for dead, or a step outlived the lease.
Tables: runglass.job_queue, runglass.batches, biz.ai_trigger_jobs, biz.ai_run_logs,
runglass.run_external_ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from db.postgres.pool import Connection, fetch_all, fetch_one
from db.sql.scope import Scope, SiteStatement
from db.sql.token_counts import UNKNOWN_TOKENS
from db.worker.queue import leave_queue


class LeaseRow(NamedTuple):
    """A job that this execution holds.

    `was_leased` tells that an earlier execution did not come to its end. `is_ours` is False, and the rest
    of the row without meaning, where somebody else has taken or ended the job.
    """

    app_types: list[str]
    was_leased: bool
    cancel_requested: bool
    is_ours: bool
    event_type: str
    member_id: str | None
    payload: Any
    batch_id: UUID | None
    # The run whose answer is the first app's input, where the job goes on with what another has begun.
    input_run_id: int | None = None
    # How often it was taken from a worker that did not move it.
    rescues: int = 0


class EarlierRunRow(NamedTuple):
    """A call that an earlier execution of the job made."""

    external_id: str
    status: str
    response_text: str | None
    error_message: str | None
    tokens_used: int


class CallRow(NamedTuple):
    """A call of a job: its key, its run, and how that ended."""

    external_id: str
    run_id: int
    status: str


class AnswerRow(NamedTuple):
    """What an app answered."""

    response_text: str | None


# The engine hands its job to one worker, and to another one only when the first has gone; so the id of the
# engine's job is the right to take the lease.
LEASE_JOB = SiteStatement(
    """
    WITH before AS (
        SELECT job_id, holder FROM runglass.job_queue
        WHERE job_id = %(job_id)s AND engine_id = %(engine_id)s FOR UPDATE
    ), lease AS (
        UPDATE runglass.job_queue AS queue SET holder = %(lease_id)s, waits_for = NULL,
            lease_until = now() + %(lease_seconds)s * interval '1 second'
        FROM before WHERE queue.job_id = before.job_id
        RETURNING queue.app_types, before.holder IS NOT NULL AS was_leased, queue.cancel_requested,
            queue.rescues
    ), job AS (
        UPDATE biz.ai_trigger_jobs
        SET status = 'running', started_at = coalesce(started_at, now()), reservation_released_at = NULL
        FROM before
        WHERE id = before.job_id
          AND (status = 'pending' OR (status = 'running' AND before.holder IS NOT NULL)) AND {scope}
        RETURNING id, event_type, member_id::text, payload, batch_id, input_run_id
    )
    SELECT app_types, was_leased, cancel_requested, job.id IS NOT NULL, event_type, member_id, payload,
        batch_id, input_run_id, rescues
    FROM lease LEFT JOIN job ON true"""
)

CHECK_LEASE: LiteralString = """
SELECT cancel_requested FROM runglass.job_queue
WHERE job_id = %(job_id)s AND holder = %(lease_id)s FOR UPDATE"""

RENEW_LEASE: LiteralString = """
UPDATE runglass.job_queue SET lease_until = now() + %(lease_seconds)s * interval '1 second'
WHERE job_id = %(job_id)s"""

END_JOB = SiteStatement(
    """
    UPDATE biz.ai_trigger_jobs
    SET status = %(status)s, error_message = %(error)s, tokens_used = %(tokens)s, finished_at = now()
    WHERE id = %(job_id)s AND {scope}"""
)

LIST_EARLIER_RUNS = SiteStatement(
    """
    SELECT external_id, status, response_text, error_message, coalesce(runglass.whole_number(tokens_used), 0)
    FROM biz.ai_run_logs
    WHERE trigger_job_id = %(job_id)s AND external_id = ANY(%(external_ids)s) AND {scope}"""
)

LIST_CALLS = SiteStatement(
    """
    SELECT external_id, id, status FROM biz.ai_run_logs
    WHERE trigger_job_id = ANY(%(job_ids)s) AND external_id = ANY(%(external_ids)s) AND {scope}"""
)

GET_ANSWER = SiteStatement("SELECT response_text FROM biz.ai_run_logs WHERE id = %(run_id)s AND {scope}")

# The same call again, after a crash, finds its row by its external id. The values take the types of the
# table's own columns, which an adopted one may have chosen otherwise.
START_RUN = SiteStatement(
    f"""
    WITH known AS (
        SELECT run_id FROM runglass.run_external_ids
        WHERE site_id = %(site_id)s AND external_id = %(external_id)s
    ), added AS (
        INSERT INTO biz.ai_run_logs (
            site_id, app_type, trigger_type, member_id, tokens_used, status, error_message, external_id,
            trigger_job_id, created_at, finished_at
        )
        SELECT site_id, app_type, trigger_type, member_id, {UNKNOWN_TOKENS}, status, error_message,
            external_id, trigger_job_id, now(), CASE WHEN status <> 'running' THEN now() END
        FROM jsonb_populate_record(NULL::biz.ai_run_logs, %(run)s)
        WHERE NOT EXISTS (SELECT FROM known) AND {{scope}}
        RETURNING id, created_at
    ), claimed AS (
        INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
        SELECT %(site_id)s, %(external_id)s, id, created_at FROM added
    )
    SELECT id, created_at FROM added"""
)

FINISH_RUN = SiteStatement(
    f"""
    UPDATE biz.ai_run_logs AS run SET
        status = %(status)s, tokens_used = coalesce(%(tokens)s, {UNKNOWN_TOKENS}),
        prompt_tokens = %(prompt_tokens)s,
        completion_tokens = %(completion_tokens)s, model = %(model)s, response_text = %(response)s,
        latency_ms = %(latency_ms)s, error_message = %(error)s, finished_at = now()
    FROM runglass.run_external_ids AS ids
    WHERE ids.site_id = %(site_id)s AND ids.external_id = %(external_id)s
      AND run.id = ids.run_id AND run.created_at = ids.created_at AND {{scope}}""",
    column="run.site_id",
)

FAIL_OPEN_RUNS = SiteStatement(
    """
    UPDATE biz.ai_run_logs SET status = 'failed', error_message = %(reason)s, finished_at = now()
    WHERE trigger_job_id = ANY(%(job_ids)s) AND status IN ('pending', 'running') AND {scope}"""
)

START_BATCH = SiteStatement(
    """
    UPDATE runglass.batches SET status = 'running', started_at = now()
    WHERE id = %(batch_id)s AND status = 'confirmed' AND {scope}"""
)


async def lease_job(
    connection: Connection, *, scope: Scope, job_id: int, engine_id: int, lease_id: UUID, lease_seconds: float
) -> LeaseRow | None:
    """Lease a job and mark it as running; None where it has left the queue or got another engine's job."""
    values = {"job_id": job_id, "engine_id": engine_id, "lease_id": lease_id, "lease_seconds": lease_seconds}
    return await fetch_one(connection, LeaseRow, LEASE_JOB, scope, values)


class LeaseCheck:
    """Whether an execution still holds its job, asked now and read later. The lease is locked meanwhile."""

    def __init__(self, cursor: AsyncCursor[TupleRow]) -> None:
        self._cursor = cursor

    async def cancelled(self) -> bool | None:
        """None where the lease is lost; else whether the job should stop."""
        row = await self._cursor.fetchone()
        return None if row is None else bool(row[0])


async def check_lease(connection: Connection, *, job_id: int, lease_id: UUID) -> LeaseCheck:
    """Ask for the lease, within the transaction whose writes depend on it."""
    return LeaseCheck(await connection.execute(CHECK_LEASE, {"job_id": job_id, "lease_id": lease_id}))


async def fail_open_runs(
    connection: Connection, *, scope: Scope, job_ids: Sequence[int], reason: str
) -> None:
    """End the calls of these jobs that have no answer yet as failed."""
    values = {"job_ids": list(job_ids), "reason": reason, **scope.parameters()}
    await connection.execute(FAIL_OPEN_RUNS.sql(scope), values)


async def renew_lease(connection: Connection, *, job_id: int, lease_seconds: float) -> None:
    """Say how long the next step of an execution may take. Only under its lease."""
    await connection.execute(RENEW_LEASE, {"job_id": job_id, "lease_seconds": lease_seconds})


async def end_job(
    connection: Connection, *, scope: Scope, job_id: int, status: str, error: str | None, tokens: int
) -> None:
    """Write how a job ended, and take it out of the queue."""
    values = {"job_id": job_id, "status": status, "error": error, "tokens": tokens}
    await connection.execute(END_JOB.sql(scope), {**values, **scope.parameters()})
    await leave_queue(connection, job_id=job_id)


async def start_batch(connection: Connection, *, scope: Scope, batch_id: UUID) -> None:
    """Mark a confirmed batch as running."""
    await connection.execute(START_BATCH.sql(scope), {"batch_id": batch_id, **scope.parameters()})


async def list_earlier_runs(
    connection: Connection, *, scope: Scope, job_id: int, external_ids: Sequence[str]
) -> list[EarlierRunRow]:
    """The calls of earlier executions of a job among these, in no order."""
    values = {"job_id": job_id, "external_ids": list(external_ids)}
    return await fetch_all(connection, EarlierRunRow, LIST_EARLIER_RUNS, scope, values)


async def list_calls(
    connection: Connection, *, scope: Scope, job_ids: Sequence[int], external_ids: Sequence[str]
) -> list[CallRow]:
    """The calls of these jobs that have one of these keys, in no order."""
    values = {"job_ids": list(job_ids), "external_ids": list(external_ids)}
    return await fetch_all(connection, CallRow, LIST_CALLS, scope, values)


async def get_answer(connection: Connection, *, scope: Scope, run_id: int) -> AnswerRow | None:
    """What an app answered in a run; None where there is no such run any more."""
    return await fetch_one(connection, AnswerRow, GET_ANSWER, scope, {"run_id": run_id})


class RunStart:
    """The row of a call that is being added, asked for now and read later."""

    def __init__(self, cursor: AsyncCursor[TupleRow]) -> None:
        self._cursor = cursor

    async def run(self) -> tuple[int, datetime] | None:
        """Its id and time of creation; None where the same call had one."""
        row = await self._cursor.fetchone()
        return None if row is None else (row[0], row[1])


async def start_run(connection: Connection, *, scope: Scope, run: dict[str, Any]) -> RunStart:
    """Add the row of a call, unless the same call has one.

    `run` has the table's column names, among them site_id, external_id and status.
    """
    values = {"run": Jsonb(run), "site_id": run["site_id"], "external_id": run["external_id"]}
    return RunStart(await connection.execute(START_RUN.sql(scope), {**values, **scope.parameters()}))


async def finish_run(connection: Connection, *, scope: Scope, values: dict[str, Any]) -> None:
    """Write what came of a call. `values` are the parameters of `FINISH_RUN`."""
    await connection.execute(FINISH_RUN.sql(scope), {**values, **scope.parameters()})
