"""Trigger jobs: list them, and run a finished one again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from db import trigger_jobs as store
from db.keyset import Page, PageRequest
from db.pool import Database
from db.queue import enqueue_jobs
from db.scope import Scope
from db.trigger_jobs import TriggerJobFilter, TriggerJobRow
from resolvers.callers import Caller, audit
from resolvers.errors import Conflict, NotFound

FINISHED = ("failed", "success", "skipped_duplicate", "cancelled")


async def list_trigger_jobs(
    database: Database, scope: Scope, wanted: TriggerJobFilter, page: PageRequest
) -> Page[TriggerJobRow]:
    """One page of the jobs that match."""
    async with database.connection() as connection:
        return await store.list_trigger_jobs(connection, scope=scope, wanted=wanted, page=page)


async def count_trigger_jobs(database: Database, scope: Scope, wanted: TriggerJobFilter, most: int) -> int:
    """How many jobs match, counted no further than `most`."""
    async with database.connection() as connection:
        return await store.count_trigger_jobs(connection, scope=scope, wanted=wanted, most=most)


async def count_skipped_duplicates(
    database: Database, since: datetime, scopes: Sequence[Scope]
) -> dict[Scope, int]:
    """For each scope, how many jobs created since then were skipped because they repeated another."""
    sites = [scope.sites for scope in scopes]
    whole = Scope(None if None in sites else frozenset[str]().union(*(each for each in sites if each)))
    async with database.connection() as connection:
        counts = await store.count_skipped_duplicates(connection, scope=whole, since=since)
    return {scope: sum(count for site, count in counts.items() if scope.includes(site)) for scope in scopes}


async def retry_job(database: Database, caller: Caller, job_id: int) -> TriggerJobRow:
    """Add a new pending, forced job that repeats a finished one and points back to it.

    Raises NotFound, or Conflict where the job is not finished or a retry of it still waits or runs: so a
    double click makes one job.
    """
    async with database.transaction() as transaction:
        job = await store.lock_trigger_job(transaction, scope=caller.scope, job_id=job_id)
        if job is None:
            raise NotFound("There is no such job.")
        if job.status not in FINISHED:
            raise Conflict(
                f"Only a finished job can be retried; this one is {job.status or 'without a status'}."
            )
        if await store.get_unfinished_retry(transaction, scope=caller.scope, job_id=job_id):
            raise Conflict("A retry of this job is still waiting or running.")
        retry = await store.insert_retry(transaction, scope=caller.scope, job_id=job_id)
        if retry is None:
            raise NotFound("There is no such job.")
        await enqueue_jobs(transaction, scope=caller.scope, job_ids=[retry.id])
        await audit(
            transaction,
            caller,
            "retryJob",
            ("job", job.id),
            site_id=job.site_id,
            before={"status": job.status},
            after={"retry": retry.id, "attempt": retry.attempt},
        )
    return retry
