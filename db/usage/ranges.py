"""Which rows of the roll-ups make up a range: whole days, and what the edges of the range add and take away.

A roll-up's row holds the sums of a day (UTC) or an hour, and also those of its first, first two and first
three fourths. Any quarter of an hour lies within 3 hours of such a sum of a day, and its hour has a sum that
ends there. So a month in any zone is some forty rows a key.
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
# In quarters of an hour. A mark is where a fourth of a day ends.
_HOUR, _MARK, _DAY = 4, 24, 96


def ranges(bounds: Sequence[datetime], scope: Scope) -> dict[str, Any]:
    """The values of a statement made of `db.usage.rollups.SUM`. ValueError for bounds that it cannot have."""
    return {**_between(tuple(bounds)), **scope.parameters()}


class _Edge(NamedTuple):
    """Rows that count for the period before the one they were counted for; with sign -1, for the one after.

    They are those of an hour (level 0) or of a day (level 4), by its start in quarters since _EPOCH. Of each
    row the first `part` fourths are meant, or all of it where that is 0.
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
    """From the start of a day to the mark that is nearest to the bound, and from there to the bound."""
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
