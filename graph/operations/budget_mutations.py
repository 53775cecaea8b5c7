"""The mutations of budgets, for admins, and the override of a hard limit."""

from typing import Annotated

import strawberry

from db.budgets.budgets import BudgetRow
from graph.context import Context
from graph.errors import ApiError, ErrorCode
from graph.operations.idempotency import KeyedInput
from graph.types.bounds import FORMED, NAME, bound
from graph.types.budgets import BudgetLimit, BudgetPeriod
from graph.types.ids import Kind, parse_id, print_id
from graph.types.refusals import Conflict, InvalidInput, NotFound
from graph.types.scalars import BigInt
from resolvers.access.callers import Role
from resolvers.budgets import budgets as cases

_MAX_REASON = 500


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


async def set_budget(context: Context, input: SetBudgetInput) -> BudgetRow:
    """Add or change a budget."""
    wanted = cases.BudgetRequest(
        site_id=input.site_id,
        app_type=input.app_type,
        period="daily" if input.period is BudgetPeriod.DAILY else "monthly",
        soft_limit=input.soft_limit,
        hard_limit=input.hard_limit,
        time_zone=context.settings.time_zone if input.time_zone is None else input.time_zone,
    )
    return await cases.set_budget(context.database, context.caller, wanted)


async def remove_budget(context: Context, input: RemoveBudgetInput) -> RemovedBudget:
    """Remove a budget."""
    budget_id = parse_id(input.budget_id, Kind.BUDGET, "budgetId")
    removed = await cases.remove_budget(context.database, context.caller, budget_id)
    return RemovedBudget(budget_id=strawberry.ID(print_id(Kind.BUDGET, removed.id)))
