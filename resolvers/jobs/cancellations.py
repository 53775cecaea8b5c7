"""Stopping jobs: one, or many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from db.jobs import trigger_jobs as store
from db.jobs.trigger_jobs import TriggerJobRow
from db.postgres.pool import Connection, Database
from db.worker import queue
from resolvers.access.callers import Caller, audit
from resolvers.errors import Conflict, NotFound, Refusal
from resolvers.jobs.selection import JobsRequest, choose_jobs
from resolvers.selection import SAMPLE, BulkResult, audit_changed, outcomes_of, refused_of

UNFINISHED = ("pending", "running")


@dataclass(frozen=True, slots=True)
class CancelledJobs(BulkResult):
    """What became of jobs that were to be stopped."""


class _Plan(NamedTuple):
    """Which jobs are stopped: those that wait at once, those that run before their next app."""

    waiting: dict[int, TriggerJobRow]
    running: dict[int, TriggerJobRow]
    queued: set[int]
    refused: dict[int, Refusal]


async def cancel_job(database: Database, caller: Caller, job_id: int) -> TriggerJobRow:
    """End a job that waits, or have one that runs on our workers stop before its next app.

    Gives the job: cancelled, or still running until the app that works on it has answered. Raises NotFound,
    or Conflict where the job has ended or another dispatcher runs it.
    """
    async with database.transaction() as transaction:
        plan = await _plan(transaction, caller, [job_id])
        if refusal := plan.refused.get(job_id):
            raise refusal
        (job,) = await _stop(transaction, caller, plan, f"cancelled by {caller.name}")
        after = {"status": job.status}
        await audit(transaction, caller, "cancelJob", ("job", job_id), site_id=job.site_id, after=after)
    return job


async def cancel_jobs(database: Database, caller: Caller, request: JobsRequest) -> CancelledJobs:
    """Stop many jobs as `cancel_job` does, in one transaction; a job that cannot be stopped stops no other.

    Of a filter, only jobs that wait or run are meant. Raises InvalidInput for a request that cannot be
    carried out, and where more jobs are meant than its limit.
    """
    request = request.checked().narrowed(UNFINISHED)
    async with database.transaction() as transaction:
        chosen = await choose_jobs(transaction, caller.scope, request)
        if not chosen.is_whole:
            return CancelledJobs(True, chosen.matched, 0, [], chosen.ids)
        plan = await _plan(transaction, caller, chosen.ids, lock=not request.is_dry_run)
        if not request.is_dry_run:
            reason = f"cancelled by {caller.name}: {request.reason}"
            stopped = await _stop(transaction, caller, plan, reason)
            await audit_changed(transaction, caller, "cancelJobs", request, stopped)
    done = [*plan.waiting, *plan.running]
    outcomes = outcomes_of(chosen, plan.refused, {} if request.is_dry_run else {job: job for job in done})
    return CancelledJobs(request.is_dry_run, chosen.matched, len(done), outcomes, chosen.ids[:SAMPLE])


async def find_jobs(
    transaction: Connection, caller: Caller, ids: Sequence[int], *, lock: bool
) -> tuple[set[int], dict[int, TriggerJobRow]]:
    """Which of these jobs have a place in the queue, and the jobs; locked in the order of the workers."""
    get_places = queue.lock_places if lock else queue.get_places
    get_jobs = store.lock_trigger_jobs if lock else store.get_trigger_jobs
    queued = await get_places(transaction, scope=caller.scope, ids=ids)
    jobs = await get_jobs(transaction, scope=caller.scope, ids=ids)
    return queued, {job.id: job for job in jobs}


async def _plan(transaction: Connection, caller: Caller, ids: Sequence[int], *, lock: bool = True) -> _Plan:
    queued, jobs = await find_jobs(transaction, caller, ids, lock=lock)
    refusals = {job_id: _refusal(jobs.get(job_id), job_id in queued) for job_id in ids}
    refused = refused_of(refusals)
    stopped = [job for job in jobs.values() if job.id not in refused]
    return _Plan(
        {job.id: job for job in stopped if job.status == "pending"},
        {job.id: job for job in stopped if job.status == "running"},
        queued,
        refused,
    )


def _refusal(job: TriggerJobRow | None, is_queued: bool) -> Refusal | None:
    if job is None:
        return NotFound("There is no such job.")
    if job.status not in UNFINISHED:
        return Conflict(f"This job has ended already; it is {job.status or 'without a status'}.")
    if job.status == "running" and not is_queued:
        return Conflict(
            "This job is run by another dispatcher; only that one can stop it, or an admin by failJobs."
        )
    return None


async def _stop(transaction: Connection, caller: Caller, plan: _Plan, reason: str) -> list[TriggerJobRow]:
    """Stop the jobs of the plan, and give them as they are now."""
    scope = caller.scope
    cancelled = await store.cancel_pending_jobs(
        transaction, scope=scope, ids=list(plan.waiting), reason=reason
    )
    if plan.running:
        await queue.request_cancels(transaction, scope=scope, ids=list(plan.running))
    if leaving := sorted(plan.queued & set(plan.waiting)):
        await queue.leave_places(transaction, scope=scope, ids=leaving)
    if leaving or plan.running:
        # One that runs may be waiting for an app, and ends when it is looked at.
        await queue.ask_for_admission(transaction)
    return [*cancelled, *plan.running.values()]
