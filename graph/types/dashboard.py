"""Dashboard: blocks that are read only when they are selected."""

import datetime
from collections.abc import Awaitable
from decimal import Decimal
from typing import Annotated

import strawberry

from db.runs.alerts import AlertRow
from db.usage.dashboard import LatestRunRow
from graph.context import Info
from graph.errors import ApiError, ErrorCode
from graph.types.alerts import Alert
from graph.types.budget import Budget
from graph.types.costs import COST, UNPRICED_CALLS, known_cost, unpriced_calls
from graph.types.fields import STATEMENT, resolved, selects
from graph.types.scalars import BigInt
from graph.types.statuses import RunStatus, status_of
from resolvers.usage import dashboard as cases
from resolvers.usage import token_budget as budget_cases

MAX_DAYS = 90
# What a list of apps counts as in a query's cost; there is no bound to their number.
COMMON_APPS = 50

Days = Annotated[int, strawberry.argument(description=f"How many days, today included: 1 to {MAX_DAYS}.")]


def _count_status(root: strawberry.Parent[cases.StatusCount]) -> RunStatus:
    return status_of(RunStatus, root.status)


def _count_status_text(root: strawberry.Parent[cases.StatusCount]) -> str:
    return root.status


@strawberry.type(description="How many runs have a status.")
class StatusCount:
    """Resolved from `resolvers.usage.dashboard.StatusCount`."""

    status: RunStatus = resolved(_count_status, "The status.")
    status_text: str = resolved(_count_status_text, "The status as it is stored.")
    calls: BigInt = strawberry.field(description="How many runs have it.")


@strawberry.type(
    description="How long runs take, in milliseconds: of the runs that have a latency, sorted by it, that of"
    " the first run with which so many percent of them are reached (the nearest rank), to within 5 %. So it"
    " is at most 5 % above the longest. What is shorter than a millisecond counts as 0. Null where no run has"
    " a latency."
)
class LatencyPercentiles:
    """Percentiles from the merged histogram."""

    p50: float | None = strawberry.field(description="Half of the runs took at most this long.")
    p95: float | None = strawberry.field(description="95 % of the runs took at most this long.")
    p99: float | None = strawberry.field(description="99 % of the runs took at most this long.")


def _latency(root: strawberry.Parent[cases.Today]) -> Awaitable[cases.Percentiles]:
    return root.dashboard.block("percentiles")


@strawberry.type(description="The runs created since midnight.")
class Today:
    """Resolved from `resolvers.usage.dashboard.Today`."""

    calls: BigInt = strawberry.field(description="How many runs there were, finished or not.")
    tokens: BigInt = strawberry.field(description="Tokens of all of them.")
    success_rate: float | None = strawberry.field(
        description="Successes over finished runs, 0 to 1; null where no run is finished."
    )
    average_latency_ms: float | None = strawberry.field(
        description="Mean latency in milliseconds; null where no run has one."
    )
    by_status: list[StatusCount] = strawberry.field(
        description="How many runs have each status, most first.", metadata={"list_size": len(RunStatus)}
    )
    cost: Decimal | None = resolved(known_cost, COST, weight=STATEMENT)
    unpriced_calls: BigInt = resolved(unpriced_calls, UNPRICED_CALLS)
    latency: LatencyPercentiles = resolved(_latency, "Percentiles of the latency.", weight=STATEMENT)


@strawberry.type(description="The runs created on one day.")
class TrendDay:
    """Resolved from `resolvers.usage.dashboard.TrendDay`."""

    date: datetime.date = strawberry.field(description="The day, in the dashboard's time zone.")
    calls: BigInt = strawberry.field(description="How many runs there were; 0 on a day without any.")
    tokens: BigInt = strawberry.field(description="Tokens of all of them.")
    success_rate: float | None = strawberry.field(
        description="Successes over finished runs, 0 to 1; null where no run is finished."
    )
    cost: Decimal | None = resolved(known_cost, COST)
    unpriced_calls: BigInt = resolved(unpriced_calls, UNPRICED_CALLS)


def _share_count(root: strawberry.Parent[cases.AppShare]) -> BigInt:
    return BigInt(root.calls)


def _last_status(root: strawberry.Parent[LatestRunRow]) -> RunStatus:
    return status_of(RunStatus, root.status)


def _last_status_text(root: strawberry.Parent[LatestRunRow]) -> str:
    return root.status


def _last_call_at(root: strawberry.Parent[LatestRunRow]) -> datetime.datetime:
    return root.created_at


@strawberry.type(description="How many of the calls were an app's.")
class AppShare:
    """Resolved from `resolvers.usage.dashboard.AppShare`."""

    app_type: str = strawberry.field(description="The app.")
    count: BigInt = resolved(_share_count, "How many runs of it there were.")
    tokens: BigInt = strawberry.field(description="Tokens of these runs.")
    share: float = strawberry.field(description="Its part of all runs, 0 to 1.")
    cost: Decimal | None = resolved(known_cost, COST)
    unpriced_calls: BigInt = resolved(unpriced_calls, UNPRICED_CALLS)


@strawberry.type(description="How the newest run of an app went.")
class AppHealth:
    """Resolved from a `LatestRunRow`."""

    app_type: str = strawberry.field(description="The app.")
    last_status: RunStatus = resolved(_last_status, "How far its newest run has come.")
    last_status_text: str = resolved(_last_status_text, "That status as it is stored.")
    last_call_at: datetime.datetime = resolved(_last_call_at, "When its newest run was made.")


# What is selected is asked for before any of it is awaited, and so is read together.
def _today(root: strawberry.Parent[cases.Dashboard], info: Info) -> Awaitable[cases.Today]:
    if selects(info, "latency"):
        root.block("percentiles")
    return root.block("today")


def _trend(root: strawberry.Parent[cases.Dashboard], days: Days = 7) -> Awaitable[list[cases.TrendDay]]:
    return root.block("trend", _checked_days(days))


def _apps(root: strawberry.Parent[cases.Dashboard], days: Days = 7) -> Awaitable[list[cases.AppShare]]:
    return root.block("apps", _checked_days(days))


def _health(root: strawberry.Parent[cases.Dashboard]) -> Awaitable[list[LatestRunRow]]:
    return root.block("health")


def _budget(root: strawberry.Parent[cases.Dashboard]) -> Awaitable[budget_cases.Budget]:
    return root.block("budget")


def _alerts(root: strawberry.Parent[cases.Dashboard]) -> Awaitable[list[AlertRow]]:
    return root.block("alerts")


def _time_zone(root: strawberry.Parent[cases.Dashboard]) -> str:
    return root.zone.key


def _checked_days(days: int) -> int:
    if 1 <= days <= MAX_DAYS:
        return days
    message = f"days must be between 1 and {MAX_DAYS}; it is {days}."
    raise ApiError(ErrorCode.BAD_USER_INPUT, message, argument="days")


@strawberry.type(description="What an operator looks at first. Each block is read only when it is selected.")
class Dashboard:
    """Resolved from a `resolvers.usage.dashboard.Dashboard`."""

    site_id: strawberry.ID | None = strawberry.field(
        description="The site it shows; null for all that you may see."
    )
    time_zone: str = resolved(_time_zone, "The IANA zone whose days these are.")
    today: Today = resolved(_today, "The runs created since midnight.", weight=STATEMENT)
    trend: list[TrendDay] = resolved(
        _trend,
        "Each of the last days, oldest first, today included; days without runs are zeros.",
        rows=MAX_DAYS,
        weight=STATEMENT,
    )
    app_distribution: list[AppShare] = resolved(
        _apps,
        "How the runs of the last days fall to the apps, most called first.",
        rows=COMMON_APPS,
        weight=STATEMENT,
    )
    app_health: list[AppHealth] = resolved(
        _health,
        "The newest run of every app that was ever called, by name.",
        rows=COMMON_APPS,
        weight=STATEMENT,
    )
    budget: Budget = resolved(_budget, "Tokens used against their limits.", weight=STATEMENT)
    recent_alerts: list[Alert] = resolved(
        _alerts,
        "The ten newest alerts, pending ones first.",
        rows=10,
        weight=STATEMENT,
    )
