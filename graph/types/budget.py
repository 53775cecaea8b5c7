"""Budget: tokens used against their limits."""

from datetime import datetime
from decimal import Decimal

import strawberry

from graph.types.costs import COST, UNPRICED_CALLS, known_cost, unpriced_calls
from graph.types.fields import resolved
from graph.types.scalars import BigInt


@strawberry.type(description="The tokens of one period against their limit.")
class PeriodBudget:
    """Resolved from `resolvers.usage.token_budget.PeriodBudget`."""

    used: BigInt = strawberry.field(description="Tokens of every run made in the period so far.")
    limit: BigInt = strawberry.field(description="Tokens that the period may use.")
    ratio: float | None = strawberry.field(
        description="Used over limit; above 1 when overrun, null where the limit is 0."
    )
    remaining: BigInt = strawberry.field(description="Tokens left; 0 when overrun.")
    resets_at: datetime = strawberry.field(description="When the next period begins.")
    cost: Decimal | None = resolved(known_cost, COST)
    unpriced_calls: BigInt = resolved(unpriced_calls, UNPRICED_CALLS)


@strawberry.type(description="Tokens used today and this month, counted as the dashboard counts them.")
class Budget:
    """Resolved from `resolvers.usage.token_budget.Budget`."""

    time_zone: str = strawberry.field(description="The IANA zone whose days and months these are.")
    daily: PeriodBudget = strawberry.field(description="Today.")
    monthly: PeriodBudget = strawberry.field(description="This calendar month.")
