"""TriggerJob: an event, and the chain of apps that it starts."""

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import strawberry
from strawberry.scalars import JSON

from db.budgets.reservations import ReservationRow
from db.jobs.batches import BatchRow
from db.jobs.trigger_jobs import TriggerJobFilter as Wanted
from db.jobs.trigger_jobs import TriggerJobRow
from db.loaders import CountKey, Loader
from db.runs.run_logs import RunLogRow
from db.sql.keyset import Page
from db.worker.circuits import CircuitWaitRow
from graph.context import Context, Info
from graph.types.budgets import BudgetState, verdict_on
from graph.types.fields import STATEMENT, numbered_id, resolved
from graph.types.ids import Kind
from graph.types.long_texts import long_json, long_text, truncated
from graph.types.node import Node
from graph.types.pagination import (
    After,
    Before,
    Connection,
    ConnectionPage,
    First,
    Last,
    page_request,
)
from graph.types.ranges import TimeRange, time_range
from graph.types.run_logs import RunLogConnection
from graph.types.scalars import BigInt
from graph.types.statuses import JobStatus, status_of, words
from resolvers.budgets.spending import Spending
from resolvers.jobs import trigger_jobs as job_cases
from resolvers.jobs.chains import apps_of
from resolvers.periods import midnight, today

if TYPE_CHECKING:
    from graph.types.batches import Batch


def _status(root: strawberry.Parent[TriggerJobRow]) -> JobStatus:
    return status_of(JobStatus, root.status)


def _status_text(root: strawberry.Parent[TriggerJobRow]) -> str:
    return root.status


def _app_chain(root: strawberry.Parent[TriggerJobRow]) -> list[str]:
    return apps_of(root)


async def _budget_state(root: strawberry.Parent[TriggerJobRow], info: Info) -> BudgetState:
    apps = dict.fromkeys(apps_of(root), 0)
    verdict = await verdict_on(info, Spending.of(root.site_id, apps))
    return BudgetState(verdict.state if verdict else "ok")


async def _retry_of(root: strawberry.Parent[TriggerJobRow], info: Info) -> TriggerJobRow | None:
    if root.retry_of_id is None:
        return None
    return await info.context.loaders.trigger_jobs.load(root.retry_of_id)


async def _root(root: strawberry.Parent[TriggerJobRow], info: Info) -> TriggerJobRow:
    if root.retry_of_id is None:
        return root
    root_id = await info.context.loaders.roots_of_jobs.load(root.id)
    first = None if root_id is None else await info.context.loaders.trigger_jobs.load(root_id)
    return first or root


async def _waits_for(root: strawberry.Parent[TriggerJobRow], info: Info) -> CircuitWaitRow | None:
    if root.finished_at is not None:
        return None
    return await info.context.loaders.circuit_waits.load(root.id)


async def _reservation(root: strawberry.Parent[TriggerJobRow], info: Info) -> ReservationRow | None:
    if root.status not in ("pending", "running"):
        return None
    return await info.context.loaders.reservations.load(root.id)


async def _batch(root: strawberry.Parent[TriggerJobRow], info: Info) -> BatchRow | None:
    return None if root.batch_id is None else await info.context.loaders.batches.load(root.batch_id)


async def _count(loader: Loader[CountKey, int], parent: int, limit: int) -> int:
    return await loader.load((parent, limit)) or 0


async def _run_logs(
    root: strawberry.Parent[TriggerJobRow],
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    request = page_request(Kind.RUN, first=first, after=after, last=last, before=before)
    page: Page[RunLogRow] | None = await info.context.loaders.runs_of_jobs.load((root.id, request))
    return ConnectionPage(
        page or Page((), has_next=False, has_previous=False),
        partial(_count, info.context.loaders.run_counts_of_jobs, root.id),
    )


async def _retries(
    root: strawberry.Parent[TriggerJobRow],
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    request = page_request(Kind.JOB, first=first, after=after, last=last, before=before)
    page = await info.context.loaders.retries_of_jobs.load((root.id, request))
    return ConnectionPage(
        page or Page((), has_next=False, has_previous=False),
        partial(_count, info.context.loaders.retry_counts_of_jobs, root.id),
        info.context.scope.narrow(root.site_id),
    )


async def _skipped_today(root: strawberry.Parent[ConnectionPage], info: Info) -> int:
    since = midnight(today(info.context.zone(), datetime.now(UTC)), info.context.zone())
    count = partial(job_cases.count_skipped_duplicates, info.context.database, since)
    return await info.context.loaders.of("skipped_duplicates", count).load(root.source) or 0


@strawberry.type(description="What keeps a job from its turn: an app that has failed too often.")
class CircuitWait:
    """Resolved from a `CircuitWaitRow`."""

    app_type: str = strawberry.field(description="The app that is not called, because its circuit is open.")
    since: datetime = strawberry.field(description="Since when the job waits for it.")
    next_probe_at: datetime = strawberry.field(
        description="When one job calls the app again, to see whether it answers."
    )
    until: datetime = strawberry.field(
        description="Until when the job waits at the longest; then it ends with a run that is CIRCUIT_OPEN."
    )


@strawberry.type(description="Tokens that a job which an operator started is expected to use.")
class Reservation:
    """Resolved from a `ReservationRow`."""

    tokens: BigInt = strawberry.field(description="How many, of all its apps together.")
    released_at: datetime | None = strawberry.field(
        description="When they were given free because nothing had moved the job for long; null while they"
        " are reserved. They are reserved again when one of our workers starts the job."
    )


@strawberry.type(description="An event, and the chain of apps that it starts.")
class TriggerJob(Node):
    """Resolved from a `TriggerJobRow`."""

    id: strawberry.ID = numbered_id(Kind.JOB, "The typed id, such as job_42.")
    site_id: strawberry.ID = strawberry.field(
        description="The site (tenant, shop, customer) it belongs to; empty where an adopted row has none."
    )
    event_type: str = strawberry.field(
        description="The event that started it; empty where an adopted row has none."
    )
    connector_type: str | None = strawberry.field(description="The connector that delivered the event.")
    member_id: strawberry.ID | None = strawberry.field(description="The member of the site it is about.")
    payload: JSON | None = long_json("payload", "What the event carried, as JSON.")
    payload_truncated: bool = truncated("payload")
    app_chain: list[str] = resolved(
        _app_chain,
        "The apps it calls, in order; each gets the answer of the one before.",
    )
    chain_start: int = strawberry.field(
        description="How many apps at the beginning of appChain it leaves out: a retry from the app that"
        " failed goes on with the answers of the job that it repeats. 0 for all other jobs."
    )
    is_forced: bool = strawberry.field(description="Whether it runs even where it repeats another job.")
    status: JobStatus = resolved(_status, "How far the job has come.")
    status_text: str = resolved(_status_text, "The status as it is stored.")
    error_message: str | None = long_text("What went wrong, where something did.")
    error_message_truncated: bool = truncated("errorMessage")
    waits_for: CircuitWait | None = resolved(
        _waits_for,
        "What keeps the job from its turn, or from its next app; null where nothing but its turn does.",
    )
    reservation: Reservation | None = resolved(
        _reservation, "What is reserved of the budgets for it; null once it has ended, and for most jobs."
    )
    attempt: int = strawberry.field(description="1 for a first run, one more for each retry.")
    started_at: datetime | None = strawberry.field(description="When its first app was called.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null before that.")
    created_at: datetime = strawberry.field(description="When it was created.")
    run_logs: RunLogConnection = resolved(_run_logs, "The calls of apps that it made, newest first.")
    retry_of: Annotated["TriggerJob", strawberry.lazy("graph.types.trigger_jobs")] | None = resolved(
        _retry_of, "The job that this one repeats, if it is a retry."
    )
    root: Annotated["TriggerJob", strawberry.lazy("graph.types.trigger_jobs")] = resolved(
        _root, "The first job of its line of retries: itself, unless it is a retry."
    )
    retries: Annotated["TriggerJobConnection", strawberry.lazy("graph.types.trigger_jobs")] = resolved(
        _retries, "The jobs that repeat this one, newest first."
    )
    batch: Annotated["Batch", strawberry.lazy("graph.types.batches")] | None = resolved(
        _batch, "The batch that it belongs to, if any."
    )
    budget_state: BudgetState = resolved(
        _budget_state,
        "How the budgets that count its site and apps stand now: the worst of their states, of those that"
        " you may see.",
    )

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, TriggerJobRow)


@strawberry.type(description="A page of jobs.")
class TriggerJobConnection(Connection[TriggerJob]):
    """A page of jobs; its source is the scope of the list."""

    skipped_duplicates_today: int = resolved(
        _skipped_today,
        "How many jobs of these sites were skipped as duplicates since midnight.",
        weight=STATEMENT,
    )


@strawberry.input(description="Conditions on jobs. All that are given must hold.")
class TriggerJobFilter:
    """Conditions on jobs."""

    site_id: strawberry.ID | None = strawberry.field(default=None, description="Only jobs of this site.")
    event_type: str | None = strawberry.field(default=None, description="Only jobs of this event.")
    status: list[JobStatus] | None = strawberry.field(
        default=None, description="Only jobs in one of these states."
    )
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only jobs about this member."
    )
    is_forced: bool | None = strawberry.field(default=None, description="Only forced jobs, or only others.")
    created_at: TimeRange | None = strawberry.field(
        default=None, description="Only jobs created within this time."
    )


def job_filter(given: TriggerJobFilter | None, context: Context) -> Wanted:
    """The filter as the store takes it."""
    if given is None:
        return Wanted()
    start, end = time_range(given.created_at, context)
    return Wanted(
        event_type=given.event_type,
        statuses=words(given.status),
        member_id=given.member_id,
        is_forced=given.is_forced,
        created_from=start,
        created_to=end,
    )
