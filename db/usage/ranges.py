"""Splits a range of time into rows of the roll-ups, so that a month in any zone reads some forty rows a key.

The roll-ups have one row for each UTC day and one for each hour. A row holds four sums: of its whole, and of
its first one, two and three fourths. A fourth of a day is 6 hours; a fourth of an hour is 15 minutes.

A range is the whole UTC days between its bounds, corrected at both bounds:

1. The bound is moved to the nearest fourth of a day (a "mark"), which is at most 3 hours away.
2. The day's sum up to the mark is added or taken away.
3. The hours between the mark and the bound are added or taken away one by one.
4. The last hour counts up to the bound by its sum of one, two or three fourths.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from db.sql.scope import Scope

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_QUARTER = timedelta(minutes=15)
# In quarters of an hour. A mark is the end of a fourth of a day.
_HOUR, _MARK, _DAY = 4, 24, 96


def ranges(bounds: Sequence[datetime], scope: Scope) -> dict[str, Any]:
    """The values that a statement made of `db.usage.rollups.SUM` needs for the periods between the bounds.

    Each pair of neighbouring bounds is one period. Raises ValueError for fewer than two bounds, for bounds
    that do not ascend, and for bounds that are no whole quarters of an hour.
    """
    return {**_between(tuple(bounds)), **scope.parameters()}


class _Edge(NamedTuple):
    """One correction at a bound: rows of the roll-ups that belong to the other side of the bound.

    `period` counts from 1 and is the period that begins at the bound. With sign 1 the rows are added to the
    period before the bound and taken from the one after it; with sign -1 the other way round. The rows are
    those of one hour (`level` 0) or one day (`level` 4), which begins `start` quarters of an hour after
    _EPOCH. `part` says how many fourths of the row count; 0 is the whole row.
    """

    period: int
    level: int
    start: int
    part: int
    sign: int


# The same few periods are asked for all day.
@lru_cache(maxsize=512)
def _between(bounds: tuple[datetime, ...]) -> dict[str, Any]:
    if len(bounds) < 2 or any(later < earlier for earlier, later in pairwise(bounds)):
        raise ValueError("bounds are two or more times, in ascending order")
    if any((bound - _EPOCH) % _QUARTER for bound in bounds):
        raise ValueError("bounds lie at whole quarters of an hour")
    quarters = [(bound - _EPOCH) // _QUARTER for bound in bounds]
    edges = [edge for period, quarter in enumerate(quarters, start=1) for edge in _edges(period, quarter)]
    days = [_instant(_nearest_mark(quarter) // _DAY * _DAY) for quarter in quarters]
    return {
        "bounds": _array(map(_instant, quarters)),
        "days": _array(days),
        "periods": len(bounds) - 1,
        "first": _instant(quarters[0]),
        "last": _instant(quarters[-1]),
        "first_day": days[0],
        "last_day": days[-1],
        "edge_periods": _array(str(edge.period) for edge in edges),
        "edge_levels": _array(str(edge.level) for edge in edges),
        "edge_hours": _array(_instant(edge.start) for edge in edges),
        "edge_parts": _array(str(edge.part) for edge in edges),
        "edge_signs": _array(str(edge.sign) for edge in edges),
        "edge_signs_of_one": _array(str(-edge.sign if edge.period == 1 else edge.sign) for edge in edges),
    }


def _nearest_mark(quarter: int) -> int:
    return (quarter + _MARK // 2) // _MARK * _MARK


def _edges(period: int, bound: int) -> Iterator[_Edge]:
    """The corrections at one bound: the day up to the nearest mark, then the hours between mark and bound."""
    mark = _nearest_mark(bound)
    day, hour = mark // _DAY * _DAY, bound // _HOUR * _HOUR
    if mark > day:
        yield _Edge(period, 4, day, (mark - day) // _MARK, 1)
    for start in range(min(hour, mark), max(hour, mark), _HOUR):
        yield _Edge(period, 0, start, 0, 1 if hour > mark else -1)
    if bound > hour:
        yield _Edge(period, 0, hour, bound - hour, 1)


def _instant(quarter: int) -> str:
    return (_EPOCH + quarter * _QUARTER).isoformat()


def quarter_before(moment: datetime) -> datetime:
    """The start of the quarter of an hour that holds the moment."""
    return moment - (moment - _EPOCH) % _QUARTER


def _array(values: Iterable[str]) -> str:
    # PostgreSQL's text form, which the driver passes on; a list it would search for the type of its items.
    return "{" + ",".join(values) + "}"
