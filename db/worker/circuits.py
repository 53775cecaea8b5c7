"""Circuit breakers of apps, shared by all workers, and the jobs that wait while one is open.

A circuit is closed where there is no row, or one with failures alone. It opens at so many failures in a row
(`opened_until`); when that time is up one call probes. After an answer the app gets more calls at once with
each further one (`allowance`), so that what has waited does not come all together.
Tables: runglass.app_circuits, runglass.job_queue.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

from db.postgres.pool import Connection, fetch_all, fetch_unscoped
from db.sql.scope import Scope, SiteStatement

# With so many calls at once an app is taken for well; what limits it then is its own limit and the sites'.
_FULL_ALLOWANCE = 20


class CircuitRow(NamedTuple):
    """Whether an app may be called, whether it has failed of late, and whether the job waits if not."""

    allows: bool
    has_failed: bool
    may_wait: bool


class CircuitPlacesRow(NamedTuple):
    """How many jobs that call an app may run at once, and in how many seconds it is probed, if it is open."""

    app_type: str
    places: int
    probe_in: float | None


class CircuitWaitRow(NamedTuple):
    """What a job waits for: since when, when the app is probed next, and until when at the longest."""

    id: int
    app_type: str
    since: datetime
    next_probe_at: datetime
    until: datetime


# A circuit that an older worker has opened says nothing of waiting.
WAIT_ENDS: LiteralString = """
    greatest(circuit.opened_at, queue.queued_at) + coalesce(circuit.wait_seconds, 0) * interval '1 second'"""

# Circuits that keep a place in the queue from its turn: of any app of the chain, or once it has begun of the
# next one.
BLOCKS: LiteralString = """
    circuit.opened_until IS NOT NULL AND circuit.app_type = ANY(queue.app_types)
    AND (queue.waits_for IS NULL OR queue.waits_for = circuit.app_type)"""

# Where the circuit's time is up, one caller may try, and the others wait on.
CHECK_CIRCUIT: LiteralString = f"""
WITH probe AS (
    UPDATE runglass.app_circuits SET opened_until = now() + %(probe_seconds)s * interval '1 second'
    WHERE app_type = %(app_type)s AND opened_until <= now()
    RETURNING app_type
)
SELECT
    EXISTS (SELECT FROM probe) OR NOT EXISTS (
        SELECT FROM runglass.app_circuits WHERE app_type = %(app_type)s AND opened_until IS NOT NULL
    ),
    EXISTS (SELECT FROM runglass.app_circuits WHERE app_type = %(app_type)s),
    EXISTS (
        SELECT FROM runglass.app_circuits AS circuit CROSS JOIN runglass.job_queue AS queue
        WHERE circuit.app_type = %(app_type)s AND queue.job_id = %(job_id)s AND {WAIT_ENDS} > now()
    )"""

COUNT_SUCCESS: LiteralString = """
WITH closed AS (
    DELETE FROM runglass.app_circuits
    WHERE app_type = %(app_type)s AND opened_until IS NULL
      AND (allowance IS NULL OR allowance >= %(full)s)
)
UPDATE runglass.app_circuits
SET failures = 0, opened_at = NULL, opened_until = NULL, allowance = coalesce(allowance, 1) + 1
WHERE app_type = %(app_type)s AND (opened_until IS NOT NULL OR allowance < %(full)s)"""

# An app that has just come back and fails again is closed off at once.
COUNT_FAILURE: LiteralString = """
INSERT INTO runglass.app_circuits AS circuit (app_type, failures, opened_at, opened_until, wait_seconds)
VALUES (
    %(app_type)s, 1, CASE WHEN %(limit)s <= 1 THEN now() END,
    CASE WHEN %(limit)s <= 1 THEN now() + %(open_seconds)s * interval '1 second' END, %(wait_seconds)s
)
ON CONFLICT (app_type) DO UPDATE SET
    failures = circuit.failures + 1, wait_seconds = excluded.wait_seconds, allowance = NULL,
    opened_at = CASE WHEN circuit.failures + 1 >= %(limit)s OR circuit.allowance IS NOT NULL
        THEN coalesce(circuit.opened_at, now()) END,
    opened_until = CASE WHEN circuit.failures + 1 >= %(limit)s OR circuit.allowance IS NOT NULL
        THEN now() + %(open_seconds)s * interval '1 second' END"""

LIST_CIRCUIT_PLACES: LiteralString = """
SELECT app_type, CASE
    WHEN opened_until > now() THEN 0
    WHEN opened_until IS NOT NULL THEN 1
    ELSE allowance
END, extract(epoch FROM opened_until - now())::float8
FROM runglass.app_circuits WHERE opened_until IS NOT NULL OR allowance IS NOT NULL"""

# An execution gives its job back, to be begun again or gone on with when the app may be called.
PARK_PLACE: LiteralString = """
UPDATE runglass.job_queue SET engine_id = NULL, lease_until = NULL, waits_for = %(waits_for)s,
    holder = CASE WHEN %(waits_for)s::text IS NULL THEN NULL ELSE holder END
WHERE job_id = %(job_id)s"""

UNSTART_JOB = SiteStatement(
    """
    UPDATE biz.ai_trigger_jobs SET status = 'pending', started_at = NULL
    WHERE id = %(job_id)s AND status = 'running' AND {scope}"""
)

WAITS_OF_JOBS = SiteStatement(
    f"""
    SELECT DISTINCT ON (queue.job_id) queue.job_id, circuit.app_type,
        greatest(circuit.opened_at, queue.queued_at), circuit.opened_until, {WAIT_ENDS}
    FROM runglass.job_queue AS queue JOIN runglass.app_circuits AS circuit ON {BLOCKS}
    WHERE queue.job_id = ANY(%(ids)s) AND queue.engine_id IS NULL AND {{scope}}
    ORDER BY queue.job_id, 5, 2""",
    column="queue.site_id",
)


async def check_circuit(
    connection: Connection, *, app_type: str, probe_seconds: float, job_id: int
) -> CircuitRow:
    """Whether a job may call an app; while its circuit is open, no, but for one probe after its time."""
    values = {"app_type": app_type, "probe_seconds": probe_seconds, "job_id": job_id}
    return (await fetch_unscoped(connection, CircuitRow, CHECK_CIRCUIT, values))[0]


async def count_success(connection: Connection, *, app_type: str) -> None:
    """Say that the app works: its failures are forgotten, and more calls of it may be made at once."""
    await connection.execute(COUNT_SUCCESS, {"app_type": app_type, "full": _FULL_ALLOWANCE})


async def count_failure(
    connection: Connection, *, app_type: str, limit: int, open_seconds: float, wait_seconds: float
) -> None:
    """Say that the app did not work; at `limit` in a row its circuit opens, and jobs wait for it so long."""
    values = {
        "app_type": app_type,
        "limit": limit,
        "open_seconds": open_seconds,
        "wait_seconds": wait_seconds,
    }
    await connection.execute(COUNT_FAILURE, values)


async def list_circuit_places(connection: Connection) -> list[CircuitPlacesRow]:
    """The apps that may not be called as often as otherwise, because they have failed."""
    return await fetch_unscoped(connection, CircuitPlacesRow, LIST_CIRCUIT_PLACES)


async def park_job(connection: Connection, *, scope: Scope, job_id: int, waits_for: str | None) -> None:
    """Put a job back into the queue until its app may be called; one that has called none waits as before.

    `waits_for` is the next app of a job that has called others.
    """
    await connection.execute(PARK_PLACE, {"job_id": job_id, "waits_for": waits_for})
    if waits_for is None:
        await connection.execute(UNSTART_JOB.sql(scope), {"job_id": job_id, **scope.parameters()})


async def waits_of_jobs(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> list[CircuitWaitRow]:
    """What those of these jobs wait for that an open circuit keeps back, in no order."""
    return await fetch_all(connection, CircuitWaitRow, WAITS_OF_JOBS, scope, {"ids": list(ids)})
