"""The queue in front of the job engine: which jobs run next, fairly and within limits.

The engine takes jobs by priority and age, whosever they are; so it is only given as many jobs of a site as
may run at once, and gets the next one when one has ended. Jobs wait here from the transaction that made them.
Tables: runglass.job_queue, runglass.site_turns, runglass.batches, runglass.app_circuits, and procrastinate's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString, NamedTuple
from uuid import UUID

from db.postgres.pool import Connection, fetch_all, fetch_count, fetch_unscoped
from db.sql.scope import EVERY_SITE, Scope, SiteStatement
from db.worker.circuits import BLOCKS, WAIT_ENDS

# Any constant will do that no other lock uses; whoever admits jobs holds it.
ADMISSION_LOCK = 7_864_511_245_004

OPERATOR_RANK = 0
BATCH_RANK = 1

# Jobs of a batch enter the queue in pages of this many, the next one when fewer than half of it wait.
BATCH_PAGE = 1000


class WaitingRow(NamedTuple):
    """A job that waits for its turn. `site_admitted` counts its site's jobs that were given to the engine.

    `passes_circuits` is one that is to end, because it was stopped or has waited too long for an app. Of a
    job that has called apps before it had to wait, `app_types` is the next one alone.
    """

    job_id: int
    site_id: str
    app_types: list[str]
    rank: int
    site_admitted: int
    site_turn: int
    passes_circuits: bool = False


class AppCountRow(NamedTuple):
    """How many admitted jobs call an app at some place of their chain."""

    app_type: str
    jobs: int


class LockRow(NamedTuple):
    """Whether a lock was free."""

    is_locked: bool


class EngineIdRow(NamedTuple):
    """The id of a job of the engine."""

    engine_id: int


class PlaceRow(NamedTuple):
    """A job's place in the queue."""

    job_id: int


ENQUEUE_JOB = SiteStatement(
    """
    INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank)
    SELECT id, site_id::text,
        (runglass.chain_apps(runglass.readable_json(app_chain)))[1 + coalesce(chain_start, 0):], %(rank)s
    FROM biz.ai_trigger_jobs WHERE id = ANY(%(ids)s) AND status = 'pending' AND {scope}
    ON CONFLICT DO NOTHING"""
)

# One engine job asks whichever worker gets it to admit what waits; it is cheap, so it may be asked twice.
ASK_FOR_ADMISSION: LiteralString = """
SELECT procrastinate.procrastinate_defer_jobs_v1(ARRAY[
    ROW('work', 'admit', 100, NULL, NULL, '{}', NULL)::procrastinate.procrastinate_job_to_defer_v1
])"""

LEAVE_QUEUE: LiteralString = "DELETE FROM runglass.job_queue WHERE job_id = %(job_id)s"

LOCK_ADMISSION: LiteralString = "SELECT pg_try_advisory_xact_lock(%(key)s)"

BATCHES_TO_QUEUE = SiteStatement(
    """
    SELECT id FROM runglass.batches AS batch
    WHERE status IN ('confirmed', 'running') AND finished_at IS NULL AND NOT is_queued AND {scope} AND (
        SELECT count(*) FROM (
            SELECT FROM runglass.job_queue AS queue
            WHERE queue.batch_id = batch.id AND queue.engine_id IS NULL LIMIT %(low)s
        ) AS waiting
    ) < %(low)s
    FOR UPDATE SKIP LOCKED"""
)

QUEUE_PAGE = SiteStatement(
    """
    WITH page AS (
        SELECT job.id, job.site_id::text,
            runglass.chain_apps(runglass.readable_json(job.app_chain)) AS apps, job.status
        FROM biz.ai_trigger_jobs AS job
        WHERE batch_id = %(batch_id)s AND (job.created_at, job.id) > (
            coalesce((
                SELECT last.created_at FROM biz.ai_trigger_jobs AS last
                WHERE last.id = (SELECT queued_to FROM runglass.batches WHERE id = %(batch_id)s)
            ), '-infinity'),
            (SELECT queued_to FROM runglass.batches WHERE id = %(batch_id)s)
        ) AND {scope}
        ORDER BY job.created_at, job.id LIMIT %(page)s
    ), queued AS (
        INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank, batch_id)
        SELECT id, site_id, apps, %(rank)s, %(batch_id)s FROM page WHERE status = 'pending'
        ON CONFLICT DO NOTHING
    )
    UPDATE runglass.batches
    SET queued_to = greatest(queued_to, (SELECT max(id) FROM page)),
        is_queued = (SELECT count(*) FROM page) < %(page)s
    WHERE id = %(batch_id)s""",
    column="job.site_id",
)

# Steps from lane to lane (site and chain) along the index instead of reading everything that waits; and a
# lane that cannot run now holds up no other.
LIST_WAITING: LiteralString = f"""
WITH RECURSIVE lane AS (
    (
        SELECT site_id, app_types FROM runglass.job_queue
        WHERE engine_id IS NULL ORDER BY site_id, app_types LIMIT 1
    )
    UNION ALL
    SELECT further.site_id, further.app_types FROM lane CROSS JOIN LATERAL (
        SELECT site_id, app_types FROM runglass.job_queue
        WHERE engine_id IS NULL AND (site_id, app_types) > (lane.site_id, lane.app_types)
        ORDER BY site_id, app_types LIMIT 1
    ) AS further
), admitted AS (
    SELECT site_id, count(*)::integer AS jobs FROM runglass.job_queue WHERE engine_id IS NOT NULL
    GROUP BY site_id
)
SELECT queue.job_id, lane.site_id,
    CASE WHEN queue.waits_for IS NULL THEN lane.app_types ELSE ARRAY[queue.waits_for] END,
    queue.rank, coalesce(admitted.jobs, 0), coalesce(turns.turn, 0),
    queue.cancel_requested OR EXISTS (
        SELECT FROM runglass.app_circuits AS circuit WHERE {BLOCKS} AND {WAIT_ENDS} <= now()
    )
FROM lane
LEFT JOIN admitted USING (site_id)
LEFT JOIN runglass.site_turns AS turns USING (site_id)
CROSS JOIN LATERAL (
    SELECT job_id, app_types, rank, waits_for, queued_at, cancel_requested FROM runglass.job_queue
    WHERE engine_id IS NULL AND site_id = lane.site_id AND app_types = lane.app_types
    ORDER BY rank, job_id LIMIT greatest(0, %(site_limit)s - coalesce(admitted.jobs, 0))
) AS queue
WHERE lane.app_types <@ %(apps)s::text[] AND lane.app_types <> '{{}}'"""

COUNT_ADMITTED_BY_APP: LiteralString = """
SELECT app_type, count(DISTINCT job_id)::integer
FROM runglass.job_queue CROSS JOIN LATERAL unnest(app_types) AS app(app_type)
WHERE engine_id IS NOT NULL GROUP BY app_type"""

GIVE_TO_ENGINE: LiteralString = """
SELECT unnest(procrastinate.procrastinate_defer_jobs_v1(array_agg(
    ROW(
        'work', 'run_job', 10 * (1 - rank), NULL, NULL,
        jsonb_build_object('job_id', job_id, 'site_id', site_id),
        NULL
    )::procrastinate.procrastinate_job_to_defer_v1
    ORDER BY place
)))
FROM unnest(%(ids)s::bigint[]) WITH ORDINALITY AS chosen(job_id, place)
JOIN runglass.job_queue USING (job_id)"""

MARK_ADMITTED: LiteralString = """
WITH admitted AS (
    UPDATE runglass.job_queue AS queue SET engine_id = engine.id
    FROM procrastinate.procrastinate_jobs AS engine
    WHERE engine.id = ANY(%(engine_ids)s) AND queue.job_id = (engine.args ->> 'job_id')::bigint
    RETURNING queue.site_id, engine.id
)
INSERT INTO runglass.site_turns (site_id, turn)
SELECT site_id, nextval('runglass.turn') FROM (
    SELECT site_id FROM admitted GROUP BY site_id ORDER BY max(id)
) AS served
ON CONFLICT (site_id) DO UPDATE SET turn = excluded.turn"""

GET_PLACES = SiteStatement("SELECT job_id FROM runglass.job_queue WHERE job_id = ANY(%(ids)s) AND {scope}")

# Locks in the order in which a worker does: first the place in the queue, then the job.
LOCK_PLACES = SiteStatement(
    """
    SELECT job_id FROM runglass.job_queue WHERE job_id = ANY(%(ids)s) AND {scope}
    ORDER BY job_id FOR UPDATE"""
)

LEAVE_PLACES = SiteStatement("DELETE FROM runglass.job_queue WHERE job_id = ANY(%(ids)s) AND {scope}")

REQUEST_CANCELS = SiteStatement(
    "UPDATE runglass.job_queue SET cancel_requested = true WHERE job_id = ANY(%(ids)s) AND {scope}"
)

LOCK_BATCH_PLACES = SiteStatement(
    """
    SELECT count(*) FROM (
        SELECT FROM runglass.job_queue WHERE batch_id = %(batch_id)s AND {scope} ORDER BY job_id FOR UPDATE
    ) AS locked"""
)

LEAVE_WITH_BATCH = SiteStatement(
    "DELETE FROM runglass.job_queue WHERE batch_id = %(batch_id)s AND holder IS NULL AND {scope}"
)

REQUEST_BATCH_CANCEL = SiteStatement(
    "UPDATE runglass.job_queue SET cancel_requested = true WHERE batch_id = %(batch_id)s AND {scope}"
)


async def enqueue_jobs(connection: Connection, *, scope: Scope, job_ids: Sequence[int]) -> None:
    """Put pending jobs that an operator asked for into the queue, before all batches."""
    values = {"ids": list(job_ids), "rank": OPERATOR_RANK}
    await connection.execute(ENQUEUE_JOB.sql(scope), {**values, **scope.parameters()})
    await ask_for_admission(connection)


async def ask_for_admission(connection: Connection) -> None:
    """Have a worker look at what waits as soon as this transaction is committed."""
    await connection.execute(ASK_FOR_ADMISSION)


async def leave_queue(connection: Connection, *, job_id: int) -> None:
    """Take a job out of the queue, which frees its place."""
    await connection.execute(LEAVE_QUEUE, {"job_id": job_id})


async def lock_admission(connection: Connection) -> bool:
    """Keep other transactions from admitting jobs until this one ends; False where one does so now."""
    rows = await fetch_unscoped(connection, LockRow, LOCK_ADMISSION, {"key": ADMISSION_LOCK})
    return rows[0].is_locked


async def queue_batches(connection: Connection) -> None:
    """Put the next page of jobs into the queue for every batch of which few are left there."""
    low = {"low": BATCH_PAGE // 2}
    cursor = await connection.execute(BATCHES_TO_QUEUE.sql(EVERY_SITE), low)
    for (batch_id,) in await cursor.fetchall():
        values = {"batch_id": batch_id, "page": BATCH_PAGE, "rank": BATCH_RANK}
        await connection.execute(QUEUE_PAGE.sql(EVERY_SITE), values)


async def list_waiting(
    connection: Connection, *, app_types: Sequence[str], site_limit: int
) -> list[WaitingRow]:
    """The first jobs of each site that may be admitted: all their apps are among `app_types`."""
    values = {"apps": list(app_types), "site_limit": site_limit}
    return await fetch_unscoped(connection, WaitingRow, LIST_WAITING, values)


async def count_admitted_by_app(connection: Connection) -> dict[str, int]:
    """How many admitted jobs call each app; an app without any is absent."""
    rows = await fetch_unscoped(connection, AppCountRow, COUNT_ADMITTED_BY_APP)
    return {row.app_type: row.jobs for row in rows}


async def admit_jobs(connection: Connection, *, job_ids: Sequence[int]) -> None:
    """Give jobs to the engine, which runs those of one rank in this order."""
    rows = await fetch_unscoped(connection, EngineIdRow, GIVE_TO_ENGINE, {"ids": list(job_ids)})
    await connection.execute(MARK_ADMITTED, {"engine_ids": [row.engine_id for row in rows]})


async def get_places(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> set[int]:
    """Which of these jobs have a place in the queue."""
    return {
        row.job_id for row in await fetch_all(connection, PlaceRow, GET_PLACES, scope, {"ids": list(ids)})
    }


async def lock_places(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> set[int]:
    """Which of these jobs have a place in the queue, locked. Lock these before the jobs themselves."""
    return {
        row.job_id for row in await fetch_all(connection, PlaceRow, LOCK_PLACES, scope, {"ids": list(ids)})
    }


async def leave_places(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> None:
    """Take jobs out of the queue, which frees their places."""
    await connection.execute(LEAVE_PLACES.sql(scope), {"ids": list(ids), **scope.parameters()})


async def request_cancels(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> None:
    """Have running jobs stop before their next app."""
    await connection.execute(REQUEST_CANCELS.sql(scope), {"ids": list(ids), **scope.parameters()})


async def cancel_places(connection: Connection, *, scope: Scope, batch_id: UUID) -> int:
    """Take a batch's waiting jobs out of the queue and have its running ones stop; gives how many these are.

    Lock these before the jobs and the batch itself.
    """
    values = {"batch_id": batch_id}
    await fetch_count(connection, LOCK_BATCH_PLACES, scope, values)
    parameters = {**values, **scope.parameters()}
    await connection.execute(LEAVE_WITH_BATCH.sql(scope), parameters)
    return (await connection.execute(REQUEST_BATCH_CANCEL.sql(scope), parameters)).rowcount
