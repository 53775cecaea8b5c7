"""Reservations of jobs that nothing has moved for long: they are given free, and shown as such.

Tables: biz.ai_trigger_jobs, biz.ai_run_logs, runglass.job_queue, runglass.batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

from db.postgres.pool import Connection, fetch_all
from db.sql.scope import EVERY_SITE, Scope, SiteStatement

_JOBS_AT_ONCE = 10_000
MOST_COUNTED = 100_000


class ReservationRow(NamedTuple):
    """What a job has reserved, and when that was given free, if it was."""

    id: int
    tokens: int
    released_at: datetime | None


class UnmovedCounts(NamedTuple):
    """Jobs that nothing has moved for long, and those of them whose reservation was given free."""

    jobs: int
    released: int


# A job moves when it is made or started, when a call of it begins or ends, and while a worker of ours has it;
# one that waits moves with the other jobs of its batch, which may be very many.
_MOVING: LiteralString = """
    since AS (
        SELECT now() - %(seconds)s * interval '1 second' AS instant
    ), moving AS MATERIALIZED (
        SELECT batch.id FROM runglass.batches AS batch CROSS JOIN since
        WHERE batch.status IN ('confirmed', 'running') AND batch.finished_at IS NULL AND (
            batch.confirmed_at >= instant OR EXISTS (
                SELECT FROM biz.ai_trigger_jobs AS other
                WHERE other.batch_id = batch.id AND greatest(other.started_at, other.finished_at) >= instant
            )
        )
    )"""
_UNMOVED: LiteralString = """
    job.status IN ('pending', 'running') AND greatest(job.created_at, job.started_at) < instant
    AND {scope}
    AND NOT EXISTS (
        SELECT FROM moving WHERE moving.id = job.batch_id AND job.status = 'pending'
    ) AND NOT EXISTS (
        SELECT FROM runglass.job_queue AS queue WHERE queue.job_id = job.id AND queue.lease_until >= now()
    ) AND NOT EXISTS (
        SELECT FROM biz.ai_run_logs AS run
        WHERE run.trigger_job_id = job.id AND greatest(run.created_at, run.finished_at) >= instant
    )"""

RELEASE_RESERVATIONS = SiteStatement(
    f"""
    WITH {_MOVING}, unmoved AS MATERIALIZED (
        SELECT job.id FROM biz.ai_trigger_jobs AS job CROSS JOIN since
        WHERE job.reserved_tokens IS NOT NULL AND job.reservation_released_at IS NULL AND {_UNMOVED}
        LIMIT %(limit)s
    )
    UPDATE biz.ai_trigger_jobs AS released SET reservation_released_at = now()
    FROM unmoved WHERE released.id = unmoved.id AND released.status IN ('pending', 'running')""",
    column="job.site_id",
)

COUNT_UNMOVED = SiteStatement(
    f"""
    WITH {_MOVING}
    SELECT count(*), count(*) FILTER (WHERE reservation_released_at IS NOT NULL)
    FROM (
        SELECT job.reservation_released_at FROM biz.ai_trigger_jobs AS job CROSS JOIN since
        WHERE {_UNMOVED} LIMIT %(limit)s
    ) AS unmoved""",
    column="job.site_id",
)

RESERVATIONS_OF_JOBS = SiteStatement(
    """
    SELECT id, (
        SELECT coalesce(round(sum(tokens::float8)), 0)::bigint
        FROM jsonb_each_text(reserved_tokens) AS app(name, tokens)
    ), reservation_released_at
    FROM biz.ai_trigger_jobs
    WHERE id = ANY(%(ids)s) AND reserved_tokens IS NOT NULL AND status IN ('pending', 'running')
      AND {scope}"""
)


async def release_reservations(connection: Connection, *, seconds: float) -> int:
    """Give free what jobs have reserved that nothing has moved for so long; gives of how many.

    Of very many jobs it does the first, and is to be asked again.
    """
    values = {"seconds": seconds, "limit": _JOBS_AT_ONCE, **EVERY_SITE.parameters()}
    return (await connection.execute(RELEASE_RESERVATIONS.sql(EVERY_SITE), values)).rowcount


async def count_unmoved_jobs(connection: Connection, *, seconds: float) -> UnmovedCounts:
    """How many jobs of every site nothing has moved for so long, counted no further than MOST_COUNTED."""
    values = {"seconds": seconds, "limit": MOST_COUNTED}
    (counts,) = await fetch_all(connection, UnmovedCounts, COUNT_UNMOVED, EVERY_SITE, values)
    return counts


async def reservations_of_jobs(
    connection: Connection, *, scope: Scope, ids: Sequence[int]
) -> list[ReservationRow]:
    """What those of these jobs have reserved that have not ended, in no order."""
    return await fetch_all(connection, ReservationRow, RESERVATIONS_OF_JOBS, scope, {"ids": list(ids)})
