"""Batch: calls that an operator may start after seeing what they cost."""

from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Annotated, Any

import strawberry

from db.jobs.batches import BatchFilter as Wanted
from db.jobs.batches import BatchRow
from db.sql.keyset import Page
from graph.context import Context, Info
from graph.types.budgets import BudgetVerdict, verdict_on
from graph.types.fields import STATEMENT, resolved
from graph.types.ids import Kind, print_id
from graph.types.node import Node
from graph.types.pagination import After, Before, Connection, ConnectionPage, First, Last, page_request
from graph.types.ranges import TimeRange, time_range
from graph.types.scalars import BigInt
from graph.types.statuses import BatchStatus, described, status_of, words
from graph.types.trigger_jobs import TriggerJobConnection
from resolvers.budgets.spending import Verdict
from resolvers.jobs import batches as batch_cases
from resolvers.jobs.batches import spending_of
from resolvers.jobs.warnings import BatchWarning as Warned
from resolvers.jobs.warnings import batch_warnings, may_run, names_of, served_apps
from resolvers.usage.costs import Cost, costs_of_batches
from resolvers.usage.estimates import cost_range, estimated_cost, tokens_range


async def _is_served(root: strawberry.Parent["AppEstimate"], info: Info) -> bool:
    context = info.context
    load_many = partial(served_apps, context.database)
    return bool(await context.loaders.of("served_apps", load_many).load(root.app_type))


@strawberry.type(description="What the calls of one app in a batch would cost.")
class AppEstimate:
    """One object of a batch's `app_estimates`."""

    app_type: str = strawberry.field(description="The app.")
    calls: int = strawberry.field(description="How many calls of it the batch makes.")
    mean_tokens: float = strawberry.field(
        description="Tokens a call: the mean of the app's newest calls at this site, or 2000."
    )
    sample_size: BigInt = strawberry.field(
        description="How many calls that mean is of: the newest 1,000 of the last 30 days (fewer each in a"
        " batch of more than 100 apps) that SUCCESS, FAILED or TIMEOUT ended and whose tokens are known. Runs"
        " in flight and CIRCUIT_OPEN never count. 0 where there is none."
    )
    is_fallback: bool = strawberry.field(
        description="True where the app has no such call at this site, so that 2000 tokens a call are"
        " assumed."
    )
    p10_tokens: float | None = strawberry.field(
        description="The smallest count that at least a tenth of those calls did not pass; null where there"
        " is none."
    )
    p90_tokens: float | None = strawberry.field(
        description="The smallest count that at least nine tenths of those calls did not pass; null where"
        " there is none."
    )
    recent_sample_size: int = strawberry.field(
        description="How many calls p10Tokens and p90Tokens are of: sampleSize, or the newest 200 of before"
        " this was one sample."
    )
    mean_cost: Decimal | None = strawberry.field(
        description="What a call has cost, on average over those of known cost; null where there is none."
    )
    is_served: bool = resolved(
        _is_served,
        "Whether a worker that serves the app was seen within its lease. Where none does, its jobs wait,"
        " unless a dispatcher of your own takes them.",
    )


@strawberry.enum(description="What a warning about a batch says.")
class BatchWarningCode(Enum):
    """Codes of `resolvers.jobs.warnings`."""

    SITE_NEVER_SEEN = described("site_never_seen", "No run of the batch's site is known.")
    APP_NEVER_SEEN = described(
        "app_never_seen", "No worker has ever served the app, and no run of it at the site is known."
    )
    APP_NOT_SERVED = described("app_not_served", "No worker that serves the app was seen lately.")


def _code(root: strawberry.Parent[Warned]) -> BatchWarningCode:
    return BatchWarningCode(root.code.value)


@strawberry.type(
    description="What may keep a batch from running as it was meant to. Nothing is refused for it."
)
class BatchWarning:
    """Resolved from a `resolvers.jobs.warnings.BatchWarning`."""

    code: BatchWarningCode = resolved(_code, "What it says, for programs.")
    message: str = strawberry.field(description="What it says, for people.")
    app_type: str | None = strawberry.field(description="The app it is about; null where it is the site.")


def _id(root: strawberry.Parent[BatchRow]) -> strawberry.ID:
    return strawberry.ID(print_id(Kind.BATCH, root.id))


def _status(root: strawberry.Parent[BatchRow]) -> BatchStatus:
    return BatchStatus.EXPIRED if root.is_expired else status_of(BatchStatus, root.status)


def _apps(root: strawberry.Parent[BatchRow]) -> list[AppEstimate]:
    return [_app(app) for app in root.app_estimates]


def _app(app: dict[str, Any]) -> AppEstimate:
    # Batches of earlier versions lack what was not estimated then.
    cost = app.get("mean_cost")
    return AppEstimate(
        app_type=app["app_type"],
        calls=app["calls"],
        mean_tokens=app["mean_tokens"],
        sample_size=app["sample_size"],
        is_fallback=app["sample_size"] == 0,
        p10_tokens=app.get("p10_tokens"),
        p90_tokens=app.get("p90_tokens"),
        recent_sample_size=app.get("recent_calls", 0),
        mean_cost=None if cost is None else Decimal(cost),
    )


@strawberry.type(
    description="Between what a total lies in about 8 of 10 cases, judged by how the app's newest calls"
    " differed in blocks of calls in a row, as calls that follow each other are alike. It held 75 to 90 % of"
    " totals of up to 300 calls on a real trace. For more calls than a third of sampleSize it is a guess, and"
    " of what the history has not seen, such as a new prompt, it knows nothing."
)
class TokenRange:
    """Resolved from `resolvers.usage.estimates.tokens_range`."""

    low: BigInt = strawberry.field(description="In about 1 of 10 cases it is fewer tokens.")
    high: BigInt = strawberry.field(description="In about 1 of 10 cases it is more tokens.")


@strawberry.type(description="As TokenRange, in money.")
class CostRange:
    """Resolved from `resolvers.usage.estimates.cost_range`."""

    low: Decimal = strawberry.field(description="In about 1 of 10 cases it costs less.")
    high: Decimal = strawberry.field(description="In about 1 of 10 cases it costs more.")


def _tokens_range(root: strawberry.Parent[BatchRow]) -> TokenRange | None:
    between = tokens_range(root.app_estimates)
    return between and TokenRange(low=BigInt(between[0]), high=BigInt(between[1]))


def _estimated_cost(root: strawberry.Parent[BatchRow]) -> Decimal | None:
    return estimated_cost(root.app_estimates)


def _cost_range(root: strawberry.Parent[BatchRow]) -> CostRange | None:
    between = cost_range(root.app_estimates)
    return between and CostRange(low=between[0], high=between[1])


async def _budget_verdict(root: strawberry.Parent[BatchRow], info: Info) -> Verdict | None:
    return await verdict_on(info, spending_of(root))


async def _jobs(
    root: strawberry.Parent[BatchRow],
    info: Info,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    request = page_request(Kind.JOB, first=first, after=after, last=last, before=before)
    page = await info.context.loaders.jobs_of_batches.load((root.id, request))
    counts = info.context.loaders.job_counts_of_batches

    async def count(limit: int) -> int:
        return await counts.load((root.id, limit)) or 0

    return ConnectionPage(
        page or Page((), has_next=False, has_previous=False), count, info.context.scope.narrow(root.site_id)
    )


@strawberry.type(description="How far a batch has come. It counts jobs, one per app and member.")
class BatchProgress:
    """Resolved from `resolvers.jobs.batches.BatchProgress`."""

    total: int = strawberry.field(description="How many jobs it has.")
    pending: int = strawberry.field(description="How many wait.")
    running: int = strawberry.field(description="How many run.")
    succeeded: int = strawberry.field(description="How many have succeeded.")
    failed: int = strawberry.field(description="How many have ended otherwise, cancelled ones among them.")
    tokens_used: BigInt = strawberry.field(
        description="Tokens that its jobs have used, counted when a job ends; compare with estimatedTokens."
    )
    expected_end_at: datetime | None = strawberry.field(
        description="When it will have ended at the pace so far; null before a job has ended, and at the end."
    )


async def _retry_of(root: strawberry.Parent[BatchRow], info: Info) -> BatchRow | None:
    return None if root.retry_of_id is None else await info.context.loaders.batches.load(root.retry_of_id)


async def _progress(root: strawberry.Parent[BatchRow], info: Info) -> batch_cases.BatchProgress | None:
    if root.confirmed_at is None:
        return None
    counts = None if root.finished_at else await info.context.loaders.batch_counts.load(root.id)
    return batch_cases.batch_progress(root, counts, datetime.now(UTC))


async def _cost(root: strawberry.Parent[BatchRow], info: Info) -> Cost | None:
    if root.confirmed_at is None:
        return None
    context = info.context
    load_many = partial(costs_of_batches, context.database, context.scope)
    return await context.loaders.of("costs_of_batches", load_many).load(root.id)


async def _known_cost(root: strawberry.Parent[BatchRow], info: Info) -> Decimal | None:
    cost = await _cost(root, info)
    return cost and cost.cost


async def _unpriced_calls(root: strawberry.Parent[BatchRow], info: Info) -> BigInt | None:
    cost = await _cost(root, info)
    return cost and BigInt(cost.unpriced_calls)


async def _warnings(root: strawberry.Parent[BatchRow], info: Info) -> list[Warned]:
    if not may_run(root):
        return []
    context = info.context
    load_many = partial(batch_warnings, context.database, context.scope)
    return await context.loaders.of("batch_warnings", load_many).load(names_of(root)) or []


@strawberry.type(
    description="Calls of some apps for some members of a site, started together once confirmed."
)
class Batch(Node):
    """Resolved from a `BatchRow`."""

    id: strawberry.ID = resolved(_id, "The typed id, batch_ and 32 hexadecimal digits.")
    site_id: strawberry.ID = strawberry.field(description="The site (tenant, shop, customer) it belongs to.")
    app_types: list[str] = strawberry.field(description="The apps that are called.")
    member_count: int = strawberry.field(description="How many members each app is called for.")
    status: BatchStatus = resolved(_status, "How far the batch has come.")
    estimated_calls: int = strawberry.field(description="How many calls it makes: apps times members.")
    estimated_tokens: BigInt = strawberry.field(
        description="How many tokens these calls are expected to use."
    )
    estimated_cost: Decimal | None = resolved(
        _estimated_cost, "What they are expected to cost; null where that is unknown for one of the apps."
    )
    estimated_tokens_range: TokenRange | None = resolved(
        _tokens_range,
        "Between what the tokens lie in about 8 of 10 cases; null where an app's sampleSize is below 10.",
    )
    estimated_cost_range: CostRange | None = resolved(
        _cost_range,
        "Between what the cost lies in about 8 of 10 cases; null where an app has fewer than 10 calls of"
        " known cost.",
    )
    apps: list[AppEstimate] = resolved(_apps, "The estimate, app by app.", rows=50)
    warnings: list[BatchWarning] = resolved(
        _warnings,
        "What may keep it from running, as of now: names that were never seen, apps that nobody serves. Empty"
        " once it has ended or expired.",
        rows=50,
        weight=STATEMENT,
    )
    created_by: str = strawberry.field(description="Who asked for the estimate.")
    created_at: datetime = strawberry.field(description="When the estimate was made.")
    expires_at: datetime = strawberry.field(description="Until when it may be confirmed.")
    confirmed_by: str | None = strawberry.field(description="Who confirmed it.")
    confirmed_at: datetime | None = strawberry.field(description="When it was confirmed.")
    budget_verdict: BudgetVerdict = resolved(
        _budget_verdict,
        "What the budgets say now: to confirming it, or once it is confirmed, to what it has reserved.",
    )
    started_at: datetime | None = strawberry.field(description="When its first job was started by a worker.")
    finished_at: datetime | None = strawberry.field(description="When its last job had ended.")
    cancelled_by: str | None = strawberry.field(description="Who stopped it.")
    retry_of: Annotated["Batch", strawberry.lazy("graph.types.batches")] | None = resolved(
        _retry_of, "The batch whose failed jobs this one repeats, if any."
    )
    progress: BatchProgress | None = resolved(
        _progress, "How far its jobs have come; null before it is confirmed."
    )
    cost: Decimal | None = resolved(
        _known_cost,
        "What the runs of its jobs have cost so far, those of known cost; null where that of none is known.",
    )
    unpriced_calls: BigInt | None = resolved(
        _unpriced_calls,
        "Runs of its jobs that cost does not hold: their model, tokens or price is unknown, or they are in"
        " flight; null before it is confirmed.",
    )
    jobs: TriggerJobConnection = resolved(_jobs, "The jobs that confirming it created, newest first.")

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, BatchRow)


@strawberry.type(description="A page of batches.")
class BatchConnection(Connection[Batch]):
    """A page of batches."""


@strawberry.input(description="Conditions on batches. All that are given must hold.")
class BatchFilter:
    """Conditions on batches."""

    site_id: strawberry.ID | None = strawberry.field(default=None, description="Only batches of this site.")
    status: list[BatchStatus] | None = strawberry.field(
        default=None, description="Only batches in one of these states."
    )
    created_by: str | None = strawberry.field(
        default=None, description="Only batches that this caller asked for."
    )
    created_at: TimeRange | None = strawberry.field(
        default=None, description="Only batches estimated within this time."
    )


def batch_filter(given: BatchFilter | None, context: Context) -> Wanted:
    """The filter as the store takes it."""
    if given is None:
        return Wanted()
    start, end = time_range(given.created_at, context)
    return Wanted(
        statuses=words(given.status), created_by=given.created_by, created_from=start, created_to=end
    )
