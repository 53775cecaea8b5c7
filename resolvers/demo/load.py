"""Demo data: a made-up retailer's last 30 days, loaded once into an empty store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import NamedTuple

from db.imports.demo import (
    DemoCacheEntry,
    DemoJob,
    DemoPrice,
    DemoRun,
    demo_transaction,
    insert_demo,
    store_is_empty,
)
from resolvers.demo.jobs import JobMaker, make_cache
from resolvers.demo.runs import RunMaker
from resolvers.demo.words import APPS, PRICES, SITES

DEMO_SEED = 20_260


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """How many rows were loaded; `loaded` is False where the store already held rows and was left alone."""

    loaded: bool
    runs: int = 0
    jobs: int = 0
    cache_entries: int = 0


class DemoRows(NamedTuple):
    """The demo's rows, runs and jobs with the oldest first."""

    runs: list[DemoRun]
    jobs: list[DemoJob]
    cache: list[DemoCacheEntry]
    prices: list[DemoPrice]


async def load_demo(dsn: str, *, seed: int = DEMO_SEED, now: datetime | None = None) -> DemoSummary:
    """Load the demo where there is no run, no job and no cache entry; else change nothing.

    One transaction under an advisory lock: processes that start together load it once. Raises
    db.postgres.errors.Unavailable where the database cannot be reached.
    """
    async with demo_transaction(dsn) as connection:
        if not await store_is_empty(connection):
            return DemoSummary(loaded=False)
        rows = await asyncio.to_thread(make_demo, seed, (now or datetime.now(UTC)).astimezone(UTC))
        await insert_demo(connection, runs=rows.runs, jobs=rows.jobs, cache=rows.cache, prices=rows.prices)
        return DemoSummary(True, len(rows.runs), len(rows.jobs), len(rows.cache))


def make_demo(seed: int, now: datetime) -> DemoRows:
    """The rows of the 30 days up to `now` (UTC); the same seed and `now` make the same rows."""
    maker = RunMaker(Random(seed), now)  # noqa: S311 - no secret is drawn
    jobs = JobMaker(maker)
    jobs.make_all()
    runs = [*maker.calls(), *jobs.runs, *_in_flight(maker)]
    runs.sort(key=lambda run: run.created_at)
    return DemoRows(runs, jobs.jobs, list(make_cache(maker)), _prices(now))


def _prices(now: datetime) -> list[DemoPrice]:
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    starts = (today - timedelta(days=14), today - timedelta(days=365))
    return [
        DemoPrice(model, Decimal(prompt), Decimal(completion), start)
        for model, prices in PRICES.items()
        for start, (prompt, completion) in zip(starts, prices, strict=True)
        if start == starts[1] or prices[0] != prices[1]
    ]


def _in_flight(maker: RunMaker) -> list[DemoRun]:
    """Runs of the last minutes that have not ended, whatever the hour."""
    statuses = ["running"] * 8 + ["pending"] * 3
    return [
        maker.run(
            SITES[place % len(SITES)][0],
            APPS[place % len(APPS)].name,
            maker.member(),
            maker.now - timedelta(seconds=2 + 14 * place),
            status=status,
        )
        for place, status in enumerate(statuses)
    ]
