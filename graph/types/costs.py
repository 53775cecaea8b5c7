"""The cost of runs, as a field of whatever they are the runs of."""

from decimal import Decimal
from functools import partial
from typing import Protocol

import strawberry

from graph.context import Info
from graph.types.scalars import BigInt
from resolvers.usage.costs import Cost, Runs, costs_of_runs

COST = (
    "What the runs of known cost have cost together, by today's prices; null where the cost of none is known."
)
UNPRICED_CALLS = (
    "Runs that cost does not hold: their model, tokens or price is unknown, or they are in flight."
)


async def cost_of_runs(info: Info, runs: Runs) -> Cost:
    """What runs cost; those of one operation are read together."""
    load_many = partial(costs_of_runs, info.context.database)
    return await info.context.loaders.of("costs_of_runs", load_many).load(runs) or Cost(None, 0)


class Counted(Protocol):
    """What counts runs."""

    @property
    def runs(self) -> Runs:
        """The runs that it counts."""
        ...


async def known_cost(root: strawberry.Parent[Counted], info: Info) -> Decimal | None:
    """Resolve cost."""
    return (await cost_of_runs(info, root.runs)).cost


async def unpriced_calls(root: strawberry.Parent[Counted], info: Info) -> BigInt:
    """Resolve unpricedCalls."""
    return BigInt((await cost_of_runs(info, root.runs)).unpriced_calls)
