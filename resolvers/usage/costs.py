"""What runs have cost, from counted tokens and the prices of today's price list. None is unknown, never 0.

The cost of many runs is that of those whose cost is known, beside how many calls are not in it. Prices change
at whole quarters of an hour, as tokens are counted by, so that a sum is exactly that of its runs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from db.postgres.pool import Connection, Database
from db.sql.scope import Scope
from db.usage import model_prices
from db.usage.model_prices import ModelPriceRow
from db.usage.model_usage import batch_usage, model_usage
from db.usage.rollups import usage_by_app, usage_by_period
from resolvers.usage.model_prices import add_costs, cost_of, next_quarter

Prices = Mapping[str, Sequence[ModelPriceRow]]


class Runs(NamedTuple):
    """The runs of a scope of [start, end), of one app if given."""

    scope: Scope
    start: datetime
    end: datetime
    app_type: str | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """What runs have cost together; None where the cost of none is known.

    `unpriced_calls` of them are not in it, because their cost is unknown.
    """

    cost: Decimal | None
    unpriced_calls: int


@dataclass(slots=True)
class _Sum:
    cost: Decimal | None = None
    priced: int = 0
    calls: int = 0

    def add(self, cost: Decimal | None, calls: int) -> None:
        if cost is not None:
            self.cost = add_costs(self.cost, cost)
            self.priced += calls

    def result(self) -> Cost:
        return Cost(self.cost, max(self.calls - self.priced, 0))


async def costs_of_runs(database: Database, asked: Sequence[Runs]) -> dict[Runs, Cost]:
    """What the runs cost: two statements for each scope, and two for each of its ranges by app."""
    start, end = min(runs.start for runs in asked), max(runs.end for runs in asked)
    together: dict[tuple[Scope, tuple[datetime, datetime] | None], list[Runs]] = {}
    for runs in asked:
        span = None if runs.app_type is None else (runs.start, runs.end)
        together.setdefault((runs.scope, span), []).append(runs)
    costs: dict[Runs, Cost] = {}
    async with database.connection() as connection:
        prices = await model_prices.prices_within(connection, start=start, end=end)
        for (scope, span), group in together.items():
            if span is None:
                costs |= await _costs_of_periods(connection, scope, prices, group)
            else:
                costs |= await _costs_of_apps(connection, scope, prices, span, group)
    return costs


async def costs_of_batches(database: Database, scope: Scope, ids: Sequence[UUID]) -> dict[UUID, Cost]:
    """What the runs of the batches' jobs have cost so far; a batch that was not confirmed is absent."""
    async with database.connection() as connection:
        rows = await batch_usage(connection, scope=scope, ids=ids)
        models = {row.model for row in rows if row.model}
        prices = await model_prices.prices_of_models(connection, models=list(models))
    sums: dict[UUID, _Sum] = defaultdict(_Sum)
    for row in rows:
        batch, calls = sums[row.batch_id], row.calls or 0
        batch.calls += calls
        if row.model and row.quarter is not None:
            of_model = prices.get(row.model, ())
            batch.add(cost_of(of_model, row.quarter, row.prompt_tokens, row.completion_tokens), calls)
    return {batch_id: batch.result() for batch_id, batch in sums.items()}


async def _costs_of_periods(
    connection: Connection, scope: Scope, prices: Prices, asked: Sequence[Runs]
) -> dict[Runs, Cost]:
    bounds = sorted({bound for runs in asked for bound in (runs.start, runs.end)})
    steps = _with_price_changes(bounds, prices)
    periods = [_Sum() for _ in bounds[1:]]
    # The models first: a run that is added in between then counts as one of unknown cost.
    for row in await model_usage(connection, scope=scope, bounds=steps):
        start = steps[row.period]
        cost = cost_of(prices.get(row.model, ()), start, row.prompt_tokens, row.completion_tokens)
        periods[bisect_right(bounds, start) - 1].add(cost, row.calls)
    for row in await connection.read(usage_by_period(scope=scope, bounds=bounds)):
        periods[row.period].calls += row.calls
    return {
        runs: _merged(periods[bounds.index(runs.start) : bounds.index(runs.end)]).result() for runs in asked
    }


async def _costs_of_apps(
    connection: Connection,
    scope: Scope,
    prices: Prices,
    span: tuple[datetime, datetime],
    asked: Sequence[Runs],
) -> dict[Runs, Cost]:
    steps = _with_price_changes(span, prices)
    apps: dict[str | None, _Sum] = defaultdict(_Sum)
    for row in await model_usage(connection, scope=scope, bounds=steps, by_app=True):
        of_model = prices.get(row.model, ())
        cost = cost_of(of_model, steps[row.period], row.prompt_tokens, row.completion_tokens)
        apps[row.app_type].add(cost, row.calls)
    for row in await connection.read(usage_by_app(scope=scope, start=span[0], end=span[1])):
        apps[row.app_type].calls += row.calls
    return {runs: apps[runs.app_type].result() for runs in asked}


def _with_price_changes(bounds: Sequence[datetime], prices: Prices) -> list[datetime]:
    """The bounds and the times between them at which a price begins or ends."""
    changes = {
        next_quarter(moment)
        for of_model in prices.values()
        for price in of_model
        for moment in (price.valid_from, price.valid_until)
        if moment is not None
    }
    return sorted({*bounds, *(change for change in changes if bounds[0] < change < bounds[-1])})


def _merged(sums: Sequence[_Sum]) -> _Sum:
    total = _Sum()
    for each in sums:
        total.add(each.cost, each.priced)
        total.calls += each.calls
    return total
