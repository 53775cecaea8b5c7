"""Refusals: what a mutation answers instead of its success, for the caller to act on.

`EXCEPTION_HANDLERS` turns the domain errors of `resolvers.errors` into the members of a mutation's union, so
that no mutation has a `try` of its own.
"""

from datetime import datetime
from enum import Enum

import strawberry

from db.postgres.errors import RefusedByTable
from graph.errors import sentence
from graph.types.budgets import BudgetPeriod
from graph.types.ids import Kind, print_id
from graph.types.scalars import BigInt
from graph.types.statuses import described
from resolvers import errors
from resolvers.budgets import spending


@strawberry.enum(description="Why a mutation did nothing, as a word for programs.")
class RefusalCode(Enum):
    """The codes of the exceptions of `resolvers.errors`."""

    NOT_FOUND = described("NOT_FOUND", "There is no such object, or it is not yours to see.")
    CONFLICT = described("CONFLICT", "The object is not in a state that allows this; look at it again.")
    EXPIRED = described("EXPIRED", "The offer's time has run out; ask for a new one.")
    INVALID_INPUT = described("INVALID_INPUT", "A value of the input cannot be used.")
    BUDGET_EXCEEDED = described("BUDGET_EXCEEDED", "This would pass a hard limit of a budget.")


@strawberry.interface(description="Why a mutation did nothing. The store is as it was before.")
class Refusal:
    """What all refusals have in common."""

    code: RefusalCode = strawberry.field(description="The kind of refusal, for programs.")
    message: str = strawberry.field(description="A sentence for people.")


@strawberry.type(description="There is no such object, or it is not yours to see.")
class NotFound(Refusal):
    """Made from `resolvers.errors.NotFound`."""


@strawberry.type(description="The object is not in a state that allows this; look at it again.")
class Conflict(Refusal):
    """Made from `resolvers.errors.Conflict`."""


@strawberry.type(description="The offer's time has run out; ask for a new one.")
class Expired(Refusal):
    """Made from `resolvers.errors.Expired`."""


@strawberry.type(description="A value of the input cannot be used.")
class InvalidInput(Refusal):
    """Made from `resolvers.errors.InvalidInput`."""

    field: str | None = strawberry.field(description="The input field that is wrong, such as memberIds.")


@strawberry.type(description="This would pass a hard limit of a budget; an admin may override it.")
class BudgetExceeded(Refusal):
    """Made from `resolvers.budgets.spending.BudgetExceeded`."""

    used: BigInt | None = strawberry.field(
        description="Tokens used in the period; null where you may not see every site that counts."
    )
    reserved: BigInt | None = strawberry.field(
        description="Tokens reserved; null where you may not see every site that counts."
    )
    requested: BigInt = strawberry.field(description="Tokens that this would reserve.")
    limit: BigInt = strawberry.field(description="The hard limit in tokens.")
    resets_at: datetime = strawberry.field(description="When the next period begins.")
    budget_id: strawberry.ID = strawberry.field(description="The budget whose limit it is.")
    # Not siteId and appType: a union's other members have fields of these names and of other types.
    budget_site_id: strawberry.ID | None = strawberry.field(
        description="The site it counts; null for every site."
    )
    budget_app_type: str | None = strawberry.field(description="The app that it counts; null for every app.")
    budget_period: BudgetPeriod = strawberry.field(description="What it is counted over.")


def input_field(error: RefusedByTable) -> str | None:
    """The input field that fills the column which refused a value."""
    if error.column is None:
        return None
    first, *others = error.column.split("_")
    return first + "".join(word.title() for word in others)


class _NotFoundHandler(strawberry.ExceptionHandler[errors.NotFound, NotFound]):
    def handle(self, exception: errors.NotFound, *, field: object, info: object) -> NotFound:
        return NotFound(code=RefusalCode(exception.code), message=exception.message)


class _ConflictHandler(strawberry.ExceptionHandler[errors.Conflict, Conflict]):
    def handle(self, exception: errors.Conflict, *, field: object, info: object) -> Conflict:
        return Conflict(code=RefusalCode(exception.code), message=exception.message)


class _ExpiredHandler(strawberry.ExceptionHandler[errors.Expired, Expired]):
    def handle(self, exception: errors.Expired, *, field: object, info: object) -> Expired:
        return Expired(code=RefusalCode(exception.code), message=exception.message)


class _InvalidInputHandler(strawberry.ExceptionHandler[errors.InvalidInput, InvalidInput]):
    def handle(self, exception: errors.InvalidInput, *, field: object, info: object) -> InvalidInput:
        return InvalidInput(
            code=RefusalCode(exception.code), message=exception.message, field=exception.field
        )


class _RefusedByTableHandler(strawberry.ExceptionHandler[RefusedByTable, InvalidInput]):
    def handle(self, exception: RefusedByTable, *, field: object, info: object) -> InvalidInput:
        return InvalidInput(
            code=RefusalCode.INVALID_INPUT, message=sentence(exception), field=input_field(exception)
        )


class _BudgetExceededHandler(strawberry.ExceptionHandler[spending.BudgetExceeded, BudgetExceeded]):
    def handle(self, exception: spending.BudgetExceeded, *, field: object, info: object) -> BudgetExceeded:
        status = exception.status
        return BudgetExceeded(
            code=RefusalCode(exception.code),
            message=exception.message,
            used=None if status.used is None else BigInt(status.used),
            reserved=None if status.reserved is None else BigInt(status.reserved),
            requested=BigInt(status.requested),
            limit=BigInt(status.limit),
            resets_at=status.resets_at,
            budget_id=strawberry.ID(print_id(Kind.BUDGET, status.spec.budget_id or 0)),
            budget_site_id=None if status.spec.site_id is None else strawberry.ID(status.spec.site_id),
            budget_app_type=status.spec.app_type,
            budget_period=BudgetPeriod(status.spec.period),
        )


EXCEPTION_HANDLERS = (
    _NotFoundHandler(),
    _ConflictHandler(),
    _ExpiredHandler(),
    _InvalidInputHandler(),
    _RefusedByTableHandler(),
    _BudgetExceededHandler(),
)
