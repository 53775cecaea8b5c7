"""The same part of the API on Strawberry as its documentation has it: typed objects, its own ASGI view.

Parser and validation caches are on, statements are prepared, uvicorn runs on uvloop and httptools. Days are
those of UTC only. PORT, STATEMENTS (a file of SQL), POOL_SIZE and DATABASE_URL come from the environment.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from math import ceil, floor
from pathlib import Path
from typing import Any, NewType

import strawberry
import uvicorn
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache
from strawberry.schema.config import StrawberryConfig

STATEMENTS = json.loads(Path(os.environ["STATEMENTS"]).read_text())
SIZE = int(os.environ["POOL_SIZE"])
FINISHED = ("success", "failed", "timeout", "circuit_open")
BIN_GROWTH = 1.1
DAY = dt.timedelta(days=1)
BigInt = NewType("BigInt", int)

pool = AsyncConnectionPool(
    os.environ["DATABASE_URL"],
    kwargs={"autocommit": True, "prepare_threshold": 0, "options": "-c TimeZone=UTC"},
    min_size=SIZE,
    max_size=SIZE,
    open=False,
)


async def run(name: str, site: str | None, **values: Any) -> list[tuple[Any, ...]]:
    statement = STATEMENTS[name + ("_all" if site is None else "_one")]["text"]
    if "page_limit" in values:
        # The number of rows is part of the text, so that the plan is made once.
        statement = statement.replace("{limit}", str(int(values["page_limit"])))
    async with pool.connection() as connection:
        cursor = await connection.execute(statement, {**values, "scope_site": site, "own_scope_site": site})
        return await cursor.fetchall()


@strawberry.enum
class RunStatus(Enum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"
    TIMEOUT = "timeout"
    CIRCUIT_OPEN = "circuit_open"


@strawberry.enum
class AlertStatus(Enum):
    PENDING = "pending"
    ACKNOWLEDGED = "acknowledged"
    IGNORED = "ignored"


@strawberry.type
class RunLog:
    id: strawberry.ID
    site_id: strawberry.ID
    app_type: str
    model: str | None
    status: RunStatus
    tokens_used: BigInt
    latency_ms: int | None
    member_id: strawberry.ID | None
    created_at: dt.datetime


@strawberry.type
class RunLogEdge:
    node: RunLog
    cursor: str


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class RunLogConnection:
    edges: list[RunLogEdge]
    page_info: PageInfo


@strawberry.type
class StatusCount:
    status: RunStatus
    status_text: str
    calls: BigInt


@strawberry.type
class LatencyPercentiles:
    p50: float | None
    p95: float | None
    p99: float | None


@strawberry.type
class Today:
    site: strawberry.Private[str | None]
    calls: BigInt
    tokens: BigInt
    success_rate: float | None
    average_latency_ms: float | None
    by_status: list[StatusCount]

    @strawberry.field
    async def latency(self) -> LatencyPercentiles:
        bins = sorted(await run("latency_bins", self.site, **ranges(midnight(), midnight() + DAY)))
        return LatencyPercentiles(
            p50=percentile(bins, 0.5), p95=percentile(bins, 0.95), p99=percentile(bins, 0.99)
        )


@strawberry.type
class TrendDay:
    date: dt.date
    calls: BigInt
    tokens: BigInt
    success_rate: float | None


@strawberry.type
class AppShare:
    app_type: str
    count: BigInt
    tokens: BigInt
    share: float


@strawberry.type
class AppHealth:
    app_type: str
    last_status: RunStatus
    last_status_text: str
    last_call_at: dt.datetime


@strawberry.type
class PeriodBudget:
    used: BigInt
    limit: BigInt
    ratio: float | None
    remaining: BigInt
    resets_at: dt.datetime


@strawberry.type
class Budget:
    time_zone: str
    daily: PeriodBudget
    monthly: PeriodBudget


@strawberry.type
class Alert:
    id: strawberry.ID
    site_id: strawberry.ID
    app_type: str
    trigger_type: str | None
    member_id: strawberry.ID | None
    run_status: RunStatus
    error_message: str | None
    alert_status: AlertStatus
    alert_changed_by: str | None
    alert_changed_at: dt.datetime | None
    created_at: dt.datetime


@strawberry.type
class Dashboard:
    site_id: strawberry.ID | None
    time_zone: str

    @strawberry.field
    async def today(self) -> Today:
        found = await run("usage_by_period", self.site_id, **ranges(midnight(), midnight() + DAY))
        rows = [row[1:] for row in found]
        timed = sum(row[3] for row in rows)
        return Today(
            site=self.site_id,
            calls=BigInt(sum(row[1] for row in rows)),
            tokens=BigInt(sum(row[2] for row in rows)),
            success_rate=success_rate({row[0]: row[1] for row in rows}),
            average_latency_ms=sum(row[4] for row in rows) / timed if timed else None,
            by_status=[
                StatusCount(status=RunStatus(row[0]), status_text=row[0], calls=row[1])
                for row in sorted(rows, key=lambda row: (-row[1], row[0]))
            ],
        )

    @strawberry.field
    async def trend(self, days: int = 7) -> list[TrendDay]:
        bounds = last_days(days)
        calls: list[dict[str, int]] = [{} for _ in range(days)]
        tokens = [0] * days
        rows = await run("usage_by_period", self.site_id, **ranges(*bounds))
        for period, status, count, used, *_ in rows:
            calls[period][status] = count
            tokens[period] += used
        return [
            TrendDay(
                date=bound.date(),
                calls=BigInt(sum(counts.values())),
                tokens=BigInt(used),
                success_rate=success_rate(counts),
            )
            for bound, counts, used in zip(bounds, calls, tokens, strict=False)
        ]

    @strawberry.field
    async def app_distribution(self, days: int = 7) -> list[AppShare]:
        bounds = last_days(days)
        rows = await run("usage_by_app", self.site_id, **ranges(bounds[0], bounds[-1]))
        total = sum(row[1] for row in rows)
        rows.sort(key=lambda row: (-row[1], row[0]))
        return [AppShare(app_type=row[0], count=row[1], tokens=row[2], share=row[1] / total) for row in rows]

    @strawberry.field
    async def app_health(self) -> list[AppHealth]:
        rows = await run("latest_runs", self.site_id)
        return [
            AppHealth(
                app_type=row[0], last_status=RunStatus(row[1]), last_status_text=row[1], last_call_at=row[2]
            )
            for row in sorted(rows)
        ]

    @strawberry.field
    async def budget(self) -> Budget:
        day = midnight()
        month = day.replace(day=1)
        bounds = (month, day, day + DAY, (month + 32 * DAY).replace(day=1))
        used = [0, 0, 0]
        for row in await run("usage_by_period", self.site_id, **ranges(*bounds)):
            used[row[0]] += row[3]
        return Budget(
            time_zone="UTC",
            daily=period_budget(used[1], 100_000, bounds[2]),
            monthly=period_budget(sum(used), 2_000_000, bounds[3]),
        )

    @strawberry.field
    async def recent_alerts(self) -> list[Alert]:
        rows = await run("recent_alerts", self.site_id, limit=10, longest_text=2_000)
        rows.sort(key=lambda row: (row[7] == "pending", row[10], row[0]), reverse=True)
        return [
            Alert(
                id=strawberry.ID(f"alert_{row[0]}"),
                site_id=row[1],
                app_type=row[2],
                trigger_type=row[3],
                member_id=row[4],
                run_status=RunStatus(row[5]),
                error_message=row[6],
                alert_status=AlertStatus(row[7]),
                alert_changed_by=row[8],
                alert_changed_at=row[9],
                created_at=row[10],
            )
            for row in rows[:10]
        ]


@strawberry.type
class Query:
    @strawberry.field
    async def run_logs(self, first: int | None = 20) -> RunLogConnection:
        first = first or 20
        rows = await run("list", None, page_limit=first + 1)
        edges = [edge_of(row) for row in rows[:first]]
        end = edges[-1].cursor if edges else None
        return RunLogConnection(
            edges=edges, page_info=PageInfo(has_next_page=len(rows) > first, end_cursor=end)
        )

    @strawberry.field
    async def dashboard(self, site_id: strawberry.ID | None = None) -> Dashboard:
        return Dashboard(site_id=site_id, time_zone="UTC")


def edge_of(row: tuple[Any, ...]) -> RunLogEdge:
    place = f"run:{row[8].isoformat()}:{row[0]}"
    node = RunLog(
        id=strawberry.ID(f"run_{row[0]}"),
        site_id=row[1],
        app_type=row[2],
        model=row[3],
        status=RunStatus(row[4]),
        tokens_used=row[5],
        latency_ms=row[6],
        member_id=row[7],
        created_at=row[8],
    )
    return RunLogEdge(node=node, cursor=base64.urlsafe_b64encode(place.encode()).decode())


def midnight() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def last_days(days: int) -> list[dt.datetime]:
    end = midnight() + DAY
    return [end - DAY * (days - index) for index in range(days + 1)]


def ranges(*bounds: dt.datetime) -> dict[str, Any]:
    # All bounds are midnights of UTC, so that whole days are summed and there are no edges.
    return {
        "bounds": list(bounds),
        "days": list(bounds),
        "periods": len(bounds) - 1,
        "first": bounds[0],
        "first_day": bounds[0],
        "last": bounds[-1],
        "last_day": bounds[-1],
        "edge_periods": [],
        "edge_levels": [],
        "edge_hours": [],
        "edge_parts": [],
        "edge_signs": [],
        "edge_signs_of_one": [],
    }


def success_rate(calls: dict[str, int]) -> float | None:
    finished = sum(calls.get(status, 0) for status in FINISHED)
    return calls.get("success", 0) / finished if finished else None


def period_budget(used: int, limit: int, resets_at: dt.datetime) -> PeriodBudget:
    return PeriodBudget(
        used=BigInt(used),
        limit=BigInt(limit),
        ratio=used / limit,
        remaining=BigInt(max(0, limit - used)),
        resets_at=resets_at,
    )


def percentile(bins: list[tuple[Any, ...]], fraction: float) -> float | None:
    calls = sum(count for _, count in bins)
    if not calls:
        return None
    rank = fraction * (calls - 1)
    below, above = value_at(bins, floor(rank)), value_at(bins, ceil(rank))
    return below + (above - below) * (rank - floor(rank))


def value_at(bins: list[tuple[Any, ...]], rank: int) -> float:
    for number, count in bins:
        if rank < count:
            return 2 * BIN_GROWTH ** (number - 1) / (1 + BIN_GROWTH) if number else 0.0
        rank -= count
    raise AssertionError("a rank lies below the number of calls")


@asynccontextmanager
async def lifespan(_app: Starlette) -> AsyncIterator[None]:
    async with pool:
        yield


big_int = strawberry.scalar(name="BigInt", serialize=int, parse_value=int)
schema = strawberry.Schema(
    query=Query,
    extensions=[ParserCache, ValidationCache],
    config=StrawberryConfig(scalar_map={BigInt: big_int}),
)
app = Starlette(routes=[Route("/graphql", GraphQL(schema))], lifespan=lifespan)

if __name__ == "__main__":
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
    )
