"""The token budget: how much of a day's and a month's tokens is used.

"Used" is the tokens of every run, finished or not, and is read from the roll-ups that the dashboard reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from db.budgets.budgets import BudgetRow, budgets_of_sites
from db.postgres.connection import Read
from db.sql.scope import Scope
from resolvers.periods import midnight, month_start, next_month
from resolvers.usage.costs import Runs
from resolvers.usage.usage import Usage


class Limits(NamedTuple):
    """Tokens a day and a month."""

    daily: int = 100_000
    monthly: int = 2_000_000


@dataclass(frozen=True, slots=True)
class PeriodBudget:
    """Tokens that `runs` have used in a period against its limit."""

    runs: Runs
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


@lru_cache(maxsize=128)
def budget_bounds(zone: ZoneInfo, day: date) -> tuple[datetime, datetime, datetime, datetime]:
    """Where the day's month begins, the day begins, the day ends and the month ends. Remembered."""
    return (
        midnight(month_start(day), zone),
        midnight(day, zone),
        midnight(day + timedelta(days=1), zone),
        midnight(next_month(day), zone),
    )


def budget_of(scope: Scope, usage: Usage, zone: ZoneInfo, day: date, limits: Limits) -> Budget:
    """Used, limit and reset of the day and its month, from usage with their bounds."""
    month, start, end, month_end = budget_bounds(zone, day)
    return Budget(
        time_zone=zone.key,
        daily=PeriodBudget(Runs(scope, start, end), usage.tokens(start, end), limits.daily, end),
        monthly=PeriodBudget(
            Runs(scope, month, month_end), usage.tokens(month, month_end), limits.monthly, month_end
        ),
    )


def stored_limits(scope: Scope, limits: Limits) -> Read[Limits] | None:
    """The limits of the budget of the site, or of every site, and the given ones where there is none.

    None for several sites, which have no budget together.
    """
    if scope.sites is not None and len(scope.sites) != 1:
        return None
    sites = scope.sites or frozenset()
    site_id = next(iter(sites), None)

    def stored(rows: list[BudgetRow]) -> Limits:
        found = {row.period: row.limit for row in rows if row.site_id == site_id and row.app_type is None}
        return Limits(found.get("daily", limits.daily), found.get("monthly", limits.monthly))

    return budgets_of_sites(scope=Scope(sites)).then(stored)
