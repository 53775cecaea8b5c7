"""Trigger jobs: an event, and the chain of apps that it starts. Table: biz.ai_trigger_jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString, NamedTuple
from uuid import UUID

from db.conditions import CREATED_RANGE, present, status_among
from db.keyset import Page, PageRequest, keyset, page_of
from db.pool import ChildCount, Connection, fetch_all, fetch_count, fetch_one
from db.scope import Scope, SiteStatement


class TriggerJobRow(NamedTuple):
    """A job. `app_chain` is a list of app types, or text where an adopted table stores it as text."""

    id: int
    site_id: str
    event_type: str
    connector_type: str | None
    member_id: str | None
    payload: Any
    app_chain: list[str] | str | None
    is_forced: bool
    status: str
    error_message: str | None
    attempt: int
    retry_of_id: int | None
    batch_id: UUID | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class TriggerJobFilter:
    """Conditions on jobs, all of which must hold. Times are half-open: from <= created_at < to."""

    event_type: str | None = None
    statuses: tuple[str, ...] | None = None
    member_id: str | None = None
    is_forced: bool | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


JOB_COLUMNS: LiteralString = """
    id, site_id::text, event_type, connector_type, member_id::text, payload, to_jsonb(app_chain),
    coalesce(is_forced, false), coalesce(status, ''), error_message, coalesce(attempt, 1),
    retry_of_id, batch_id, started_at, finished_at, created_at"""

GET_TRIGGER_JOBS = SiteStatement(
    f"SELECT {JOB_COLUMNS} FROM biz.ai_trigger_jobs WHERE id = ANY(%(ids)s) AND {{scope}}"
)

LOCK_TRIGGER_JOB = SiteStatement(
    f"SELECT {JOB_COLUMNS} FROM biz.ai_trigger_jobs WHERE id = %(id)s AND {{scope}} FOR UPDATE"
)

UNFINISHED_RETRY = SiteStatement(
    f"""
    SELECT {JOB_COLUMNS} FROM biz.ai_trigger_jobs
    WHERE retry_of_id = %(id)s AND status IN ('pending', 'running') AND {{scope}}
    ORDER BY created_at DESC, id DESC LIMIT 1"""
)

# Copies column by column, so that it works whatever types an adopted table has.
INSERT_RETRY = SiteStatement(
    f"""
    INSERT INTO biz.ai_trigger_jobs (
        site_id, event_type, connector_type, member_id, payload, app_chain, is_forced, status,
        retry_of_id, attempt, created_at
    )
    SELECT site_id, event_type, connector_type, member_id, payload, app_chain, true, 'pending',
        id, 1 + greatest(coalesce(attempt, 1), (
            SELECT max(retry.attempt) FROM biz.ai_trigger_jobs AS retry
            WHERE retry.retry_of_id = job.id AND retry.site_id = job.site_id
        )), now()
    FROM biz.ai_trigger_jobs AS job
    WHERE id = %(id)s AND {{scope}}
    RETURNING {JOB_COLUMNS}"""
)

CANCEL_PENDING_JOB = SiteStatement(
    f"""
    UPDATE biz.ai_trigger_jobs SET status = 'cancelled', error_message = %(reason)s, finished_at = now()
    WHERE id = %(id)s AND status = 'pending' AND {{scope}}
    RETURNING {JOB_COLUMNS}"""
)

COUNT_SKIPPED_DUPLICATES = SiteStatement(
    """
    SELECT site_id::text, count(*) FROM biz.ai_trigger_jobs
    WHERE status = 'skipped_duplicate' AND created_at >= %(since)s AND {scope}
    GROUP BY site_id"""
)

_STATUS_WORDS: dict[str, LiteralString] = {
    "pending": "'pending'",
    "running": "'running'",
    "success": "'success'",
    "failed": "'failed'",
    "skipped_duplicate": "'skipped_duplicate'",
    "cancelled": "'cancelled'",
}

# The columns by which jobs hang together: retries of a job, jobs of a batch.
ParentColumn = Literal["retry_of_id", "batch_id"]
_PARENT_TYPES: dict[ParentColumn, LiteralString] = {"retry_of_id": "bigint", "batch_id": "uuid"}


_FRAGMENTS: dict[str, LiteralString] = {
    "event_type": "event_type = %(event_type)s",
    "member_id": "member_id = %(member_id)s",
    "is_forced": "is_forced = %(is_forced)s",
    **CREATED_RANGE,
}


def _conditions(wanted: TriggerJobFilter) -> tuple[LiteralString, dict[str, Any]]:
    sql, values = present(wanted, _FRAGMENTS)
    return status_among(wanted.statuses, _STATUS_WORDS) + sql, values


async def list_trigger_jobs(
    connection: Connection, *, scope: Scope, wanted: TriggerJobFilter, page: PageRequest
) -> Page[TriggerJobRow]:
    """One page of the jobs that match."""
    conditions, values = _conditions(wanted)
    keys, order, key_values = keyset(page)
    statement = SiteStatement(
        f"SELECT {JOB_COLUMNS} FROM biz.ai_trigger_jobs WHERE {{scope}}{conditions}{keys}{order}"
    )
    return page_of(page, await fetch_all(connection, TriggerJobRow, statement, scope, values | key_values))


async def count_trigger_jobs(
    connection: Connection, *, scope: Scope, wanted: TriggerJobFilter, most: int
) -> int:
    """How many jobs match, counted no further than `most`."""
    conditions, values = _conditions(wanted)
    statement = SiteStatement(
        "SELECT count(*) FROM (SELECT FROM biz.ai_trigger_jobs"
        f" WHERE {{scope}}{conditions} LIMIT %(most)s) AS matching"
    )
    return await fetch_count(connection, statement, scope, values | {"most": most})


async def count_skipped_duplicates(
    connection: Connection, *, scope: Scope, since: datetime
) -> dict[str, int]:
    """For each site that has any, how many jobs created since then were skipped as duplicates."""
    rows = await fetch_all(connection, ChildCount, COUNT_SKIPPED_DUPLICATES, scope, {"since": since})
    return {row.parent: row.children for row in rows}


async def get_trigger_jobs(
    connection: Connection, *, scope: Scope, ids: Sequence[int]
) -> list[TriggerJobRow]:
    """The jobs with these ids that lie in the scope, in no order."""
    return await fetch_all(connection, TriggerJobRow, GET_TRIGGER_JOBS, scope, {"ids": list(ids)})


async def list_jobs_of_parents(
    connection: Connection,
    *,
    scope: Scope,
    column: ParentColumn,
    parents: Sequence[int] | Sequence[UUID],
    page: PageRequest,
) -> dict[Any, Page[TriggerJobRow]]:
    """For each parent (a retried job, or a batch), one page of its jobs."""
    keys, order, values = keyset(page)
    statement = SiteStatement(
        f"""
        SELECT job.* FROM unnest(%(parents)s::{_PARENT_TYPES[column]}[]) AS parent(key) CROSS JOIN LATERAL (
            SELECT {JOB_COLUMNS} FROM biz.ai_trigger_jobs
            WHERE {column} = parent.key AND {{scope}}{keys}{order}
        ) AS job"""
    )
    rows = await fetch_all(connection, TriggerJobRow, statement, scope, values | {"parents": list(parents)})
    return {
        parent: page_of(page, [row for row in rows if getattr(row, column) == parent]) for parent in parents
    }


async def count_jobs_of_parents(
    connection: Connection,
    *,
    scope: Scope,
    column: ParentColumn,
    parents: Sequence[int] | Sequence[UUID],
    most: int,
) -> dict[Any, int]:
    """For each parent (a retried job, or a batch), how many jobs it has, counted no further than `most`."""
    statement = SiteStatement(
        f"""
        SELECT parent.key, (
            SELECT count(*) FROM (
                SELECT FROM biz.ai_trigger_jobs WHERE {column} = parent.key AND {{scope}} LIMIT %(most)s
            ) AS job
        )
        FROM unnest(%(parents)s::{_PARENT_TYPES[column]}[]) AS parent(key)"""
    )
    values = {"parents": list(parents), "most": most}
    return {
        row.parent: row.children for row in await fetch_all(connection, ChildCount, statement, scope, values)
    }


async def lock_trigger_job(connection: Connection, *, scope: Scope, job_id: int) -> TriggerJobRow | None:
    """The job, locked until the transaction ends, or None where it is not in the scope."""
    return await fetch_one(connection, TriggerJobRow, LOCK_TRIGGER_JOB, scope, {"id": job_id})


async def get_unfinished_retry(connection: Connection, *, scope: Scope, job_id: int) -> TriggerJobRow | None:
    """A retry of the job that is still pending or running, if there is one."""
    return await fetch_one(connection, TriggerJobRow, UNFINISHED_RETRY, scope, {"id": job_id})


async def insert_retry(connection: Connection, *, scope: Scope, job_id: int) -> TriggerJobRow | None:
    """Add a pending, forced copy of the job that points back to it, one attempt further."""
    return await fetch_one(connection, TriggerJobRow, INSERT_RETRY, scope, {"id": job_id})


async def cancel_pending_job(
    connection: Connection, *, scope: Scope, job_id: int, reason: str
) -> TriggerJobRow | None:
    """End a job that waits; None where it does not wait any more."""
    return await fetch_one(
        connection, TriggerJobRow, CANCEL_PENDING_JOB, scope, {"id": job_id, "reason": reason}
    )
