"""BudgetLimit: a budget that an admin set, how it stands, and what budgets say to what is about to start."""

from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from typing import Any

import strawberry

from db.budgets.budget_events import BudgetEventRow
from db.budgets.budgets import BudgetRow
from graph.context import Info
from graph.types.costs import COST, UNPRICED_CALLS, cost_of_runs
from graph.types.fields import resolved
from graph.types.ids import Kind, print_id
from graph.types.node import Node
from graph.types.pagination import Connection
from graph.types.scalars import BigInt
from graph.types.statuses import described
from resolvers.budgets import budgets as cases
from resolvers.budgets import spending
from resolvers.budgets.status import BudgetStatus as Status


@strawberry.enum(description="What a budget is counted over.")
class BudgetPeriod(Enum):
    """Words of runglass.budgets.period."""

    DAILY = described("daily", "A day in the budget's time zone.")
    MONTHLY = described("monthly", "A calendar month in the budget's time zone.")


@strawberry.enum(description="How a budget stands.")
class BudgetState(Enum):
    """Words of `resolvers.budgets.status.State`."""

    OK = described("ok", "Below its limits.")
    WARNING = described("warning", "Above its soft limit. Nothing is refused.")
    EXCEEDED = described("exceeded", "Above its hard limit: what would use more is refused.")
    UNKNOWN = described("unknown", "It counts sites that you may not see, so you are not told.")


def _budget_id(root: strawberry.Parent[Status]) -> strawberry.ID | None:
    number = root.spec.budget_id
    return None if number is None else strawberry.ID(print_id(Kind.BUDGET, number))


def _site_id(root: strawberry.Parent[Status]) -> strawberry.ID | None:
    return None if root.spec.site_id is None else strawberry.ID(root.spec.site_id)


def _app_type(root: strawberry.Parent[Status]) -> str | None:
    return root.spec.app_type


def _period(root: strawberry.Parent[Status]) -> BudgetPeriod:
    return BudgetPeriod(root.spec.period)


def _limit(root: strawberry.Parent[Status]) -> BigInt:
    return BigInt(root.limit)


def _is_hard(root: strawberry.Parent[Status]) -> bool:
    return root.spec.hard_limit is not None


def _state(root: strawberry.Parent[Status]) -> BudgetState:
    return BudgetState(root.state)


async def _cost(root: strawberry.Parent[Status], info: Info) -> Decimal | None:
    return None if root.runs is None else (await cost_of_runs(info, root.runs)).cost


async def _unpriced_calls(root: strawberry.Parent[Status], info: Info) -> BigInt | None:
    return None if root.runs is None else BigInt((await cost_of_runs(info, root.runs)).unpriced_calls)


@strawberry.type(
    description="A budget in its current period. Figures that count sites you may not see are null."
)
class BudgetStatus:
    """Resolved from a `resolvers.budgets.status.BudgetStatus`."""

    budget_id: strawberry.ID | None = resolved(
        _budget_id, "The budget; null for the limits of the server's settings."
    )
    site_id: strawberry.ID | None = resolved(_site_id, "The site that it counts; null for every site.")
    app_type: str | None = resolved(_app_type, "The app that it counts; null for every app.")
    period: BudgetPeriod = resolved(_period, "What it is counted over.")
    used: BigInt | None = strawberry.field(
        description="Tokens of every run made in the period so far, as the dashboard counts them."
    )
    reserved: BigInt | None = strawberry.field(
        description="Tokens that unfinished jobs of confirmed batches and of retries are expected to use."
    )
    released: BigInt | None = strawberry.field(
        description="Tokens of unfinished jobs that nothing has moved for long; they are reserved no more."
    )
    requested: BigInt = strawberry.field(description="Tokens that what is about to start would reserve.")
    limit: BigInt = resolved(_limit, "The hard limit in tokens, or the soft one where there is no hard one.")
    is_hard: bool = resolved(_is_hard, "Whether that is a hard limit, which refuses.")
    state: BudgetState = resolved(_state, "Used, reserved and requested together against the limits.")
    starts_at: datetime = strawberry.field(description="When the period began.")
    resets_at: datetime = strawberry.field(description="When the next period begins.")
    limit_reached_at: datetime | None = strawberry.field(
        description="When the runs reach the limit if they go on as today so far; now where they have, null"
        " where they will not in this period."
    )
    cost: Decimal | None = resolved(_cost, COST)
    unpriced_calls: BigInt | None = resolved(_unpriced_calls, UNPRICED_CALLS)


def _id(root: strawberry.Parent[BudgetRow]) -> strawberry.ID:
    return strawberry.ID(print_id(Kind.BUDGET, root.id))


def _row_period(root: strawberry.Parent[BudgetRow]) -> BudgetPeriod:
    return BudgetPeriod(root.period)


async def _status(root: strawberry.Parent[BudgetRow], info: Info) -> Status | None:
    load_many = partial(cases.statuses, info.context.database)
    return await info.context.loaders.of("budget_standings", load_many).load(root)


@strawberry.type(description="A budget of tokens that an admin set.")
class BudgetLimit(Node):
    """Resolved from a `BudgetRow`."""

    id: strawberry.ID = resolved(_id, "The typed id, such as budget_3.")
    site_id: strawberry.ID | None = strawberry.field(
        description="The site (tenant, shop, customer) that it counts; null for every site."
    )
    app_type: str | None = strawberry.field(description="The app that it counts; null for every app.")
    period: BudgetPeriod = resolved(_row_period, "What it is counted over.")
    soft_limit: BigInt | None = strawberry.field(description="Tokens above which it warns; null for never.")
    hard_limit: BigInt | None = strawberry.field(description="Tokens above which it refuses; null for never.")
    time_zone: str = strawberry.field(description="The IANA zone of its days and months.")
    created_by: str = strawberry.field(description="Who set it first.")
    created_at: datetime = strawberry.field(description="When it was set first.")
    updated_by: str = strawberry.field(description="Who set it last.")
    updated_at: datetime = strawberry.field(description="When it was set last.")
    status: BudgetStatus = resolved(_status, "How it stands now.")

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, BudgetRow)


@strawberry.type(description="A page of budgets.")
class BudgetLimitConnection(Connection[BudgetLimit]):
    """A page of budgets."""


def _verdict_state(root: strawberry.Parent[spending.Verdict]) -> BudgetState:
    return BudgetState(root.state)


def _verdict_statuses(root: strawberry.Parent[spending.Verdict]) -> list[Status]:
    return root.statuses


@strawberry.type(description="What the budgets say to what is about to start, or has started.")
class BudgetVerdict:
    """Resolved from a `Verdict`."""

    state: BudgetState = resolved(
        _verdict_state,
        "The worst state among the budgets that are not UNKNOWN; one of those may still refuse what is"
        " started.",
    )
    budgets: list[BudgetStatus] = resolved(_verdict_statuses, "Every budget that counts it.")


async def verdict_on(info: Info, filters: spending.Spending) -> spending.Verdict | None:
    """The verdict on a spending; those of one operation are read together."""
    context = info.context
    load_many = partial(
        spending.judge, context.database, context.scope, context.zone(), context.settings.budget_limits
    )
    return await context.loaders.of("budget_verdicts", load_many).load(filters)


def _event_id(root: strawberry.Parent[BudgetEventRow]) -> strawberry.ID:
    return strawberry.ID(print_id(Kind.BUDGET_EVENT, root.id))


def _event_budget_id(root: strawberry.Parent[BudgetEventRow]) -> strawberry.ID:
    return strawberry.ID(print_id(Kind.BUDGET, root.budget_id))


def _event_period(root: strawberry.Parent[BudgetEventRow]) -> BudgetPeriod:
    return BudgetPeriod(root.period)


@strawberry.type(description="A budget's use reached a threshold, for the first time in its period.")
class BudgetEvent(Node):
    """Resolved from a `BudgetEventRow`."""

    id: strawberry.ID = resolved(_event_id, "The typed id, such as budgetevent_7.")
    budget_id: strawberry.ID = resolved(_event_budget_id, "The budget, which may be removed since.")
    site_id: strawberry.ID | None = strawberry.field(description="The site it counts; null for every site.")
    app_type: str | None = strawberry.field(description="The app that it counts; null for every app.")
    period: BudgetPeriod = resolved(_event_period, "What it is counted over.")
    period_start: datetime = strawberry.field(description="When the period began.")
    threshold: int = strawberry.field(description="Percent of the limit that were reached: 80, 95 or 100.")
    used_tokens: BigInt = strawberry.field(description="Tokens used when it was noticed.")
    limit_tokens: BigInt = strawberry.field(description="The limit at that time, in tokens.")
    created_at: datetime = strawberry.field(description="When it was noticed.")

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, BudgetEventRow)


@strawberry.type(description="A page of budget events.")
class BudgetEventConnection(Connection[BudgetEvent]):
    """A page of budget events."""
