"""Trigger jobs: an event, and the chain of apps that it starts.

Tables: biz.ai_trigger_jobs, and runglass.batches to hold the batches of jobs that are retried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, LiteralString, NamedTuple
from uuid import UUID

from psycopg.types.json import Jsonb

from db.postgres.pool import ChildCount, Connection, fetch_all, fetch_by_ids, fetch_count
from db.sql.conditions import CREATED_RANGE, DATED, conditions_of, equal, has_place, status_among
from db.sql.keyset import Page, PageRequest, keyset, page_of, within
from db.sql.long_texts import chain, cut, is_cut, json_text, name
from db.sql.scope import Scope, SiteStatement


class TriggerJobRow(NamedTuple):
    """A job. `app_chain` is a list of app types, or text where an adopted table stores it as text.

    Of the chain, the first `chain_start` apps are not called; the next one gets the answer of `input_run_id`.
    `payload` is JSON's text.
    """

    id: int
    site_id: str
    event_type: str
    connector_type: str | None
    member_id: str | None
    payload: str | None
    app_chain: list[str] | str | None
    is_forced: bool
    status: str
    error_message: str | None
    attempt: int
    retry_of_id: int | None
    chain_start: int
    input_run_id: int | None
    batch_id: UUID | None
    started_at: datetime | None
    finished_at: datetime | None
    created_at: datetime
    payload_truncated: bool
    error_message_truncated: bool


@dataclass(frozen=True, slots=True)
class TriggerJobFilter:
    """Conditions on jobs, all of which must hold. Times are half-open: from <= created_at < to."""

    event_type: str | None = None
    statuses: tuple[str, ...] | None = None
    member_id: str | None = None
    is_forced: bool | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    # Without a newer try: a retry of it, or a later retry of what it retries. Skipped ones do not count.
    is_unretried: Literal[True] | None = None


class RetryRequest(NamedTuple):
    """A retry that is to be made: of which job, what it reserves by app, and where its chain begins."""

    job_id: int
    tokens: dict[str, float]
    chain_start: int
    input_run_id: int | None


class JobIdRow(NamedTuple):
    """The id of a job."""

    id: int


class RootRow(NamedTuple):
    """A job, and the first one of its line of retries."""

    job_id: int
    root_id: int


JOB_COLUMNS: LiteralString = f"""
    id, coalesce({name("site_id")}, ''), coalesce({name("event_type")}, ''), {name("connector_type")},
    {name("member_id")}, {cut(json_text("payload"))}, {chain("app_chain")}, coalesce(is_forced, false),
    coalesce({name("status")}, ''), {cut("error_message::text")}, coalesce(attempt, 1), retry_of_id,
    coalesce(chain_start, 0), input_run_id, batch_id, runglass.readable_time(started_at),
    runglass.readable_time(finished_at), created_at, {is_cut(json_text("payload"))},
    {is_cut("error_message::text")}"""

GET_TRIGGER_JOBS = SiteStatement(
    f"SELECT {JOB_COLUMNS} FROM biz.ai_trigger_jobs WHERE id = ANY(%(ids)s) AND {DATED} AND {{scope}}"
)

# In the order of their ids, so that no two transactions wait for each other.
LOCK_TRIGGER_JOBS = SiteStatement(
    f"""
    SELECT {JOB_COLUMNS} FROM biz.ai_trigger_jobs WHERE id = ANY(%(ids)s) AND {DATED} AND {{scope}}
    ORDER BY id FOR UPDATE"""
)

# Retrying the failed part of a batch locks the batch, not its jobs.
HOLD_BATCHES_OF_JOBS = SiteStatement(
    """
    SELECT count(*) FROM (
        SELECT FROM runglass.batches WHERE id = ANY(%(batch_ids)s) AND {scope} ORDER BY id FOR KEY SHARE
    ) AS held"""
)

UNFINISHED_RETRIES = SiteStatement(
    """
    SELECT DISTINCT job.id FROM biz.ai_trigger_jobs AS job
    JOIN biz.ai_trigger_jobs AS retry ON retry.retry_of_id = job.id AND retry.site_id = job.site_id
    WHERE job.id = ANY(%(ids)s) AND retry.status IN ('pending', 'running') AND {scope}""",
    column="job.site_id",
)

# Copies column by column, so that it works whatever types an adopted table has.
INSERT_RETRIES = SiteStatement(
    f"""
    INSERT INTO biz.ai_trigger_jobs (
        site_id, event_type, connector_type, member_id, payload, app_chain, is_forced, status,
        retry_of_id, attempt, created_at, reserved_tokens, chain_start, input_run_id
    )
    SELECT job.site_id, event_type, connector_type, member_id, payload, app_chain, true, 'pending',
        job.id, 1 + greatest(coalesce(attempt, 1), (
            SELECT max(retry.attempt) FROM biz.ai_trigger_jobs AS retry
            WHERE retry.retry_of_id = job.id AND retry.site_id = job.site_id
        )), now(), request.tokens, nullif(request.chain_start, 0), request.input_run_id
    FROM jsonb_to_recordset(%(requests)s) AS request(
        place integer, job_id bigint, tokens jsonb, chain_start integer, input_run_id bigint
    )
    JOIN biz.ai_trigger_jobs AS job ON job.id = request.job_id
    WHERE {{scope}}
    ORDER BY request.place
    RETURNING {JOB_COLUMNS}""",
    column="job.site_id",
)

CANCEL_PENDING_JOBS = SiteStatement(
    f"""
    UPDATE biz.ai_trigger_jobs SET status = 'cancelled', error_message = %(reason)s, finished_at = now()
    WHERE id = ANY(%(ids)s) AND status = 'pending' AND {{scope}}
    RETURNING {JOB_COLUMNS}"""
)

# Whatever its status: a word that only its dispatcher knows is an end to nobody.
FAIL_JOBS = SiteStatement(
    f"""
    UPDATE biz.ai_trigger_jobs SET status = 'failed', error_message = %(reason)s, finished_at = now(),
        tokens_used = coalesce(tokens_used, (
            SELECT least(coalesce(sum(runglass.whole_number(run.tokens_used)), 0), 9223372036854775807)
            FROM biz.ai_run_logs AS run
            WHERE run.trigger_job_id = ai_trigger_jobs.id AND run.site_id = ai_trigger_jobs.site_id
        ))
    WHERE id = ANY(%(ids)s) AND {{scope}}
    RETURNING {JOB_COLUMNS}"""
)

# A retry is younger than what it repeats, so the first of a line has its least id; and no line is endless,
# whatever others have written.
ROOTS_OF_JOBS = SiteStatement(
    """
    WITH RECURSIVE line AS (
        SELECT id AS job_id, id, retry_of_id FROM biz.ai_trigger_jobs WHERE id = ANY(%(ids)s) AND {scope}
        UNION ALL
        SELECT line.job_id, former.id, former.retry_of_id FROM line CROSS JOIN LATERAL (
            SELECT id, retry_of_id FROM biz.ai_trigger_jobs
            WHERE id = line.retry_of_id AND id < line.id AND {scope}
        ) AS former
    )
    SELECT job_id, min(id) FROM line GROUP BY job_id"""
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
    "event_type": equal("event_type", "event_type"),
    "member_id": equal("member_id", "member_id"),
    "is_forced": "is_forced = %(is_forced)s",
    **CREATED_RANGE,
    "is_unretried": """NOT EXISTS (
        SELECT FROM biz.ai_trigger_jobs AS retry
        WHERE retry.retry_of_id = ai_trigger_jobs.id AND retry.site_id = ai_trigger_jobs.site_id
          AND retry.status IN ('pending', 'running', 'success', 'failed', 'cancelled')
    ) AND NOT EXISTS (
        SELECT FROM biz.ai_trigger_jobs AS later
        WHERE later.retry_of_id = ai_trigger_jobs.retry_of_id AND later.id > ai_trigger_jobs.id
          AND later.site_id = ai_trigger_jobs.site_id
          AND later.status IN ('pending', 'running', 'success', 'failed', 'cancelled')
    )""",
}


def _conditions(filters: TriggerJobFilter) -> tuple[LiteralString, dict[str, Any]]:
    sql, values = conditions_of(filters, _FRAGMENTS)
    return status_among(filters.statuses, _STATUS_WORDS) + sql, values


async def list_trigger_jobs(
    connection: Connection, *, scope: Scope, filters: TriggerJobFilter, page: PageRequest
) -> Page[TriggerJobRow]:
    """One page of the jobs that match."""
    scope, filters = scope.matching("ai_trigger_jobs", filters)
    ends, filters = within(page, filters)
    conditions, values = _conditions(filters)
    keys, order, key_values = keyset(ends, of_adopted=True)
    statement = SiteStatement(
        f"SELECT {JOB_COLUMNS} FROM biz.ai_trigger_jobs WHERE {{scope}}{conditions}{keys}{order}"
    )
    return page_of(page, await fetch_all(connection, TriggerJobRow, statement, scope, values | key_values))


async def count_trigger_jobs(
    connection: Connection, *, scope: Scope, filters: TriggerJobFilter, limit: int, dated: bool = True
) -> int:
    """How many jobs match, counted no further than `limit`; without `dated` those that no page shows."""
    scope, filters = scope.matching("ai_trigger_jobs", filters)
    conditions, values = _conditions(filters)
    statement = SiteStatement(
        "SELECT count(*) FROM (SELECT FROM biz.ai_trigger_jobs"
        f" WHERE {has_place(dated)} AND {{scope}}{conditions} LIMIT %(limit)s) AS matching"
    )
    return await fetch_count(connection, statement, scope, values | {"limit": limit})


async def count_skipped_duplicates(
    connection: Connection, *, scope: Scope, since: datetime
) -> dict[str, int]:
    """For each site that has any, how many jobs created since then were skipped as duplicates."""
    rows = await fetch_all(connection, ChildCount, COUNT_SKIPPED_DUPLICATES, scope, {"since": since})
    return {row.parent: row.children for row in rows}


async def get_trigger_jobs(
    connection: Connection, *, scope: Scope, ids: Sequence[int], whole: bool = False
) -> list[TriggerJobRow]:
    """The jobs with these ids that lie in the scope, in no order."""
    return await fetch_by_ids(connection, TriggerJobRow, GET_TRIGGER_JOBS, scope, ids, whole)


async def list_jobs_of_parents(
    connection: Connection,
    *,
    scope: Scope,
    column: ParentColumn,
    parents: Sequence[int] | Sequence[UUID],
    page: PageRequest,
) -> dict[Any, Page[TriggerJobRow]]:
    """For each parent (a retried job, or a batch), one page of its jobs."""
    keys, order, values = keyset(page, of_adopted=True)
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
    limit: int,
) -> dict[Any, int]:
    """For each parent (a retried job, or a batch), how many jobs it has, counted no further than `limit`."""
    statement = SiteStatement(
        f"""
        SELECT parent.key, (
            SELECT count(*) FROM (
                SELECT FROM biz.ai_trigger_jobs
                WHERE {column} = parent.key AND {DATED} AND {{scope}} LIMIT %(limit)s
            ) AS job
        )
        FROM unnest(%(parents)s::{_PARENT_TYPES[column]}[]) AS parent(key)"""
    )
    values = {"parents": list(parents), "limit": limit}
    return {
        row.parent: row.children for row in await fetch_all(connection, ChildCount, statement, scope, values)
    }


async def lock_trigger_jobs(
    connection: Connection, *, scope: Scope, ids: Sequence[int]
) -> list[TriggerJobRow]:
    """The jobs with these ids that lie in the scope, locked until the transaction ends."""
    return await fetch_all(connection, TriggerJobRow, LOCK_TRIGGER_JOBS, scope, {"ids": list(ids)})


async def hold_batches(connection: Connection, *, scope: Scope, ids: Sequence[UUID]) -> None:
    """Keep others from retrying these batches until the transaction ends. Lock the jobs before."""
    await fetch_count(connection, HOLD_BATCHES_OF_JOBS, scope, {"batch_ids": list(ids)})


async def list_unfinished_retries(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> set[int]:
    """Which of these jobs have a retry that is still pending or running."""
    return {
        row.id for row in await fetch_all(connection, JobIdRow, UNFINISHED_RETRIES, scope, {"ids": list(ids)})
    }


async def insert_retries(
    connection: Connection, *, scope: Scope, requests: Sequence[RetryRequest]
) -> list[TriggerJobRow]:
    """Add pending, forced copies of jobs that point back to them, one attempt further, in this order."""
    rows = [{"place": place, **request._asdict()} for place, request in enumerate(requests)]
    return await fetch_all(connection, TriggerJobRow, INSERT_RETRIES, scope, {"requests": Jsonb(rows)})


async def cancel_pending_jobs(
    connection: Connection, *, scope: Scope, ids: Sequence[int], reason: str
) -> list[TriggerJobRow]:
    """End those of these jobs that wait, and give them, in no order."""
    values = {"ids": list(ids), "reason": reason}
    return await fetch_all(connection, TriggerJobRow, CANCEL_PENDING_JOBS, scope, values)


async def fail_jobs(
    connection: Connection, *, scope: Scope, ids: Sequence[int], reason: str
) -> list[TriggerJobRow]:
    """End these jobs as failed, and give them, in no order."""
    values = {"ids": list(ids), "reason": reason}
    return await fetch_all(connection, TriggerJobRow, FAIL_JOBS, scope, values)


async def list_roots(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> dict[int, int]:
    """For each of these jobs, the first of its line of retries that can be seen: itself where it is none."""
    rows = await fetch_all(connection, RootRow, ROOTS_OF_JOBS, scope, {"ids": list(ids)})
    return {row.job_id: row.root_id for row in rows}
