"""Budgets: list, set and remove them, and pass their hard limits."""

from functools import partial
from typing import Annotated

import strawberry

from db.budgets.budgets import BudgetRow
from graph.auth.permissions import Administers
from graph.context import Context, Info
from graph.errors import ApiError, ErrorCode
from graph.operations.changes import KeyedInput, mutation
from graph.operations.lists import Listing, SiteId, TypedId, list_field
from graph.types.bounds import FORMED, NAME, bound
from graph.types.budgets import BudgetEventConnection, BudgetLimit, BudgetLimitConnection, BudgetPeriod
from graph.types.fields import resolved
from graph.types.ids import Kind, parse_id, print_id
from graph.types.refusals import Conflict, InvalidInput, NotFound
from graph.types.scalars import BigInt
from resolvers.access.callers import Role
from resolvers.budgets import budget_events as event_cases
from resolvers.budgets import budgets as cases

_MAX_REASON = 500


def _lists(context: Context, site_id: str | None) -> Listing:
    scope = context.scope.narrow(site_id)
    return Listing(
        partial(cases.list_budgets, context.database, scope),
        partial(cases.count_budgets, context.database, scope),
    )


def _lists_events(context: Context, site_id: str | None) -> Listing:
    scope = context.scope.narrow(site_id)
    return Listing(
        partial(event_cases.list_events, context.database, scope),
        partial(event_cases.count_events, context.database, scope),
    )


async def _budget_limit(info: Info, id: TypedId) -> BudgetRow | None:
    return await info.context.loaders.budgets.load(parse_id(id, Kind.BUDGET, "id"))


@strawberry.input(description="Starts something although it passes a hard limit. For admins; it is audited.")
class BudgetOverride:
    """Part of the input of what a hard limit can refuse."""

    reason: str = strawberry.field(
        metadata=bound(text=_MAX_REASON), description=f"Why, 1 to {_MAX_REASON} characters."
    )


def reason_of(context: Context, override: BudgetOverride | None) -> str | None:
    """The reason of an override. Raises FORBIDDEN for callers that are no admins."""
    if override is None:
        return None
    if context.caller.role is not Role.ADMIN:
        raise ApiError(ErrorCode.FORBIDDEN, "Passing a hard limit needs the role admin.")
    reason = override.reason.strip()
    if not 1 <= len(reason) <= _MAX_REASON or "\0" in reason:
        message = f"override.reason must hold 1 to {_MAX_REASON} characters."
        raise ApiError(ErrorCode.BAD_USER_INPUT, message, argument="override")
    return reason


@strawberry.input(description="The budget that is wanted. One of the same site, app and period is changed.")
class SetBudgetInput(KeyedInput):
    """Input of setBudget."""

    site_id: strawberry.ID | None = strawberry.field(
        metadata=NAME, default=None, description="The site that it counts; without it, every site."
    )
    app_type: str | None = strawberry.field(
        metadata=NAME, default=None, description="The app that it counts; without it, every app."
    )
    period: BudgetPeriod = strawberry.field(description="What it is counted over.")
    soft_limit: BigInt | None = strawberry.field(
        default=None, description="Tokens above which it warns; without it, it never does."
    )
    hard_limit: BigInt | None = strawberry.field(
        default=None, description="Tokens above which it refuses; without it, it never does."
    )
    time_zone: str | None = strawberry.field(
        default=None, description="The IANA zone of its days and months; without it, the configured one."
    )


@strawberry.input(description="Which budget to remove.")
class RemoveBudgetInput(KeyedInput):
    """Input of removeBudget."""

    budget_id: strawberry.ID = strawberry.field(
        metadata=FORMED, description="The id of the budget, such as budget_3."
    )


@strawberry.type(description="A budget that is no more.")
class RemovedBudget:
    """The success of removeBudget."""

    budget_id: strawberry.ID = strawberry.field(description="The id that it had.")


SetBudgetResult = Annotated[
    BudgetLimit | InvalidInput | NotFound | Conflict,
    strawberry.union("SetBudgetResult", description="The budget, or why it was not set."),
]
RemoveBudgetResult = Annotated[
    RemovedBudget | NotFound | Conflict,
    strawberry.union("RemoveBudgetResult", description="The removed budget, or why it was not removed."),
]


async def _set_budget(context: Context, input: SetBudgetInput) -> BudgetRow:
    """Add or change a budget."""
    request = cases.BudgetRequest(
        site_id=input.site_id,
        app_type=input.app_type,
        period="daily" if input.period is BudgetPeriod.DAILY else "monthly",
        soft_limit=input.soft_limit,
        hard_limit=input.hard_limit,
        time_zone=context.settings.time_zone if input.time_zone is None else input.time_zone,
    )
    return await cases.set_budget(context.database, context.caller, request)


async def _remove_budget(context: Context, input: RemoveBudgetInput) -> RemovedBudget:
    """Remove a budget."""
    budget_id = parse_id(input.budget_id, Kind.BUDGET, "budgetId")
    removed = await cases.remove_budget(context.database, context.caller, budget_id)
    return RemovedBudget(budget_id=strawberry.ID(print_id(Kind.BUDGET, removed.id)))


@strawberry.type
class BudgetQueries:
    """Root fields of `Query`."""

    budgets: BudgetLimitConnection = list_field(
        Kind.BUDGET,
        _lists,
        "The budgets that admins set, and how they stand. Those of every site need to see every site.",
        narrowed_by=("site_id", SiteId),
    )
    budget_events: BudgetEventConnection = list_field(
        Kind.BUDGET_EVENT,
        _lists_events,
        "Thresholds that budgets reached: 80, 95 and 100 percent, each once in a period.",
        narrowed_by=("site_id", SiteId),
    )
    budget_limit: BudgetLimit | None = resolved(
        _budget_limit,
        "One budget that an admin set; null where there is none of that id.",
    )


@strawberry.type
class BudgetMutations:
    """Root fields of `Mutation`."""

    set_budget = mutation(
        _set_budget,
        SetBudgetResult,
        "Limit the tokens of a site, an app, both or all, a day or a month.",
        Administers,
    )
    remove_budget = mutation(
        _remove_budget,
        RemoveBudgetResult,
        "Limit them no more.",
        Administers,
    )
