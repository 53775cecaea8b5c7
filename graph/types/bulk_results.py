"""What became of many jobs or alerts that were to be changed at once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import strawberry

from db.jobs.trigger_jobs import TriggerJobRow
from db.runs.alerts import AlertRow
from graph.context import Info
from graph.types.alerts import Alert
from graph.types.budgets import BudgetVerdict, verdict_on
from graph.types.fields import resolved
from graph.types.ids import Kind, print_id
from graph.types.refusals import Conflict, NotFound, Refusal, RefusalCode
from graph.types.scalars import BigInt
from graph.types.trigger_jobs import TriggerJob
from resolvers.budgets.spending import Verdict
from resolvers.jobs.cancellations import CancelledJobs as CancelledJobsRow
from resolvers.jobs.failures import FailedJobs as FailedJobsRow
from resolvers.jobs.retries import RetriedJobs as RetriedJobsRow
from resolvers.runs.alerts import ChangedAlerts as ChangedAlertsRow
from resolvers.selection import DEFAULT_ITEMS, SAMPLE, BulkResult, Outcome

_REFUSALS = {RefusalCode.NOT_FOUND: NotFound, RefusalCode.CONFLICT: Conflict}


def _job_id(root: strawberry.Parent[Outcome]) -> strawberry.ID:
    return strawberry.ID(print_id(Kind.JOB, root.id))


async def _job(root: strawberry.Parent[Outcome], info: Info) -> TriggerJobRow | None:
    return None if root.result_id is None else await info.context.loaders.trigger_jobs.load(root.result_id)


def _refusal(root: strawberry.Parent[Outcome]) -> Refusal | None:
    if root.code is None:
        return None
    code = RefusalCode(root.code)
    return _REFUSALS[code](code=code, message=root.message or "")


@strawberry.type(description="What became of one job of many.")
class JobOutcome:
    """Resolved from an `Outcome`."""

    job_id: strawberry.ID = resolved(_job_id, "The job that was meant.")
    job: TriggerJob | None = resolved(
        _job,
        "What came of it: the new job of a retry, or the job that was ended. Null where it was refused,"
        " and in a dry run.",
    )
    refusal: Refusal | None = resolved(
        _refusal, "Why nothing was done with it, or would be. It hinders no other job."
    )


def _alert_id(root: strawberry.Parent[Outcome]) -> strawberry.ID:
    return strawberry.ID(print_id(Kind.ALERT, root.id))


async def _alert(root: strawberry.Parent[Outcome], info: Info) -> AlertRow | None:
    return None if root.result_id is None else await info.context.loaders.alerts.load(root.result_id)


@strawberry.type(description="What became of one alert of many.")
class AlertOutcome:
    """Resolved from an `Outcome`."""

    alert_id: strawberry.ID = resolved(_alert_id, "The alert that was meant.")
    alert: Alert | None = resolved(
        _alert, "The alert as it is now. Null where it was refused, and in a dry run."
    )
    refusal: Refusal | None = resolved(
        _refusal, "Why nothing was done with it, or would be. It hinders no other alert."
    )


def _dry_run(root: strawberry.Parent[BulkResult]) -> bool:
    return root.is_dry_run


def _matched(root: strawberry.Parent[BulkResult]) -> BigInt:
    return BigInt(root.matched)


def _results(root: strawberry.Parent[BulkResult]) -> Sequence[Outcome]:
    return root.outcomes


async def _sample(root: strawberry.Parent[BulkResult], info: Info) -> list[TriggerJobRow]:
    jobs = await asyncio.gather(*map(info.context.loaders.trigger_jobs.load, root.sample))
    return [job for job in jobs if job]


async def _sampled_alerts(root: strawberry.Parent[BulkResult], info: Info) -> list[AlertRow]:
    alerts = await asyncio.gather(*map(info.context.loaders.alerts.load, root.sample))
    return [alert for alert in alerts if alert]


async def _budget_verdict(root: strawberry.Parent[RetriedJobsRow], info: Info) -> Verdict | None:
    return None if root.spending is None else await verdict_on(info, root.spending)


_DRY_RUN = "Whether this only says what would be done."
_MATCHED = "How many are meant: the ids that were given, or what the filter selects."
_RESULTS = (
    "What became of each, or would become of it: in the order of the ids, or oldest first. Empty in a dry"
    " run that is above the limit."
)
_SAMPLE = f"The first of those that are meant, {SAMPLE} at most."


@strawberry.type(description="Jobs that were to be run again.")
class RetriedJobs:
    """The success of retryJobs; resolved from a `resolvers.jobs.retries.RetriedJobs`."""

    dry_run: bool = resolved(_dry_run, _DRY_RUN)
    matched: BigInt = resolved(_matched, _MATCHED)
    count: int = strawberry.field(description="How many of them run again, or would.")
    results: list[JobOutcome] = resolved(_results, _RESULTS, rows=DEFAULT_ITEMS)
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
    results: list[JobOutcome] = resolved(_results, _RESULTS, rows=DEFAULT_ITEMS)
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
    results: list[JobOutcome] = resolved(_results, _RESULTS, rows=DEFAULT_ITEMS)
    sample: list[TriggerJob] = resolved(_sample, _SAMPLE, rows=SAMPLE)

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, FailedJobsRow)


@strawberry.type(description="Alerts that were to be acknowledged, ignored or reopened.")
class ChangedAlerts:
    """The success of ackAlerts, ignoreAlerts and reopenAlerts; resolved from a row of that name."""

    dry_run: bool = resolved(_dry_run, _DRY_RUN)
    matched: BigInt = resolved(_matched, _MATCHED)
    count: int = strawberry.field(description="How many of them have the new status now, or would have.")
    results: list[AlertOutcome] = resolved(_results, _RESULTS, rows=DEFAULT_ITEMS)
    sample: list[Alert] = resolved(_sampled_alerts, _SAMPLE, rows=SAMPLE)

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, ChangedAlertsRow)
