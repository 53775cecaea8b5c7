"""Trigger jobs: list them, run them again, stop them."""

from enum import Enum
from functools import partial
from typing import Annotated

import strawberry

from db.jobs.trigger_jobs import TriggerJobRow
from graph.auth.permissions import Administers
from graph.context import Context, Info
from graph.operations.budgets import BudgetOverride, reason_of
from graph.operations.changes import BulkInput, KeyedInput, mutation
from graph.operations.lists import Listing, TypedId, filter_argument, list_field
from graph.types import bulk_results as types
from graph.types.bounds import FORMED, bound
from graph.types.fields import resolved
from graph.types.ids import Kind, parse_id, parse_ids
from graph.types.pagination import EXACT_TOTAL
from graph.types.refusals import BudgetExceeded, Conflict, InvalidInput, NotFound
from graph.types.statuses import described
from graph.types.trigger_jobs import TriggerJob, TriggerJobConnection, TriggerJobFilter, job_filter
from resolvers.jobs import cancellations, failures, retries
from resolvers.jobs import trigger_jobs as cases
from resolvers.jobs.chains import RetryFrom as Origin
from resolvers.jobs.selection import JobsRequest
from resolvers.selection import MAX_ITEMS


def _lists(context: Context, filter: TriggerJobFilter | None) -> Listing:
    scope = context.scope.narrow(filter.site_id if filter else None)
    filters = job_filter(filter, context)
    count = partial(cases.count_trigger_jobs, context.database, scope, filters)
    return Listing(
        partial(cases.list_trigger_jobs, context.database, scope, filters),
        count,
        partial(count, EXACT_TOTAL, dated=False),
        source=scope,
    )


async def _trigger_job(info: Info, id: TypedId) -> TriggerJobRow | None:
    return await info.context.loaders.whole.trigger_jobs.load(parse_id(id, Kind.JOB, "id"))


@strawberry.enum(description="Where in its chain of apps a retry begins.")
class RetryFrom(Enum):
    """Words of `resolvers.jobs.chains.RetryFrom`."""

    START = described("start", "With the first app: everything is done again.")
    FAILED_APP = described(
        "failed_app",
        "With the first app that has not succeeded; it gets the answer of the one before. Conflict where that"
        " is not known: the job was not run by our workers, or all its apps have succeeded.",
    )


_FROM = "Where in its chain it begins. START does every call again, which is always possible."
_OVERRIDE = "For admins: start it although it passes a hard limit of a budget."


@strawberry.input(description="Which job to run again.")
class RetryJobInput(KeyedInput):
    """Input of retryJob."""

    job_id: strawberry.ID = strawberry.field(
        metadata=FORMED, description="The id of a finished job, such as job_42."
    )
    origin: RetryFrom = strawberry.field(default=RetryFrom.START, name="from", description=_FROM)
    override: BudgetOverride | None = strawberry.field(default=None, description=_OVERRIDE)


@strawberry.input(description="Which job to stop.")
class CancelJobInput(KeyedInput):
    """Input of cancelJob."""

    job_id: strawberry.ID = strawberry.field(
        metadata=FORMED, description="The id of a job that waits or runs, such as job_42."
    )


@strawberry.input(description="Which jobs are meant: either jobIds or filter.")
class JobsInput(BulkInput):
    """What the inputs of retryJobs, cancelJobs and failJobs have in common."""

    job_ids: list[strawberry.ID] | None = strawberry.field(
        metadata=bound(items=MAX_ITEMS, is_told=False),
        default=None,
        description="The ids of the jobs. Duplicates count once.",
    )


@strawberry.input(description="Which jobs to run again: either jobIds or filter.")
class RetryJobsInput(JobsInput):
    """Input of retryJobs."""

    filter: TriggerJobFilter | None = strawberry.field(
        default=None,
        description="Finished jobs that match; without status, the failed and the cancelled ones. Of a job"
        " and its retries only the newest is meant.",
    )
    origin: RetryFrom = strawberry.field(default=RetryFrom.START, name="from", description=_FROM)
    override: BudgetOverride | None = strawberry.field(default=None, description=_OVERRIDE)


@strawberry.input(description="Which jobs to stop: either jobIds or filter.")
class CancelJobsInput(JobsInput):
    """Input of cancelJobs."""

    filter: TriggerJobFilter | None = strawberry.field(
        default=None, description="Jobs that match, and wait or run."
    )


@strawberry.input(description="Which jobs to end as failed: either jobIds or filter.")
class FailJobsInput(JobsInput):
    """Input of failJobs."""

    filter: TriggerJobFilter | None = strawberry.field(
        default=None, description="Jobs that match, and wait or run."
    )


RetryJobResult = Annotated[
    TriggerJob | NotFound | Conflict | BudgetExceeded,
    strawberry.union("RetryJobResult", description="The new job, or why there is none."),
]
CancelJobResult = Annotated[
    TriggerJob | NotFound | Conflict,
    strawberry.union("CancelJobResult", description="The stopped job, or why it was not stopped."),
]
RetryJobsResult = Annotated[
    types.RetriedJobs | InvalidInput | Conflict | BudgetExceeded,
    strawberry.union("RetryJobsResult", description="What became of each job, or why nothing was done."),
]
CancelJobsResult = Annotated[
    types.CancelledJobs | InvalidInput | Conflict,
    strawberry.union("CancelJobsResult", description="What became of each job, or why nothing was done."),
]


FailJobsResult = Annotated[
    types.FailedJobs | InvalidInput | Conflict,
    strawberry.union("FailJobsResult", description="What became of each job, or why nothing was done."),
]


async def _retry_job(context: Context, input: RetryJobInput) -> TriggerJobRow:
    job_id = parse_id(input.job_id, Kind.JOB, "jobId")
    override = reason_of(context, input.override)
    return await retries.retry_job(
        context.database, context.caller, job_id, origin=_origin(input.origin), override=override
    )


async def _retry_jobs(context: Context, input: RetryJobsInput) -> retries.RetriedJobs:
    override = reason_of(context, input.override)
    return await retries.retry_jobs(
        context.database,
        context.caller,
        _request(context, input, input.filter),
        origin=_origin(input.origin),
        override=override,
    )


async def _cancel_job(context: Context, input: CancelJobInput) -> TriggerJobRow:
    job_id = parse_id(input.job_id, Kind.JOB, "jobId")
    return await cancellations.cancel_job(context.database, context.caller, job_id)


async def _cancel_jobs(context: Context, input: CancelJobsInput) -> cancellations.CancelledJobs:
    request = _request(context, input, input.filter)
    return await cancellations.cancel_jobs(context.database, context.caller, request)


async def _fail_jobs(context: Context, input: FailJobsInput) -> failures.FailedJobs:
    request = _request(context, input, input.filter)
    return await failures.fail_jobs(context.database, context.caller, request)


def _origin(given: RetryFrom) -> Origin:
    return "failed_app" if given is RetryFrom.FAILED_APP else "start"


def _request(context: Context, given: JobsInput, filter: TriggerJobFilter | None) -> JobsRequest:
    return JobsRequest(
        ids=parse_ids(given.job_ids, Kind.JOB, "jobIds"),
        filters=None if filter is None else job_filter(filter, context),
        site_id=filter.site_id if filter else None,
        limit=given.limit,
        is_dry_run=given.dry_run,
        reason=given.reason,
    )


@strawberry.type
class JobQueries:
    """Root fields of `Query`."""

    trigger_jobs: TriggerJobConnection = list_field(
        Kind.JOB, _lists, "Jobs.", narrowed_by=filter_argument(TriggerJobFilter, "jobs")
    )
    trigger_job: TriggerJob | None = resolved(
        _trigger_job,
        "One job; null where there is none of that id.",
    )


@strawberry.type
class JobMutations:
    """Root fields of `Mutation`."""

    retry_job = mutation(
        _retry_job,
        RetryJobResult,
        "Add a new, forced job that repeats a finished one. Conflict while a retry of it waits or runs.",
    )
    retry_jobs = mutation(
        _retry_jobs,
        RetryJobsResult,
        "Run many jobs again in one transaction. One that cannot be is refused by itself and hinders no"
        " other; the budgets allow all of the rest or none.",
    )
    cancel_job = mutation(
        _cancel_job,
        CancelJobResult,
        "Stop a job: at once where it waits, before its next app where it runs on our workers.",
    )
    cancel_jobs = mutation(
        _cancel_jobs,
        CancelJobsResult,
        "Stop many jobs in one transaction. One that cannot be is refused by itself and hinders no other.",
    )
    fail_jobs = mutation(
        _fail_jobs,
        FailJobsResult,
        "End jobs as failed, whoever runs them: for what nobody else ends, such as the jobs of a dispatcher"
        " that is gone. Their calls without an answer fail with them, and nothing stays reserved for them.",
        Administers,
    )
