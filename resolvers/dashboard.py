"""The dashboard: blocks that are read only when asked for, together on one connection.

Every rate is over finished runs and None where there are none. Every number of calls and tokens comes from
the roll-ups, so it costs the same however long the log is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any, Literal
from zoneinfo import ZoneInfo

from db.alerts import recent_alerts
from db.dashboard import latest_runs
from db.pool import Connection, Database
from db.rollups import latency_percentiles, usage_by_app
from db.scope import Scope
from resolvers.budget import Limits, budget_bounds, budget_of, stored_limits
from resolvers.costs import Runs
from resolvers.periods import last_days, midnight, today
from resolvers.run_logs import FINISHED
from resolvers.usage import Totals, Usage, load_usage

PERCENTILES = (0.5, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Block:
    """One block of the dashboard of a scope, in a zone. `days` matters to the trend and the distribution."""

    name: Literal["today", "percentiles", "trend", "apps", "health", "budget", "alerts"]
    scope: Scope
    zone: ZoneInfo
    days: int = 7


@dataclass(frozen=True, slots=True)
class StatusCount:
    """How many runs have a status, as stored."""

    status: str
    calls: int


@dataclass(frozen=True, slots=True)
class Today:
    """The runs created since midnight, which are `runs`. `block` is what was asked for."""

    block: Block
    runs: Runs
    calls: int
    tokens: int
    success_rate: float | None
    average_latency_ms: float | None
    by_status: list[StatusCount]


@dataclass(frozen=True, slots=True)
class TrendDay:
    """The runs created on one day, which are `runs`; zeros where there were none."""

    runs: Runs
    date: date
    calls: int
    tokens: int
    success_rate: float | None


@dataclass(frozen=True, slots=True)
class AppShare:
    """How many of the calls were an app's, which are `runs`; `share` is between 0 and 1."""

    runs: Runs
    app_type: str
    calls: int
    tokens: int
    share: float


async def load_blocks(database: Database, limits: Limits, blocks: Sequence[Block]) -> dict[Block, Any]:
    """Read these blocks one after the other on one connection; what several of them need is read once."""
    now = datetime.now(UTC)
    bounds: dict[Scope, set[datetime]] = {}
    for block in blocks:
        if block.name in _BOUNDS:
            bounds.setdefault(block.scope, set()).update(_BOUNDS[block.name](block, now))
    async with database.connection() as connection:
        usage = {scope: await load_usage(connection, scope, of_scope) for scope, of_scope in bounds.items()}
        return {block: await _load(connection, block, now, limits, usage) for block in blocks}


async def _load(
    connection: Connection, block: Block, now: datetime, limits: Limits, usage: dict[Scope, Usage]
) -> Any:
    match block.name:
        case "today":
            runs = Runs(block.scope, *_day(block, now))
            return _today(block, runs, usage[block.scope].between(runs.start, runs.end))
        case "percentiles":
            start, end = _day(block, now)
            return await latency_percentiles(
                connection, scope=block.scope, start=start, end=end, fractions=PERCENTILES
            )
        case "trend":
            return _trend(block, now, usage[block.scope])
        case "apps":
            return await _apps(connection, block, now)
        case "health":
            return await latest_runs(connection, scope=block.scope)
        case "budget":
            stored = await stored_limits(connection, block.scope, limits)
            return budget_of(block.scope, usage[block.scope], block.zone, now, stored)
        case "alerts":
            return await recent_alerts(connection, scope=block.scope)


def _day(block: Block, now: datetime) -> tuple[datetime, datetime]:
    day = today(block.zone, now)
    return midnight(day, block.zone), midnight(day + timedelta(days=1), block.zone)


def _days(block: Block, now: datetime) -> list[datetime]:
    days = last_days(block.zone, now, block.days)
    return [midnight(day, block.zone) for day in [*days, days[-1] + timedelta(days=1)]]


# Between which instants a block needs the usage that is read once for all.
_BOUNDS: dict[str, Callable[[Block, datetime], Sequence[datetime]]] = {
    "today": _day,
    "trend": _days,
    "budget": lambda block, now: budget_bounds(block.zone, now),
}


def success_rate(calls_by_status: dict[str, int]) -> float | None:
    """Successes over finished runs, between 0 and 1; None where no run is finished."""
    finished = sum(calls_by_status.get(status, 0) for status in FINISHED)
    return calls_by_status.get("success", 0) / finished if finished else None


def _today(block: Block, runs: Runs, totals: Totals) -> Today:
    calls = {status: count for status, count in totals.calls.items() if count}
    return Today(
        block=block,
        runs=runs,
        calls=sum(calls.values()),
        tokens=totals.tokens,
        success_rate=success_rate(calls),
        average_latency_ms=totals.latency_ms_sum / totals.timed if totals.timed else None,
        by_status=[
            StatusCount(status, calls[status]) for status in sorted(calls, key=lambda s: (-calls[s], s))
        ],
    )


def _trend(block: Block, now: datetime, usage: Usage) -> list[TrendDay]:
    days = last_days(block.zone, now, block.days)
    periods = [Runs(block.scope, start, end) for start, end in pairwise(_days(block, now))]
    return [_trend_day(day, runs, usage) for day, runs in zip(days, periods, strict=True)]


def _trend_day(day: date, runs: Runs, usage: Usage) -> TrendDay:
    totals = usage.between(runs.start, runs.end)
    return TrendDay(runs, day, sum(totals.calls.values()), totals.tokens, success_rate(totals.calls))


async def _apps(connection: Connection, block: Block, now: datetime) -> list[AppShare]:
    first = last_days(block.zone, now, block.days)[0]
    start, end = midnight(first, block.zone), _day(block, now)[1]
    rows = await usage_by_app(connection, scope=block.scope, start=start, end=end)
    total = sum(row.calls for row in rows)
    shares = [
        AppShare(
            Runs(block.scope, start, end, row.app_type),
            row.app_type,
            row.calls,
            row.tokens,
            row.calls / total,
        )
        for row in rows
        if row.calls
    ]
    return sorted(shares, key=lambda app: (-app.calls, app.app_type))
