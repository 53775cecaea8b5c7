"""What models cost a million tokens, from when until when. Table: runglass.model_prices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import LiteralString, NamedTuple

from db.postgres.pool import Connection, fetch_unscoped
from db.sql.keyset import Page, PageRequest, keyset, page_of
from db.sql.scope import Scope


class ModelPriceRow(NamedTuple):
    """Prices of a million tokens; valid at `valid_from` <= t < `valid_until`, None for no end."""

    id: int
    model: str
    prompt_price: Decimal
    completion_price: Decimal
    valid_from: datetime
    valid_until: datetime | None
    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime


PRICE_COLUMNS: LiteralString = """
    id, model, prompt_price, completion_price, valid_from, valid_until, created_by, created_at, updated_by,
    updated_at"""

GET_PRICES: LiteralString = f"SELECT {PRICE_COLUMNS} FROM runglass.model_prices WHERE id = ANY(%(ids)s)"

PRICES_OF_MODELS: LiteralString = f"""
SELECT {PRICE_COLUMNS} FROM runglass.model_prices WHERE model = ANY(%(models)s) ORDER BY valid_from
"""

PRICES_WITHIN: LiteralString = f"""
SELECT {PRICE_COLUMNS} FROM runglass.model_prices
WHERE valid_from < %(end)s AND (valid_until IS NULL OR valid_until > %(start)s) ORDER BY valid_from
"""

LOCK_PRICE: LiteralString = f"""
SELECT {PRICE_COLUMNS} FROM runglass.model_prices
WHERE model = %(model)s AND valid_from = %(valid_from)s FOR UPDATE
"""

LOCK_PRICE_BY_ID: LiteralString = f"""
SELECT {PRICE_COLUMNS} FROM runglass.model_prices WHERE id = %(id)s FOR UPDATE
"""

DELETE_PRICE: LiteralString = "DELETE FROM runglass.model_prices WHERE id = %(id)s"

SET_PRICE: LiteralString = f"""
INSERT INTO runglass.model_prices (
    model, prompt_price, completion_price, valid_from, valid_until, created_by, updated_by
)
VALUES (
    %(model)s, %(prompt_price)s, %(completion_price)s, %(valid_from)s, %(valid_until)s, %(actor)s, %(actor)s
)
ON CONFLICT (model, valid_from) DO UPDATE SET
    prompt_price = excluded.prompt_price, completion_price = excluded.completion_price,
    valid_until = excluded.valid_until, updated_by = excluded.updated_by, updated_at = now()
RETURNING {PRICE_COLUMNS}
"""


async def get_prices(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> list[ModelPriceRow]:
    """The prices with these ids, in no order. Prices belong to no site."""
    return await fetch_unscoped(connection, ModelPriceRow, GET_PRICES, {"ids": list(ids)})


async def prices_of_models(
    connection: Connection, *, models: Sequence[str]
) -> dict[str, list[ModelPriceRow]]:
    """The prices of these models that have any, earliest first."""
    return _by_model(
        await fetch_unscoped(connection, ModelPriceRow, PRICES_OF_MODELS, {"models": list(models)})
    )


async def prices_within(
    connection: Connection, *, start: datetime, end: datetime
) -> dict[str, list[ModelPriceRow]]:
    """The prices that are valid at some time of [start, end), by model, earliest first."""
    values = {"start": start, "end": end}
    return _by_model(await fetch_unscoped(connection, ModelPriceRow, PRICES_WITHIN, values))


def _by_model(rows: Sequence[ModelPriceRow]) -> dict[str, list[ModelPriceRow]]:
    prices: dict[str, list[ModelPriceRow]] = {}
    for row in rows:
        prices.setdefault(row.model, []).append(row)
    return prices


async def list_prices(connection: Connection, *, model: str | None, page: PageRequest) -> Page[ModelPriceRow]:
    """One page of the prices, of one model if given."""
    keys, order, values = keyset(page)
    condition: LiteralString = "TRUE" if model is None else "model = %(model)s"
    statement: LiteralString = (
        f"SELECT {PRICE_COLUMNS} FROM runglass.model_prices WHERE {condition}{keys}{order}"
    )
    return page_of(
        page, await fetch_unscoped(connection, ModelPriceRow, statement, values | {"model": model})
    )


async def count_prices(connection: Connection, *, model: str | None, limit: int) -> int:
    """How many prices there are, counted no further than `limit`."""
    condition: LiteralString = "TRUE" if model is None else "model = %(model)s"
    cursor = await connection.execute(
        f"SELECT count(*) FROM (SELECT FROM runglass.model_prices WHERE {condition} LIMIT %(limit)s) AS p",
        {"model": model, "limit": limit},
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def lock_price(transaction: Connection, *, model: str, valid_from: datetime) -> ModelPriceRow | None:
    """The price of the model from then on, locked until the transaction ends."""
    values = {"model": model, "valid_from": valid_from}
    return next(iter(await fetch_unscoped(transaction, ModelPriceRow, LOCK_PRICE, values)), None)


async def lock_price_by_id(transaction: Connection, *, price_id: int) -> ModelPriceRow | None:
    """The price, locked until the transaction ends, or None where there is no such price."""
    values = {"id": price_id}
    return next(iter(await fetch_unscoped(transaction, ModelPriceRow, LOCK_PRICE_BY_ID, values)), None)


async def delete_price(transaction: Connection, *, price_id: int) -> None:
    """Remove the price."""
    await transaction.execute(DELETE_PRICE, {"id": price_id})


async def set_price(
    transaction: Connection,
    *,
    model: str,
    prompt_price: Decimal,
    completion_price: Decimal,
    valid_from: datetime,
    valid_until: datetime | None,
    actor: str,
) -> ModelPriceRow:
    """Add the price, or change the one of the same model and start."""
    values = {
        "model": model,
        "prompt_price": prompt_price,
        "completion_price": completion_price,
        "valid_from": valid_from,
        "valid_until": valid_until,
        "actor": actor,
    }
    return (await fetch_unscoped(transaction, ModelPriceRow, SET_PRICE, values))[0]
