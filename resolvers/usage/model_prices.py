"""What models cost, and what that makes of runs and batches. Money is Decimal; unknown is None, never 0.

All prices are in one currency: whoever sets them knows which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from db.postgres.pool import Database
from db.sql.keyset import Page, PageRequest
from db.usage import model_prices as store
from db.usage.model_prices import ModelPriceRow
from resolvers.access.callers import Caller, audit
from resolvers.errors import InvalidInput, NotFound
from resolvers.names import check_printable

MILLION = 1_000_000
QUARTER = timedelta(minutes=15)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MAX_PRICE = Decimal(1_000_000_000)
_SMALLEST = Decimal("0.0000000001")
# Wide enough for every product and sum of tokens and prices, so that nothing is rounded.
_EXACT = Context(prec=60)


@dataclass(frozen=True, slots=True)
class PriceRequest:
    """Prices of a million tokens of a model, valid at `valid_from` <= t < `valid_until`."""

    model: str
    prompt_price: Decimal
    completion_price: Decimal
    valid_from: datetime
    valid_until: datetime | None


def cost_of(
    prices: Sequence[ModelPriceRow],
    at: datetime,
    prompt_tokens: int | None,
    completion_tokens: int | None,
) -> Decimal | None:
    """The cost of a call made at a time, by its model's prices, earliest first; None where it is unknown.

    Where several prices are valid, the one that began last counts. Prices change at whole quarters of an
    hour; one from before that was a rule, which begins or ends within a quarter, does so at the next.
    """
    if prompt_tokens is None or completion_tokens is None:
        return None
    at -= (at - _EPOCH) % QUARTER
    for price in reversed(prices):
        if price.valid_from <= at and (price.valid_until is None or at < price.valid_until):
            prompt = _EXACT.multiply(Decimal(prompt_tokens), price.prompt_price)
            completion = _EXACT.multiply(Decimal(completion_tokens), price.completion_price)
            return _EXACT.divide(_EXACT.add(prompt, completion), Decimal(MILLION))
    return None


def next_quarter(moment: datetime) -> datetime:
    """The moment itself where it is a whole quarter of an hour, and the next one where it is not."""
    return moment + (_EPOCH - moment) % QUARTER


def add_costs(known: Decimal | None, more: Decimal) -> Decimal:
    """The exact sum of a cost and what is known so far, if anything."""
    return more if known is None else _EXACT.add(known, more)


async def set_model_price(database: Database, caller: Caller, request: PriceRequest) -> ModelPriceRow:
    """Add a price, or change the one of the same model and start. Raises InvalidInput."""
    _check(request)
    async with database.transaction() as transaction:
        before = await store.lock_price(transaction, model=request.model, valid_from=request.valid_from)
        price = await store.set_price(
            transaction,
            model=request.model,
            prompt_price=request.prompt_price,
            completion_price=request.completion_price,
            valid_from=request.valid_from,
            valid_until=request.valid_until,
            actor=caller.name,
        )
        await audit(
            transaction,
            caller,
            "setModelPrice",
            ("price", price.id),
            site_id=None,
            before=_described(before) if before else None,
            after=_described(price),
        )
    return price


async def remove_model_price(database: Database, caller: Caller, price_id: int) -> ModelPriceRow:
    """Remove a price, for runs of before now too, and give it as it was. Raises NotFound."""
    async with database.transaction() as transaction:
        price = await store.lock_price_by_id(transaction, price_id=price_id)
        if price is None:
            raise NotFound("There is no such price.")
        await store.delete_price(transaction, price_id=price_id)
        await audit(
            transaction,
            caller,
            "removeModelPrice",
            ("price", price.id),
            site_id=None,
            before=_described(price),
        )
    return price


async def list_model_prices(database: Database, model: str | None, page: PageRequest) -> Page[ModelPriceRow]:
    """One page of the prices, of one model if given."""
    async with database.connection() as connection:
        return await store.list_prices(connection, model=model, page=page)


async def count_model_prices(database: Database, model: str | None, limit: int) -> int:
    """How many prices there are, counted no further than `limit`."""
    async with database.connection() as connection:
        return await store.count_prices(connection, model=model, limit=limit)


async def prices_of_models(database: Database, models: Sequence[str]) -> Mapping[str, list[ModelPriceRow]]:
    """The prices of these models, earliest first."""
    async with database.connection() as connection:
        return await store.prices_of_models(connection, models=models)


def _check(request: PriceRequest) -> None:
    check_printable(request.model, "model")
    for field, price in (
        ("promptPrice", request.prompt_price),
        ("completionPrice", request.completion_price),
    ):
        if not 0 <= price < _MAX_PRICE or price % _SMALLEST:
            raise InvalidInput(f"{field} must lie between 0 and 999999999.9999999999.", field)
    for field, moment in (("validFrom", request.valid_from), ("validUntil", request.valid_until)):
        if moment is not None and (moment - _EPOCH) % QUARTER:
            raise InvalidInput(f"{field} must be a whole quarter of an hour, such as 10:15.", field)
    if request.valid_until is not None and request.valid_until <= request.valid_from:
        raise InvalidInput("validUntil must lie after validFrom.", "validUntil")


def _described(price: ModelPriceRow) -> dict[str, Any]:
    return {
        "model": price.model,
        "promptPrice": format(price.prompt_price.normalize(), "f"),
        "completionPrice": format(price.completion_price.normalize(), "f"),
        "validFrom": price.valid_from.isoformat(),
        "validUntil": price.valid_until.isoformat() if price.valid_until else None,
    }
