"""What a worker reads and writes while it runs a job.

Every write of an execution is made under its hold on the job (`holder` of runglass.job_queue): whoever lost
the hold, because its worker was taken for dead, writes nothing more.
Tables: runglass.job_queue, runglass.app_circuits, runglass.installation, runglass.batches,
biz.ai_trigger_jobs, biz.ai_run_logs, runglass.run_external_ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from db.pool import Connection, fetch_all, fetch_one, fetch_plain
from db.scope import Scope, SiteStatement


class HoldRow(NamedTuple):
    """A job that this execution holds. `was_held` tells that an earlier execution did not come to its end."""

    job_id: int
    site_id: str
    app_types: list[str]
    was_held: bool
    cancel_requested: bool


class RunningJobRow(NamedTuple):
    """What apps are told of a job, and its batch."""

    id: int
    site_id: str
    event_type: str
    member_id: str | None
    payload: Any
    batch_id: UUID | None


class EarlierRunRow(NamedTuple):
    """A call that an earlier execution of the job made."""

    external_id: str
    status: str
    response_text: str | None
    error_message: str | None
    tokens_used: int


class IdRow(NamedTuple):
    """An id alone."""

    id: int


class FlagRow(NamedTuple):
    """A truth value alone."""

    value: bool


class InstallationRow(NamedTuple):
    """This installation."""

    id: UUID


GET_INSTALLATION: LiteralString = "SELECT id FROM runglass.installation"

# The engine hands its job to one worker, and to another one only when the first has gone; so the id of the
# engine's job is the right to take the hold.
TAKE_HOLD: LiteralString = """
WITH before AS (
    SELECT job_id, holder FROM runglass.job_queue
    WHERE job_id = %(job_id)s AND engine_id = %(engine_id)s FOR UPDATE
)
UPDATE runglass.job_queue AS queue SET holder = %(holder)s FROM before
WHERE queue.job_id = before.job_id
RETURNING queue.job_id, queue.site_id, queue.app_types, before.holder IS NOT NULL, queue.cancel_requested"""

CHECK_HOLD: LiteralString = """
SELECT cancel_requested FROM runglass.job_queue
WHERE job_id = %(job_id)s AND holder = %(holder)s FOR UPDATE"""

LEAVE_QUEUE: LiteralString = "DELETE FROM runglass.job_queue WHERE job_id = %(job_id)s"

START_JOB = SiteStatement(
    """
    UPDATE biz.ai_trigger_jobs SET status = 'running', started_at = coalesce(started_at, now())
    WHERE id = %(job_id)s AND (status = 'pending' OR (status = 'running' AND %(was_held)s)) AND {scope}
    RETURNING id, site_id::text, event_type, member_id::text, payload, batch_id"""
)

END_JOB = SiteStatement(
    """
    UPDATE biz.ai_trigger_jobs
    SET status = %(status)s, error_message = %(error)s, tokens_used = %(tokens)s, finished_at = now()
    WHERE id = %(job_id)s AND {scope}"""
)

LIST_EARLIER_RUNS = SiteStatement(
    """
    SELECT external_id, status, response_text, error_message, coalesce(tokens_used, 0)
    FROM biz.ai_run_logs
    WHERE trigger_job_id = %(job_id)s AND external_id = ANY(%(external_ids)s) AND {scope}"""
)

# The same call again, after a crash, finds its row by its external id. The values take the types of the
# table's own columns, which an adopted one may have chosen otherwise.
START_RUN = SiteStatement(
    """
    WITH known AS (
        SELECT run_id FROM runglass.run_external_ids
        WHERE site_id = %(site_id)s AND external_id = %(external_id)s
    ), added AS (
        INSERT INTO biz.ai_run_logs (
            site_id, app_type, trigger_type, member_id, tokens_used, status, error_message, external_id,
            trigger_job_id, created_at, finished_at
        )
        SELECT site_id, app_type, trigger_type, member_id, 0, status, error_message, external_id,
            trigger_job_id, now(), CASE WHEN status <> 'running' THEN now() END
        FROM jsonb_populate_record(NULL::biz.ai_run_logs, %(run)s)
        WHERE NOT EXISTS (SELECT FROM known) AND {scope}
        RETURNING id, created_at
    ), claimed AS (
        INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
        SELECT %(site_id)s, %(external_id)s, id, created_at FROM added
    )
    SELECT run_id FROM known UNION ALL SELECT id FROM added"""
)

FINISH_RUN = SiteStatement(
    """
    UPDATE biz.ai_run_logs AS run SET
        status = %(status)s, tokens_used = %(tokens)s, prompt_tokens = %(prompt_tokens)s,
        completion_tokens = %(completion_tokens)s, model = %(model)s, response_text = %(response)s,
        latency_ms = %(latency_ms)s, error_message = %(error)s, finished_at = now()
    FROM runglass.run_external_ids AS ids
    WHERE ids.site_id = %(site_id)s AND ids.external_id = %(external_id)s
      AND run.id = ids.run_id AND run.created_at = ids.created_at AND {scope}""",
    column="run.site_id",
)

# Whether the app may be called. Where the circuit's time is up, one caller may try, and the others wait on.
CHECK_CIRCUIT: LiteralString = """
WITH probe AS (
    UPDATE runglass.app_circuits SET opened_until = now() + %(probe_seconds)s * interval '1 second'
    WHERE app_type = %(app_type)s AND opened_until <= now()
    RETURNING app_type
)
SELECT EXISTS (SELECT FROM probe) OR NOT EXISTS (
    SELECT FROM runglass.app_circuits WHERE app_type = %(app_type)s AND opened_until IS NOT NULL
)"""

CLOSE_CIRCUIT: LiteralString = """
DELETE FROM runglass.app_circuits WHERE app_type = %(app_type)s"""

COUNT_FAILURE: LiteralString = """
INSERT INTO runglass.app_circuits AS circuit (app_type, failures, opened_until)
VALUES (%(app_type)s, 1, CASE WHEN %(limit)s <= 1 THEN now() + %(open_seconds)s * interval '1 second' END)
ON CONFLICT (app_type) DO UPDATE SET
    failures = circuit.failures + 1,
    opened_until = CASE WHEN circuit.failures + 1 >= %(limit)s
        THEN now() + %(open_seconds)s * interval '1 second' END"""

START_BATCH = SiteStatement(
    """
    UPDATE runglass.batches SET status = 'running', started_at = now()
    WHERE id = %(batch_id)s AND status = 'confirmed' AND {scope}"""
)


async def get_installation(connection: Connection) -> UUID:
    """The id of this installation, which makes its idempotency keys its own."""
    rows = await fetch_plain(connection, InstallationRow, GET_INSTALLATION)
    return rows[0].id


async def take_hold(connection: Connection, *, job_id: int, engine_id: int, holder: UUID) -> HoldRow | None:
    """Hold a job; None where it has ended or the engine's job is no longer the one that runs it."""
    values = {"job_id": job_id, "engine_id": engine_id, "holder": holder}
    rows = await fetch_plain(connection, HoldRow, TAKE_HOLD, values)
    return rows[0] if rows else None


async def check_hold(connection: Connection, *, job_id: int, holder: UUID) -> bool | None:
    """None where the hold is lost; else whether the job should stop. Locks the hold for the transaction."""
    rows = await fetch_plain(connection, FlagRow, CHECK_HOLD, {"job_id": job_id, "holder": holder})
    return rows[0].value if rows else None


async def leave_queue(connection: Connection, *, job_id: int) -> None:
    """Take a job out of the queue, which frees its place."""
    await connection.execute(LEAVE_QUEUE, {"job_id": job_id})


async def start_job(
    connection: Connection, *, scope: Scope, job_id: int, was_held: bool
) -> RunningJobRow | None:
    """Mark a held job as running; None where somebody else has taken or ended it."""
    values = {"job_id": job_id, "was_held": was_held}
    return await fetch_one(connection, RunningJobRow, START_JOB, scope, values)


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


async def start_run(connection: Connection, *, scope: Scope, run: dict[str, Any]) -> int:
    """Add the row of a call, or find that of the same call before; gives its id.

    `run` has the table's column names, among them site_id, external_id and status.
    """
    values = {"run": Jsonb(run), "site_id": run["site_id"], "external_id": run["external_id"]}
    row = await fetch_one(connection, IdRow, START_RUN, scope, values)
    if row is None:
        raise LookupError("the run's site is not within the scope")
    return row.id


async def finish_run(connection: Connection, *, scope: Scope, values: dict[str, Any]) -> None:
    """Write what came of a call. `values` are the parameters of `FINISH_RUN`."""
    await connection.execute(FINISH_RUN.sql(scope), {**values, **scope.parameters()})


async def circuit_allows(connection: Connection, *, app_type: str, probe_seconds: float) -> bool:
    """Whether an app may be called; while its circuit is open, no, but for one probe after its time."""
    values = {"app_type": app_type, "probe_seconds": probe_seconds}
    return (await fetch_plain(connection, FlagRow, CHECK_CIRCUIT, values))[0].value


async def close_circuit(connection: Connection, *, app_type: str) -> None:
    """Say that the app works: its failures are forgotten."""
    await connection.execute(CLOSE_CIRCUIT, {"app_type": app_type})


async def count_failure(connection: Connection, *, app_type: str, limit: int, open_seconds: float) -> None:
    """Say that the app did not work; at `limit` in a row its circuit opens for so long."""
    values = {"app_type": app_type, "limit": limit, "open_seconds": open_seconds}
    await connection.execute(COUNT_FAILURE, values)
