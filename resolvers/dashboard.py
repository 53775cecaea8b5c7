"""The dashboard: blocks that are read only when asked for, together on one connection.

Every rate is over finished runs and None where there are none. Every number of calls and tokens comes from
the roll-ups, so it costs the same however long the log is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo

from db.alerts import recent_alerts
from db.dashboard import LatestRunRow, latest_runs
from db.pool import Connection, Database
from db.rollups import (
    app_types,
    latency_percentiles,
    usage_by_app,
    usage_by_period,
    usage_by_status,
)
from db.scope import Scope
from resolvers.budget import Limits, load_budget
from resolvers.periods import last_days, midnight, today
from resolvers.run_logs import FINISHED

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
    """The runs created since midnight. `block` is what was asked for."""

    block: Block
    calls: int
    tokens: int
    success_rate: float | None
    average_latency_ms: float | None
    by_status: list[StatusCount]


@dataclass(frozen=True, slots=True)
class TrendDay:
    """The runs created on one day; zeros where there were none."""

    date: date
    calls: int
    tokens: int
    success_rate: float | None


@dataclass(frozen=True, slots=True)
class AppShare:
    """How many of the calls were an app's; `share` is between 0 and 1."""

    app_type: str
    calls: int
    tokens: int
    share: float


async def load_blocks(database: Database, limits: Limits, blocks: Sequence[Block]) -> dict[Block, Any]:
    """Read these blocks on one connection, their statements sent together."""
    now = datetime.now(UTC)
    async with database.pipeline() as connection:
        loads = [asyncio.ensure_future(_load(connection, block, now, limits)) for block in blocks]
        try:
            values = await asyncio.gather(*loads)
        finally:
            # Where one fails, the connection must not be given back while another still uses it.
            await asyncio.wait(loads)
    return dict(zip(blocks, values, strict=True))


async def _load(connection: Connection, block: Block, now: datetime, limits: Limits) -> Any:
    match block.name:
        case "today":
            return await _today(connection, block, now)
        case "percentiles":
            start, end = _day(block.zone, now)
            return await latency_percentiles(
                connection, scope=block.scope, start=start, end=end, fractions=PERCENTILES
            )
        case "trend":
            return await _trend(connection, block, now)
        case "apps":
            return await _apps(connection, block, now)
        case "health":
            return await _health(connection, block)
        case "budget":
            return await load_budget(connection, block.scope, block.zone, now, limits)
        case "alerts":
            return await recent_alerts(connection, scope=block.scope)


def _day(zone: ZoneInfo, now: datetime) -> tuple[datetime, datetime]:
    day = today(zone, now)
    return midnight(day, zone), midnight(day + timedelta(days=1), zone)


def success_rate(calls_by_status: dict[str, int]) -> float | None:
    """Successes over finished runs, between 0 and 1; None where no run is finished."""
    finished = sum(calls_by_status.get(status, 0) for status in FINISHED)
    return calls_by_status.get("success", 0) / finished if finished else None


async def _today(connection: Connection, block: Block, now: datetime) -> Today:
    start, end = _day(block.zone, now)
    rows = await usage_by_status(connection, scope=block.scope, start=start, end=end)
    calls = {row.status: row.calls for row in rows if row.calls}
    timed = sum(row.latency_calls for row in rows)
    return Today(
        block=block,
        calls=sum(calls.values()),
        tokens=sum(row.tokens for row in rows),
        success_rate=success_rate(calls),
        average_latency_ms=sum(row.latency_ms_sum for row in rows) / timed if timed else None,
        by_status=[
            StatusCount(status, calls[status]) for status in sorted(calls, key=lambda s: (-calls[s], s))
        ],
    )


async def _trend(connection: Connection, block: Block, now: datetime) -> list[TrendDay]:
    days = last_days(block.zone, now, block.days)
    bounds = [midnight(day, block.zone) for day in [*days, days[-1] + timedelta(days=1)]]
    calls: list[dict[str, int]] = [{} for _ in days]
    tokens = [0] * len(days)
    for row in await usage_by_period(connection, scope=block.scope, bounds=bounds):
        calls[row.period][row.status] = row.calls
        tokens[row.period] += row.tokens
    return [
        TrendDay(day, sum(calls[index].values()), tokens[index], success_rate(calls[index]))
        for index, day in enumerate(days)
    ]


async def _apps(connection: Connection, block: Block, now: datetime) -> list[AppShare]:
    first = last_days(block.zone, now, block.days)[0]
    rows = await usage_by_app(
        connection, scope=block.scope, start=midnight(first, block.zone), end=_day(block.zone, now)[1]
    )
    total = sum(row.calls for row in rows)
    shares = [AppShare(row.app_type, row.calls, row.tokens, row.calls / total) for row in rows if row.calls]
    return sorted(shares, key=lambda app: (-app.calls, app.app_type))


async def _health(connection: Connection, block: Block) -> list[LatestRunRow]:
    names = await app_types(connection, scope=block.scope)
    rows = await latest_runs(connection, scope=block.scope, app_types=names)
    return sorted(rows, key=lambda app: app.app_type)
