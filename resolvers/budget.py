"""The token budget: how much of a day's and a month's tokens is used.

"Used" is the tokens of every run, finished or not, and is read from the roll-ups that the dashboard reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from db.budget import budgets_of_sites
from db.pool import Connection, Database
from db.rollups import usage_by_period
from db.scope import Scope
from resolvers.periods import midnight, month_start, next_month, today


class Limits(NamedTuple):
    """Tokens a day and a month."""

    daily: int = 100_000
    monthly: int = 2_000_000


@dataclass(frozen=True, slots=True)
class PeriodBudget:
    """Tokens used in a period against its limit."""

    used: int
    limit: int
    resets_at: datetime

    @property
    def ratio(self) -> float | None:
        """Used over limit; above 1 when overrun, None where the limit is 0."""
        return self.used / self.limit if self.limit else None

    @property
    def remaining(self) -> int:
        """Tokens left, never below 0."""
        return max(0, self.limit - self.used)


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of today and of this month, in a zone."""

    time_zone: str
    daily: PeriodBudget
    monthly: PeriodBudget


async def load_budget(
    connection: Connection, scope: Scope, zone: ZoneInfo, now: datetime, limits: Limits
) -> Budget:
    """Used, limit and reset of the day and the month that `now` lies in.

    The limits are those of the budget of the site, or of every site, and the given ones where there is none.
    """
    limits = await _stored_limits(connection, scope, limits)
    day = today(zone, now)
    bounds = [
        midnight(month_start(day), zone),
        midnight(day, zone),
        midnight(day + timedelta(days=1), zone),
        midnight(next_month(day), zone),
    ]
    tokens = [0, 0, 0]
    for row in await usage_by_period(connection, scope=scope, bounds=bounds):
        tokens[row.period] += row.tokens
    return Budget(
        time_zone=zone.key,
        daily=PeriodBudget(tokens[1], limits.daily, bounds[2]),
        monthly=PeriodBudget(sum(tokens), limits.monthly, bounds[3]),
    )


async def _stored_limits(connection: Connection, scope: Scope, limits: Limits) -> Limits:
    if scope.sites is not None and len(scope.sites) != 1:
        return limits
    site_id = next(iter(scope.sites), None) if scope.sites else None
    rows = await budgets_of_sites(connection, scope=Scope(scope.sites or frozenset()))
    found = {row.period: row.limit for row in rows if row.site_id == site_id and row.app_type is None}
    return Limits(found.get("daily", limits.daily), found.get("monthly", limits.monthly))


async def get_budget(database: Database, scope: Scope, zone: ZoneInfo, limits: Limits) -> Budget:
    """The budget of now."""
    async with database.connection() as connection:
        return await load_budget(connection, scope, zone, datetime.now(UTC), limits)
