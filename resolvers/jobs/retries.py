"""Running finished jobs again: one, or many at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from db.jobs import trigger_jobs as store
from db.jobs.trigger_jobs import RetryRequest, TriggerJobRow
from db.postgres.pool import Connection, Database
from db.sql.scope import Scope
from db.worker.queue import enqueue_jobs
from resolvers.access.callers import Caller, audit
from resolvers.budgets.spending import Spending, check_budgets
from resolvers.errors import Conflict, NotFound, Refusal
from resolvers.jobs.batches import tokens_of_calls
from resolvers.jobs.chains import ChainStart, RetryFrom, apps_of, find_starts
from resolvers.jobs.selection import JobsRequest, choose_jobs
from resolvers.selection import SAMPLE, BulkResult, audit_changed, outcomes_of, refused_of

FINISHED = ("failed", "success", "skipped_duplicate", "cancelled")
# What a filter that names no status means: nobody wants all that went well to be done twice.
UNSUCCESSFUL = ("failed", "cancelled")


@dataclass(frozen=True, slots=True)
class RetriedJobs(BulkResult):
    """What became of jobs that were to be run again.

    `spending` is what they would reserve, and nothing more where they have; None above the limit.
    """

    spending: Spending | None

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """The same again from JSON."""
        made = super(RetriedJobs, cls).of_json(value)
        spending: Mapping[str, Any] | None = value["spending"]
        return made if spending is None else replace(made, spending=Spending.of_json(spending))


class _Plan(NamedTuple):
    """Which jobs are run again, in order, what that would use, and why the others are not."""

    jobs: dict[int, TriggerJobRow]
    retries: list[RetryRequest]
    spending: Spending
    refused: dict[int, Refusal]


async def retry_job(
    database: Database,
    caller: Caller,
    job_id: int,
    *,
    origin: RetryFrom = "start",
    override: str | None = None,
) -> TriggerJobRow:
    """Add a new pending, forced job that repeats a finished one and points back to it.

    From the failed app it begins with that one, which gets the answer of the app before it. It reserves what
    its apps are expected to use until it ends. `override` is the reason for which an admin passes a hard
    limit. Raises NotFound, BudgetExceeded, or Conflict where the job is not finished, a retry of it still
    waits or runs (so a double click makes one job), or it is not known which app failed.
    """
    async with database.transaction() as transaction:
        plan = await _plan(transaction, caller, [job_id], origin)
        if refusal := plan.refused.get(job_id):
            raise refusal
        (retry,), spent = await _start(transaction, caller, plan, override)
        place = {"chainStart": retry.chain_start} if origin == "failed_app" else {}
        await audit(
            transaction,
            caller,
            "retryJob",
            ("job", job_id),
            site_id=retry.site_id,
            before={"status": plan.jobs[job_id].status},
            after={"retry": retry.id, "attempt": retry.attempt, **place, **spent},
        )
    return retry


async def retry_jobs(
    database: Database,
    caller: Caller,
    request: JobsRequest,
    *,
    origin: RetryFrom = "start",
    override: str | None = None,
) -> RetriedJobs:
    """Run many jobs again as `retry_job` does, in one transaction; a job that cannot be hinders no other.

    Of a filter, only finished jobs are meant (the unsuccessful ones, unless it names states), and of a job
    and its retries only the newest. The budgets allow all of them or none. Raises BudgetExceeded, and
    InvalidInput for a request that cannot be carried out or where more jobs are meant than its limit.
    """
    request = request.checked()
    names_status = request.filters is not None and request.filters.statuses is not None
    request = request.narrowed(FINISHED if names_status else UNSUCCESSFUL, is_unretried=True)
    async with database.transaction() as transaction:
        chosen = await choose_jobs(transaction, caller.scope, request)
        if not chosen.is_whole:
            return RetriedJobs(True, chosen.matched, 0, [], chosen.ids, None)
        plan = await _plan(transaction, caller, chosen.ids, origin, lock=not request.is_dry_run)
        spending, made = plan.spending, {}
        if not request.is_dry_run:
            retries, spent = await _start(transaction, caller, plan, override)
            made = {retry.retry_of_id: retry.id for retry in retries if retry.retry_of_id}
            spending = spending.started()
            changed = [plan.jobs[retry.job_id] for retry in plan.retries]
            await audit_changed(transaction, caller, "retryJobs", request, changed, {"from": origin, **spent})
    outcomes = outcomes_of(chosen, plan.refused, made)
    count = len(plan.retries)
    return RetriedJobs(request.is_dry_run, chosen.matched, count, outcomes, chosen.ids[:SAMPLE], spending)


async def _plan(
    transaction: Connection, caller: Caller, ids: Sequence[int], origin: RetryFrom, *, lock: bool = True
) -> _Plan:
    scope = caller.scope
    get_jobs = store.lock_trigger_jobs if lock else store.get_trigger_jobs
    jobs = {job.id: job for job in await get_jobs(transaction, scope=scope, ids=ids)}
    batch_ids = {job.batch_id for job in jobs.values() if job.batch_id}
    if lock and batch_ids:
        await store.hold_batches(transaction, scope=scope, ids=list(batch_ids))
    retried = await store.list_unfinished_retries(transaction, scope=scope, ids=ids)
    refusals = {job_id: _refusal(jobs.get(job_id), job_id in retried) for job_id in ids}
    finished = [jobs[job_id] for job_id, refusal in refusals.items() if refusal is None]
    starts = await find_starts(transaction, scope, finished, origin)
    refused = refused_of(refusals) | {
        job_id: start for job_id, start in starts.items() if isinstance(start, Refusal)
    }
    begun = {job_id: start for job_id, start in starts.items() if isinstance(start, ChainStart)}
    retries, spending = await _requests(
        transaction, scope, [(jobs[job_id], begun[job_id]) for job_id in begun]
    )
    return _Plan(jobs, retries, spending, refused)


def _refusal(job: TriggerJobRow | None, is_retried: bool) -> Refusal | None:
    if job is None:
        return NotFound("There is no such job.")
    if job.status not in FINISHED:
        return Conflict(
            f"Only a finished job can be retried; this one is {job.status or 'without a status'}."
        )
    return Conflict("A retry of this job is still waiting or running.") if is_retried else None


async def _requests(
    transaction: Connection, scope: Scope, begun: Sequence[tuple[TriggerJobRow, ChainStart]]
) -> tuple[list[RetryRequest], Spending]:
    """The retries with what each reserves, and that together."""
    apps = {job.id: apps_of(job)[start.position :] for job, start in begun}
    called: dict[str, list[str]] = {}
    for job, _ in begun:
        called.setdefault(job.site_id, []).extend(apps[job.id])
    means = {
        site_id: await tokens_of_calls(transaction, scope.narrow(site_id), list(dict.fromkeys(names)))
        for site_id, names in called.items()
    }
    retries: list[RetryRequest] = []
    totals: dict[str, dict[str, float]] = {site_id: {} for site_id in means}
    for job, start in begun:
        tokens: dict[str, float] = {}
        for app in apps[job.id]:
            tokens[app] = tokens.get(app, 0) + means[job.site_id][app]
        retries.append(RetryRequest(job.id, tokens, start.position, start.input_run_id))
        total = totals[job.site_id]
        total |= {app: total.get(app, 0) + used for app, used in tokens.items()}
    return retries, Spending.together([Spending.of(*each) for each in totals.items()])


async def _start(
    transaction: Connection, caller: Caller, plan: _Plan, override: str | None
) -> tuple[list[TriggerJobRow], dict[str, Any]]:
    """Make the retries of the plan; gives them, and what the audit entry should say of the budgets."""
    if not plan.retries:
        return [], {}
    spent = await check_budgets(transaction, caller, plan.spending, override=override)
    retries = await store.insert_retries(transaction, scope=caller.scope, requests=plan.retries)
    await enqueue_jobs(transaction, scope=caller.scope, job_ids=[retry.id for retry in retries])
    return retries, spent
