"""Runs by status of any periods of a scope, read by one statement for everybody who asks at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from db.pool import Connection
from db.rollups import PeriodUsage, usage_by_period
from db.scope import Scope


@dataclass(slots=True)
class Totals:
    """What the runs of a period come to; `latency_ms_sum` is over the `timed` runs that have a latency."""

    calls: dict[str, int] = field(default_factory=dict[str, int])
    tokens: int = 0
    timed: int = 0
    latency_ms_sum: int = 0


class Usage(NamedTuple):
    """The runs between each two neighbours of `bounds`, which ascend."""

    bounds: Sequence[datetime]
    rows: Sequence[PeriodUsage]

    def between(self, start: datetime, end: datetime) -> Totals:
        """The runs of [start, end), both of which are among the bounds."""
        first, last = self.bounds.index(start), self.bounds.index(end)
        totals = Totals()
        for row in self.rows:
            if first <= row.period < last:
                totals.calls[row.status] = totals.calls.get(row.status, 0) + row.calls
                totals.tokens += row.tokens
                totals.timed += row.latency_calls
                totals.latency_ms_sum += row.latency_ms_sum
        return totals


async def load_usage(connection: Connection, scope: Scope, bounds: Iterable[datetime]) -> Usage:
    """The usage of every period between any two of the bounds, which may come in any order."""
    ordered = sorted(set(bounds))
    return Usage(ordered, await usage_by_period(connection, scope=scope, bounds=ordered))
