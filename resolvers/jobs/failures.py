"""Ending jobs for good, whoever runs them: an admin's way out for what nobody else ends."""

from __future__ import annotations

from dataclasses import dataclass

from db.jobs import trigger_jobs as store
from db.jobs.trigger_jobs import TriggerJobRow
from db.postgres.pool import Connection, Database
from db.worker import queue
from db.worker.work import fail_open_runs
from resolvers.access.callers import Caller
from resolvers.errors import Conflict, NotFound, Refusal
from resolvers.jobs.cancellations import UNFINISHED, find_jobs
from resolvers.jobs.retries import FINISHED
from resolvers.jobs.selection import JobsRequest, choose_jobs
from resolvers.selection import SAMPLE, BulkResult, audit_changed, outcomes_of, refused_of


@dataclass(frozen=True, slots=True)
class FailedJobs(BulkResult):
    """What became of jobs that were to be ended as failed."""


async def fail_jobs(database: Database, caller: Caller, request: JobsRequest) -> FailedJobs:
    """End jobs as failed with the request's reason, in one transaction; one that has ended hinders no other.

    Their calls without an answer end with them, what they had reserved is free, and a worker of ours that
    runs one writes nothing more of it. Of a filter, only jobs that wait or run are meant. Raises InvalidInput
    for a request that cannot be carried out, and where more jobs are meant than its limit.
    """
    request = request.checked().narrowed(UNFINISHED)
    async with database.transaction() as transaction:
        chosen = await choose_jobs(transaction, caller.scope, request)
        if not chosen.is_whole:
            return FailedJobs(True, chosen.matched, 0, [], chosen.ids)
        queued, jobs = await find_jobs(transaction, caller, chosen.ids, lock=not request.is_dry_run)
        refusals = {job_id: _refusal(jobs.get(job_id)) for job_id in chosen.ids}
        refused = refused_of(refusals)
        ending = [job_id for job_id in chosen.ids if job_id not in refused]
        if ending and not request.is_dry_run:
            await _end(transaction, caller, request, ending, queued)
    done = {} if request.is_dry_run else {job_id: job_id for job_id in ending}
    outcomes = outcomes_of(chosen, refused, done)
    return FailedJobs(request.is_dry_run, chosen.matched, len(ending), outcomes, chosen.ids[:SAMPLE])


def _refusal(job: TriggerJobRow | None) -> Refusal | None:
    if job is None:
        return NotFound("There is no such job.")
    return Conflict(f"This job has ended already; it is {job.status}.") if job.status in FINISHED else None


async def _end(
    transaction: Connection, caller: Caller, request: JobsRequest, ids: list[int], queued: set[int]
) -> None:
    reason = f"failed by {caller.name}: {request.reason}"
    await fail_open_runs(transaction, scope=caller.scope, job_ids=ids, reason=reason)
    failed = await store.fail_jobs(transaction, scope=caller.scope, ids=ids, reason=reason)
    if leaving := sorted(queued & set(ids)):
        await queue.leave_places(transaction, scope=caller.scope, ids=leaving)
        await queue.ask_for_admission(transaction)
    await audit_changed(transaction, caller, "failJobs", request, failed)
