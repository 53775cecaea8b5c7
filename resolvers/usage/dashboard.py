"""The dashboard: blocks that are read only when asked for, together on one connection.

Every rate is over finished runs and None where there are none. Every number of calls and tokens comes from
the roll-ups, so it costs the same however long the log is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Generator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from db.postgres.connection import Read
from db.postgres.pool import Database
from db.runs.alerts import recent_alerts
from db.sql.scope import Scope
from db.usage.dashboard import latest_runs
from db.usage.rollups import AppUsage, latency_percentiles, usage_by_app
from resolvers.periods import Day, last_days, today
from resolvers.runs.run_logs import FINISHED
from resolvers.usage.costs import Runs
from resolvers.usage.token_budget import Limits, budget_bounds, budget_of, stored_limits
from resolvers.usage.usage import Usage, usage_of

BlockName = Literal["today", "percentiles", "trend", "apps", "health", "budget", "alerts"]


class Block(NamedTuple):
    """One block of a dashboard; `days` matters to the trend and the distribution."""

    name: BlockName
    days: int = 7

    def last_days(self, zone: ZoneInfo, day: date) -> tuple[Day, ...]:
        """The days it shows, oldest first."""
        return last_days(zone, day, 1 if self.name in ("today", "percentiles") else self.days)


class Percentiles(NamedTuple):
    """Latencies in milliseconds, by the nearest rank; None where no run has one."""

    p50: float | None
    p95: float | None
    p99: float | None


class StatusCount(NamedTuple):
    """How many runs have a status, as stored."""

    status: str
    calls: int


@dataclass(frozen=True, slots=True)
class Today:
    """The runs created since midnight, which are `runs`. `dashboard` is the one that shows them."""

    dashboard: Dashboard
    runs: Runs
    calls: int
    tokens: int
    success_rate: float | None
    average_latency_ms: float | None
    by_status: list[StatusCount]


class TrendDay(NamedTuple):
    """The runs created on one day, which are `runs`; zeros where there were none."""

    runs: Runs
    date: date
    calls: int
    tokens: int
    success_rate: float | None


class AppShare(NamedTuple):
    """How many of the calls were an app's, which are `runs`; `share` is between 0 and 1."""

    runs: Runs
    app_type: str
    calls: int
    tokens: int
    share: float


class Dashboard:
    """What there is to see of a scope now, in a zone, for one operation.

    Blocks that are asked for before one of them is awaited are read together; what several of them need is
    read once. What was read is remembered.
    """

    __slots__ = ("_asked", "_database", "_limits", "_read", "_reading", "day", "scope", "site_id", "zone")

    def __init__(
        self, database: Database, limits: Limits, scope: Scope, zone: ZoneInfo, site_id: str | None
    ) -> None:
        self.scope = scope
        self.zone = zone
        self.site_id = site_id
        self.day = today(zone, datetime.now(UTC))
        self._database = database
        self._limits = limits
        self._asked: dict[Block, None] = {}
        self._read: dict[Block, Any] = {}
        self._reading = asyncio.Lock()

    def block(self, name: BlockName, days: int = 7) -> Awaitable[Any]:
        """Ask for a block, to await it."""
        block = Block(name, days)
        self._asked[block] = None
        return _Asked(self, block)

    async def value(self, block: Block) -> Any:
        """The value of a block that was asked for. Raises what kept those that were read with it from it."""
        if block not in self._read:
            async with self._reading:
                if block not in self._read:
                    await self._read_asked()
        value = self._read[block]
        if isinstance(value, Exception):
            raise value
        return value

    async def _read_asked(self) -> None:
        blocks = [block for block in self._asked if block not in self._read]
        try:
            reads = self.reads(blocks)
            async with self._database.connection() as connection:
                results = await connection.read_all(list(reads.values()))
            found = dict(zip(reads, results, strict=True))
            self._read |= {block: self._shown(block, found) for block in blocks}
        except Exception as error:
            self._read |= dict.fromkeys(blocks, error)

    def reads(self, blocks: Sequence[Block]) -> Mapping[Block | None, Read[Any]]:
        """What the blocks read, each for itself; under None the usage that several of them need."""
        return _reads(self.scope, self.zone, self.day, self._limits, tuple(blocks))

    def _shown(self, block: Block, found: Mapping[Block | None, Any]) -> Any:
        match block.name:
            case "today":
                return _today(self, block.last_days(self.zone, self.day)[0], found[None])
            case "trend":
                days = block.last_days(self.zone, self.day)
                return [_trend_day(self.scope, day, found[None]) for day in days]
            case "percentiles":
                return Percentiles(*found[block])
            case "apps":
                days = block.last_days(self.zone, self.day)
                return _apps(self.scope, days[0].start, days[-1].end, found[block])
            case "budget":
                limits = found.get(block, self._limits)
                return budget_of(self.scope, found[None], self.zone, self.day, limits)
            case "health" | "alerts":
                return found[block]


class _Asked(Awaitable[Any]):
    __slots__ = ("_block", "_dashboard")

    def __init__(self, dashboard: Dashboard, block: Block) -> None:
        self._dashboard = dashboard
        self._block = block

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._dashboard.value(self._block).__await__()


@lru_cache(maxsize=128)
def _reads(
    scope: Scope, zone: ZoneInfo, day: date, limits: Limits, blocks: tuple[Block, ...]
) -> Mapping[Block | None, Read[Any]]:
    """Remembered: they change once a day."""
    reads: dict[Block | None, Read[Any]] = {}
    bounds: set[datetime] = set()
    for block in blocks:
        days = block.last_days(zone, day)
        match block.name:
            case "today" | "trend":
                bounds.update([day.start for day in days], [day.end for day in days])
            case "percentiles":
                reads[block] = latency_percentiles(
                    scope=scope, start=days[0].start, end=days[0].end, percents=(50, 95, 99)
                )
            case "apps":
                reads[block] = usage_by_app(scope=scope, start=days[0].start, end=days[-1].end)
            case "health":
                reads[block] = latest_runs(scope=scope)
            case "budget":
                bounds.update(budget_bounds(zone, day))
                stored = stored_limits(scope, limits)
                reads |= {block: stored} if stored else {}
            case "alerts":
                reads[block] = recent_alerts(scope=scope)
    if bounds:
        reads[None] = usage_of(scope, bounds)
    return reads


def success_rate(calls_by_status: dict[str, int]) -> float | None:
    """Successes over finished runs, between 0 and 1; None where no run is finished."""
    finished = 0
    for status in FINISHED:
        finished += calls_by_status.get(status, 0)
    return calls_by_status.get("success", 0) / finished if finished else None


def _today(dashboard: Dashboard, day: Day, usage: Usage) -> Today:
    totals = usage.since(day.start)
    return Today(
        dashboard=dashboard,
        runs=Runs(dashboard.scope, day.start, day.end),
        calls=sum(totals.calls.values()),
        tokens=totals.tokens,
        success_rate=success_rate(totals.calls),
        average_latency_ms=totals.latency_ms_sum / totals.timed if totals.timed else None,
        by_status=sorted(
            [StatusCount(status, calls) for status, calls in totals.calls.items() if calls],
            key=lambda count: (-count.calls, count.status),
        ),
    )


def _trend_day(scope: Scope, day: Day, usage: Usage) -> TrendDay:
    totals = usage.since(day.start)
    return TrendDay(
        Runs(scope, day.start, day.end),
        day.date,
        sum(totals.calls.values()),
        totals.tokens,
        success_rate(totals.calls),
    )


def _apps(scope: Scope, start: datetime, end: datetime, rows: Sequence[AppUsage]) -> list[AppShare]:
    total = sum([row.calls for row in rows])
    shares = [
        AppShare(Runs(scope, start, end, app_type), app_type, calls, tokens, calls / total)
        for app_type, calls, tokens in rows
        if calls
    ]
    return sorted(shares, key=lambda app: (-app.calls, app.app_type))
