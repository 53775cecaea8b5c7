"""Prices of models: list, set and remove them."""

from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Annotated

import strawberry

from db.usage.model_prices import ModelPriceRow
from graph.auth.permissions import Administers
from graph.context import Context
from graph.errors import ApiError, ErrorCode
from graph.operations.changes import KeyedInput, mutation
from graph.operations.lists import Listing, list_field
from graph.types.bounds import FORMED, NAME
from graph.types.ids import Kind, parse_id, print_id
from graph.types.model_prices import ModelPrice, ModelPriceConnection
from graph.types.refusals import Conflict, InvalidInput, NotFound
from resolvers.usage import model_prices as cases


def _lists(context: Context, model: str | None) -> Listing:
    return Listing(
        partial(cases.list_model_prices, context.database, model),
        partial(cases.count_model_prices, context.database, model),
    )


@strawberry.input(description="The price that is wanted. One of the same model and start is changed.")
class SetModelPriceInput(KeyedInput):
    """Input of setModelPrice."""

    model: str = strawberry.field(metadata=NAME, description="The model, as runs name it.")
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


@strawberry.input(description="Which price to remove.")
class RemoveModelPriceInput(KeyedInput):
    """Input of removeModelPrice."""

    price_id: strawberry.ID = strawberry.field(
        metadata=FORMED, description="The id of the price, such as price_3."
    )


@strawberry.type(description="A price that is no more.")
class RemovedModelPrice:
    """The success of removeModelPrice."""

    price_id: strawberry.ID = strawberry.field(description="The id that it had.")


SetModelPriceResult = Annotated[
    ModelPrice | InvalidInput | Conflict,
    strawberry.union("SetModelPriceResult", description="The price, or why it was not set."),
]


RemoveModelPriceResult = Annotated[
    RemovedModelPrice | NotFound | Conflict,
    strawberry.union("RemoveModelPriceResult", description="The removed price, or why it was not removed."),
]


async def _set_model_price(context: Context, input: SetModelPriceInput) -> ModelPriceRow:
    """Add or change a price."""
    _check_sites(context)
    request = cases.PriceRequest(
        model=input.model,
        prompt_price=input.prompt_price,
        completion_price=input.completion_price,
        valid_from=_aware(input.valid_from, context),
        valid_until=None if input.valid_until is None else _aware(input.valid_until, context),
    )
    return await cases.set_model_price(context.database, context.caller, request)


async def _remove_model_price(context: Context, input: RemoveModelPriceInput) -> RemovedModelPrice:
    """Remove a price."""
    _check_sites(context)
    price_id = parse_id(input.price_id, Kind.PRICE, "priceId")
    removed = await cases.remove_model_price(context.database, context.caller, price_id)
    return RemovedModelPrice(price_id=strawberry.ID(print_id(Kind.PRICE, removed.id)))


def _check_sites(context: Context) -> None:
    if context.caller.scope.sites is not None:
        message = "Prices hold for every site, so changing them needs an admin of every site."
        raise ApiError(ErrorCode.FORBIDDEN, message)


def _aware(value: datetime, context: Context) -> datetime:
    return value if value.tzinfo else value.replace(tzinfo=context.zone())


@strawberry.type
class PriceQueries:
    """Root fields of `Query`."""

    model_prices: ModelPriceConnection = list_field(
        Kind.PRICE,
        _lists,
        "What models cost, the newest price first.",
        narrowed_by=(
            "model",
            Annotated[str | None, strawberry.argument(description="Only prices of this model.")],
        ),
    )


@strawberry.type
class PriceMutations:
    """Root fields of `Mutation`."""

    set_model_price = mutation(
        _set_model_price,
        SetModelPriceResult,
        "Say what a model costs from a time on. Costs of runs before now follow it too.",
        Administers,
    )
    remove_model_price = mutation(
        _remove_model_price,
        RemoveModelPriceResult,
        "Take back what a model costs, from runs of before now too.",
        Administers,
    )
