"""How budgets stand: what is used and reserved of each, and when its limit is reached.

Used is the tokens of every run made in the period, from the statements that the dashboard reads. Reserved is
what unfinished jobs that an operator started are expected to use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from db.budgets.budgets import BudgetRow, ReservedRow, reserved_by_app
from db.postgres.pool import Connection
from db.sql.scope import EVERY_SITE, Scope
from db.usage.rollups import usage_by_app, usage_by_period
from resolvers.periods import midnight, month_start, next_month, time_zone, today
from resolvers.usage.costs import Runs

State = Literal["ok", "warning", "exceeded", "unknown"]


class BudgetSpec(NamedTuple):
    """What a budget limits; `budget_id` is None for the limits of the settings."""

    budget_id: int | None
    site_id: str | None
    app_type: str | None
    period: str
    soft_limit: int | None
    hard_limit: int | None
    time_zone: str


def spec_of(row: BudgetRow) -> BudgetSpec:
    """What a stored budget limits."""
    return BudgetSpec(*row[:7])


@dataclass(frozen=True, slots=True)
class BudgetStatus:
    """A budget in its current period, in tokens. `requested` is what somebody is about to start.

    `used`, `reserved`, `released` and `limit_reached_at` are None, and `state` is unknown, where the caller
    may not see every site that counts.
    """

    spec: BudgetSpec
    used: int | None
    reserved: int | None
    requested: int
    state: State
    starts_at: datetime
    resets_at: datetime
    limit_reached_at: datetime | None
    # Of jobs that nothing has moved for long: no longer reserved.
    released: int | None

    @property
    def limit(self) -> int:
        """The hard limit, or the soft one where there is no hard one."""
        return _limit(self.spec)

    @property
    def runs(self) -> Runs | None:
        """The runs that count; None where the caller may not see them all."""
        if self.used is None:
            return None
        return Runs(_scope(self.spec), self.starts_at, self.resets_at, self.spec.app_type)

    def visible_to(self, scope: Scope) -> BudgetStatus:
        """Without what tells of sites that are not within the scope.

        Its state is such a thing: estimates are free, and a few of different sizes gave what is used exactly.
        """
        if self.spec.site_id is not None or scope.sites is None:
            return self
        return replace(self, used=None, reserved=None, released=None, limit_reached_at=None, state="unknown")


def _limit(spec: BudgetSpec) -> int:
    limit = spec.soft_limit if spec.hard_limit is None else spec.hard_limit
    return limit or 0


class Meter:
    """Reads how budgets stand at one instant; a figure that several of them need is read once."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now
        self._reserved: dict[str | None, dict[str, ReservedRow]] = {}
        self._used: dict[tuple[str | None, bool, datetime, datetime], dict[str, int]] = {}

    async def status(self, spec: BudgetSpec, requested: int = 0) -> BudgetStatus:
        """How a budget stands, with `requested` tokens more."""
        zone = time_zone(spec.time_zone)
        day = today(zone, self._now)
        day_start, day_end = midnight(day, zone), midnight(day + timedelta(days=1), zone)
        start, end = day_start, day_end
        if spec.period == "monthly":
            start, end = midnight(month_start(day), zone), midnight(next_month(day), zone)
        # Reserved is read first: a job that ends in between then counts twice, and never not at all.
        reserved, released = await self._reserved_tokens(spec)
        used = await self._used_tokens(spec, start, end)
        used_today = used if start == day_start else await self._used_tokens(spec, day_start, day_end)
        return BudgetStatus(
            spec=spec,
            used=used,
            reserved=reserved,
            requested=requested,
            state=_state(spec, used + reserved + requested),
            starts_at=start,
            resets_at=end,
            limit_reached_at=self._reached_at(_limit(spec) - used, used_today, day_start, end),
            released=released,
        )

    async def _reserved_tokens(self, spec: BudgetSpec) -> tuple[int, int]:
        """What is reserved, and what no longer is."""
        if spec.site_id not in self._reserved:
            self._reserved[spec.site_id] = await reserved_by_app(self._connection, scope=_scope(spec))
        rows = [row for app, row in self._reserved[spec.site_id].items() if spec.app_type in (None, app)]
        return sum(row.tokens for row in rows), sum(row.released for row in rows)

    async def _used_tokens(self, spec: BudgetSpec, start: datetime, end: datetime) -> int:
        key = (spec.site_id, spec.app_type is None, start, end)
        if key not in self._used:
            self._used[key] = await self._usage(spec, start, end)
        by_app = self._used[key]
        return sum(by_app.values()) if spec.app_type is None else by_app.get(spec.app_type, 0)

    async def _usage(self, spec: BudgetSpec, start: datetime, end: datetime) -> dict[str, int]:
        scope = _scope(spec)
        if spec.app_type is None:
            periods = await self._connection.read(usage_by_period(scope=scope, bounds=[start, end]))
            return {"": sum(row.tokens for row in periods)}
        apps = await self._connection.read(usage_by_app(scope=scope, start=start, end=end))
        return {row.app_type: row.tokens for row in apps}

    def _reached_at(self, left: int, used_today: int, day_start: datetime, end: datetime) -> datetime | None:
        if left <= 0:
            return self._now
        if used_today <= 0:
            return None
        seconds = (self._now - day_start).total_seconds() * left / used_today
        return self._now + timedelta(seconds=seconds) if seconds < (end - self._now).total_seconds() else None


def _scope(spec: BudgetSpec) -> Scope:
    return EVERY_SITE if spec.site_id is None else Scope.of(spec.site_id)


def _state(spec: BudgetSpec, tokens: int) -> State:
    if spec.hard_limit is not None and tokens > spec.hard_limit:
        return "exceeded"
    return "warning" if spec.soft_limit is not None and tokens > spec.soft_limit else "ok"


def worst(statuses: Sequence[BudgetStatus]) -> State:
    """The state of the budget that stands worst, of those that are known; ok where there is none."""
    states: set[State] = {status.state for status in statuses}
    if "exceeded" in states:
        return "exceeded"
    return "warning" if "warning" in states else "ok"
