"""Taking jobs from workers that are gone or do not move, and clearing what is left of others.

Tables: runglass.job_queue, biz.ai_trigger_jobs, and procrastinate's.
"""

from __future__ import annotations

from typing import LiteralString

from db.postgres.pool import Connection
from db.sql.scope import EVERY_SITE, SiteStatement

# Taken from a worker that gave no sign of life, and from one that lives but whose step has outlived its
# lease. The new lease, which nobody has, keeps the old one from writing. What is locked, somebody moves.
TAKE_STALLED: LiteralString = """
WITH stalled AS (
    SELECT queue.job_id, engine.id
    FROM runglass.job_queue AS queue
    JOIN procrastinate.procrastinate_jobs AS engine ON engine.id = queue.engine_id
    WHERE engine.status = 'doing' AND (queue.lease_until <= now() OR NOT EXISTS (
        SELECT FROM procrastinate.procrastinate_workers AS worker
        WHERE worker.id = engine.worker_id
          AND worker.last_heartbeat >= now() - %(lease)s * interval '1 second'
    ))
    FOR UPDATE OF queue, engine SKIP LOCKED
), taken AS (
    UPDATE runglass.job_queue AS queue
    SET lease_until = NULL, rescues = least(rescues + 1, 32000),
        holder = CASE WHEN holder IS NOT NULL THEN gen_random_uuid() END
    FROM stalled WHERE queue.job_id = stalled.job_id
    RETURNING stalled.id
)
SELECT procrastinate.procrastinate_retry_job_v2(id, now(), NULL, NULL, NULL) FROM taken"""

# What a worker was handed and has not begun: the hand-over may have been lost on the way.
LEASE_UNBEGUN: LiteralString = """
UPDATE runglass.job_queue AS queue SET lease_until = now() + %(lease)s * interval '1 second'
FROM (
    SELECT queue.job_id FROM runglass.job_queue AS queue
    JOIN procrastinate.procrastinate_jobs AS engine ON engine.id = queue.engine_id
    WHERE engine.status = 'doing' AND queue.lease_until IS NULL
    FOR UPDATE OF queue SKIP LOCKED
) AS unbegun
WHERE queue.job_id = unbegun.job_id"""

# What the engine no longer has (it ended there without having ended here) goes back to the queue.
READMIT_LOST: LiteralString = """
UPDATE runglass.job_queue AS queue
SET engine_id = NULL, lease_until = NULL, holder = CASE WHEN holder IS NOT NULL THEN gen_random_uuid() END
WHERE engine_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM procrastinate.procrastinate_jobs AS engine
    WHERE engine.id = queue.engine_id AND engine.status IN ('todo', 'doing')
)"""

# Of the engine's, what no job of ours stands behind any more: whoever had it was lost before it could say so.
DELETE_ORPHANS: LiteralString = """
DELETE FROM procrastinate.procrastinate_jobs WHERE id IN (
    SELECT engine.id FROM procrastinate.procrastinate_jobs AS engine
    WHERE engine.queue_name = 'work' AND engine.status <> 'todo'
      AND NOT EXISTS (SELECT FROM runglass.job_queue AS queue WHERE queue.engine_id = engine.id)
    FOR UPDATE OF engine SKIP LOCKED
)"""

# Jobs that somebody else has taken or ended since.
FORGET_TAKEN = SiteStatement(
    """
    DELETE FROM runglass.job_queue AS queue WHERE engine_id IS NULL AND NOT EXISTS (
        SELECT FROM biz.ai_trigger_jobs AS job
        WHERE job.id = queue.job_id
          AND (job.status = 'pending' OR (job.status = 'running' AND queue.holder IS NOT NULL))
    ) AND {scope}"""
)


async def rescue_jobs(connection: Connection, *, lease_seconds: float) -> int:
    """Have jobs run again that nobody moves any more; gives how many were taken from a worker."""
    values = {"lease": lease_seconds}
    cursor = await connection.execute(TAKE_STALLED, values)
    await connection.execute(LEASE_UNBEGUN, values)
    await connection.execute(READMIT_LOST)
    await connection.execute(FORGET_TAKEN.sql(EVERY_SITE))
    await connection.execute(DELETE_ORPHANS)
    return cursor.rowcount
