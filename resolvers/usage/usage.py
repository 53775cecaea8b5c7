"""Runs by status of any periods of a scope, read by one statement for everybody who asks at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from db.postgres.connection import Read
from db.sql.scope import Scope
from db.usage.rollups import PeriodUsage, usage_by_period


@dataclass(slots=True)
class Totals:
    """What the runs of a period come to; `latency_ms_sum` is over the `timed` runs that have a latency."""

    calls: dict[str, int]
    tokens: int = 0
    timed: int = 0
    latency_ms_sum: int = 0


class Usage:
    """The runs of each period between two neighbours of some bounds, whose `places` ascend with them."""

    __slots__ = ("_periods", "_places")

    def __init__(self, places: Mapping[datetime, int], rows: Iterable[PeriodUsage]) -> None:
        self._places = places
        self._periods = [Totals({}) for _ in range(len(places) - 1)]
        for place, status, calls, tokens, timed, latency_ms_sum in rows:
            period = self._periods[place]
            period.calls[status] = calls
            period.tokens += tokens
            period.timed += timed
            period.latency_ms_sum += latency_ms_sum

    def since(self, start: datetime) -> Totals:
        """The runs from one of the bounds to the next."""
        return self._periods[self._places[start]]

    def tokens(self, start: datetime, end: datetime) -> int:
        """Tokens of the runs of [start, end), both of which are among the bounds."""
        return sum([period.tokens for period in self._periods[self._places[start] : self._places[end]]])


def usage_of(scope: Scope, bounds: Iterable[datetime]) -> Read[Usage]:
    """The usage of every period between any two of the bounds, which may come in any order."""
    ordered = sorted(set(bounds))
    places = {bound: place for place, bound in enumerate(ordered)}
    return usage_by_period(scope=scope, bounds=ordered).then(partial(Usage, places))
