"""The mutation of prices, for admins of every site."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

import strawberry

from db.model_prices import ModelPriceRow
from graph.context import Context
from graph.errors import ApiError, ErrorCode
from graph.idempotency import KeyedInput
from graph.refusals import Conflict, InvalidInput
from graph.types.model_prices import ModelPrice
from resolvers import model_prices as cases


@strawberry.input(description="The price that is wanted. One of the same model and start is changed.")
class SetModelPriceInput(KeyedInput):
    """Input of setModelPrice."""

    model: str = strawberry.field(description="The model, as runs name it.")
    prompt_price: Decimal = strawberry.field(description="The price of a million prompt tokens.")
    completion_price: Decimal = strawberry.field(description="The price of a million completion tokens.")
    valid_from: datetime = strawberry.field(
        description="From when on it is valid, maybe in the past; a whole quarter of an hour. Without an"
        " offset: in the configured zone."
    )
    valid_until: datetime | None = strawberry.field(
        default=None,
        description="When it ceases to be valid, at a whole quarter too; without it, with the next price.",
    )


SetModelPriceResult = Annotated[
    ModelPrice | InvalidInput | Conflict,
    strawberry.union("SetModelPriceResult", description="The price, or why it was not set."),
]


async def set_model_price(context: Context, input: SetModelPriceInput) -> ModelPriceRow:
    """Add or change a price."""
    if context.caller.scope.sites is not None:
        message = "Prices hold for every site, so setting them needs an admin of every site."
        raise ApiError(ErrorCode.FORBIDDEN, message)
    wanted = cases.PriceRequest(
        model=input.model,
        prompt_price=input.prompt_price,
        completion_price=input.completion_price,
        valid_from=_aware(input.valid_from, context),
        valid_until=None if input.valid_until is None else _aware(input.valid_until, context),
    )
    return await cases.set_model_price(context.database, context.caller, wanted)


def _aware(value: datetime, context: Context) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=context.zone())
