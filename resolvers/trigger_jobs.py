"""Trigger jobs: list them, and run a finished one again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from db import trigger_jobs as store
from db.budget import reserve_for_job
from db.keyset import Page, PageRequest
from db.pool import Database
from db.queue import enqueue_jobs
from db.scope import Scope
from db.trigger_jobs import TriggerJobFilter, TriggerJobRow
from resolvers.batches import tokens_of_calls
from resolvers.callers import Caller, audit
from resolvers.errors import Conflict, NotFound
from resolvers.spending import Spending, admit

_CHAIN_SEPARATOR = re.compile(r"\s*(?:,|->|>)\s*")
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


def apps_of(job: TriggerJobRow) -> list[str]:
    """The apps of the job's chain, in order, also where an adopted table stores the chain as text."""
    chain = job.app_chain or []
    return [app for app in _CHAIN_SEPARATOR.split(chain) if app] if isinstance(chain, str) else chain


async def retry_job(
    database: Database, caller: Caller, job_id: int, *, override: str | None = None
) -> TriggerJobRow:
    """Add a new pending, forced job that repeats a finished one and points back to it.

    It reserves what its apps are expected to use until it ends. `override` is the reason for which an admin
    passes a hard limit. Raises NotFound, BudgetExceeded, or Conflict where the job is not finished or a retry
    of it still waits or runs: so a double click makes one job.
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
        tokens = await tokens_of_calls(transaction, caller.scope.narrow(job.site_id), apps_of(job))
        spent = await admit(transaction, caller, Spending.of(job.site_id, tokens), override=override)
        retry = await store.insert_retry(transaction, scope=caller.scope, job_id=job_id)
        if retry is None:
            raise NotFound("There is no such job.")
        await reserve_for_job(transaction, scope=caller.scope, job_id=retry.id, tokens_by_app=tokens)
        await enqueue_jobs(transaction, scope=caller.scope, job_ids=[retry.id])
        await audit(
            transaction,
            caller,
            "retryJob",
            ("job", job.id),
            site_id=job.site_id,
            before={"status": job.status},
            after={"retry": retry.id, "attempt": retry.attempt, **spent},
        )
    return retry
