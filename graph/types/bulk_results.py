"""What became of many jobs that were to be retried, cancelled or failed at once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import strawberry

from db.jobs.trigger_jobs import TriggerJobRow
from graph.context import Info
from graph.types.budgets import BudgetVerdict, verdict_on
from graph.types.fields import resolved
from graph.types.ids import Kind, print_id
from graph.types.refusals import Conflict, NotFound, Refusal
from graph.types.scalars import BigInt
from graph.types.trigger_jobs import TriggerJob
from resolvers.budgets.spending import Verdict
from resolvers.jobs.cancellations import CancelledJobs as CancelledJobsRow
from resolvers.jobs.failures import FailedJobs as FailedJobsRow
from resolvers.jobs.retries import RetriedJobs as RetriedJobsRow
from resolvers.jobs.selection import DEFAULT_JOBS, SAMPLE, BulkResult
from resolvers.jobs.selection import JobOutcome as JobOutcomeRow

_REFUSALS: dict[str, type[NotFound | Conflict]] = {"NOT_FOUND": NotFound, "CONFLICT": Conflict}


def _job_id(root: strawberry.Parent[JobOutcomeRow]) -> strawberry.ID:
    return strawberry.ID(print_id(Kind.JOB, root.job_id))


async def _job(root: strawberry.Parent[JobOutcomeRow], info: Info) -> TriggerJobRow | None:
    return None if root.result_id is None else await info.context.loaders.trigger_jobs.load(root.result_id)


def _refusal(root: strawberry.Parent[JobOutcomeRow]) -> Refusal | None:
    return None if root.code is None else _REFUSALS[root.code](code=root.code, message=root.message or "")


@strawberry.type(description="What became of one job of many.")
class JobOutcome:
    """Resolved from a `resolvers.jobs.selection.JobOutcome`."""

    job_id: strawberry.ID = resolved(_job_id, "The job that was meant.")
    job: TriggerJob | None = resolved(
        _job,
        "What came of it: the new job of a retry, or the job that was ended. Null where it was refused,"
        " and in a dry run.",
    )
    refusal: Refusal | None = resolved(
        _refusal, "Why nothing was done with it, or would be. It hinders no other job."
    )


def _dry_run(root: strawberry.Parent[BulkResult]) -> bool:
    return root.is_dry_run


def _matched(root: strawberry.Parent[BulkResult]) -> BigInt:
    return BigInt(root.matched)


def _results(root: strawberry.Parent[BulkResult]) -> Sequence[JobOutcomeRow]:
    return root.outcomes


async def _sample(root: strawberry.Parent[BulkResult], info: Info) -> list[TriggerJobRow]:
    jobs = await asyncio.gather(*map(info.context.loaders.trigger_jobs.load, root.sample))
    return [job for job in jobs if job]


async def _budget_verdict(root: strawberry.Parent[RetriedJobsRow], info: Info) -> Verdict | None:
    return None if root.spending is None else await verdict_on(info, root.spending)


_DRY_RUN = "Whether this only says what would be done."
_MATCHED = "How many jobs are meant: the ids that were given, or what the filter selects."
_RESULTS = (
    "What became of each job, or would become of it: in the order of the ids, or oldest first. Empty in a dry"
    " run that is above the limit."
)
_SAMPLE = f"The first of the jobs that are meant, {SAMPLE} at most."


@strawberry.type(description="Jobs that were to be run again.")
class RetriedJobs:
    """The success of retryJobs; resolved from a `resolvers.jobs.retries.RetriedJobs`."""

    dry_run: bool = resolved(_dry_run, _DRY_RUN)
    matched: BigInt = resolved(_matched, _MATCHED)
    count: int = strawberry.field(description="How many of them run again, or would.")
    results: list[JobOutcome] = resolved(_results, _RESULTS, rows=DEFAULT_JOBS)
    sample: list[TriggerJob] = resolved(_sample, _SAMPLE, rows=SAMPLE)
    budget_verdict: BudgetVerdict | None = resolved(
        _budget_verdict,
        "What the budgets say to retrying them, or once they are retried, to what is reserved. Null in a dry"
        " run that is above the limit.",
    )

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, RetriedJobsRow)


@strawberry.type(description="Jobs that were to be stopped.")
class CancelledJobs:
    """The success of cancelJobs; resolved from a `resolvers.jobs.cancellations.CancelledJobs`."""

    dry_run: bool = resolved(_dry_run, _DRY_RUN)
    matched: BigInt = resolved(_matched, _MATCHED)
    count: int = strawberry.field(
        description="How many of them are cancelled or will stop before their next app, or would."
    )
    results: list[JobOutcome] = resolved(_results, _RESULTS, rows=DEFAULT_JOBS)
    sample: list[TriggerJob] = resolved(_sample, _SAMPLE, rows=SAMPLE)

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, CancelledJobsRow)


@strawberry.type(description="Jobs that were to be ended as failed.")
class FailedJobs:
    """The success of failJobs; resolved from a `resolvers.jobs.failures.FailedJobs`."""

    dry_run: bool = resolved(_dry_run, _DRY_RUN)
    matched: BigInt = resolved(_matched, _MATCHED)
    count: int = strawberry.field(description="How many of them have failed now, or would have.")
    results: list[JobOutcome] = resolved(_results, _RESULTS, rows=DEFAULT_JOBS)
    sample: list[TriggerJob] = resolved(_sample, _SAMPLE, rows=SAMPLE)

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, FailedJobsRow)
