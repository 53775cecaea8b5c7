"""Days and months as people live them: in a time zone, as half-open ranges of UTC instants."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import ZoneInfo

from resolvers.errors import InvalidInput


class Day(NamedTuple):
    """One day as [start, end)."""

    date: date
    start: datetime
    end: datetime


@lru_cache(maxsize=1024)
def time_zone(name: str) -> ZoneInfo:
    """The IANA zone of that name, such as Europe/Berlin. Raises InvalidInput for any other name."""
    if name not in _names():
        shown = name if len(name) <= 60 else name[:60] + "…"
        raise InvalidInput(f"{shown!r} is not an IANA time zone such as Europe/Berlin.", "timeZone")
    return ZoneInfo(name)


@cache
def _names() -> frozenset[str]:
    """The names of the IANA's list, as they are written there.

    ZoneInfo takes any file of the machine's zones: its own time (localtime), or leap seconds (right/…).
    """
    listed = files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - {"Factory"}


def midnight(day: date, zone: ZoneInfo) -> datetime:
    """The instant at which a day begins in the zone, in UTC."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def today(zone: ZoneInfo, now: datetime) -> date:
    """The date in the zone at an instant."""
    return now.astimezone(zone).date()


@lru_cache(maxsize=128)
def last_days(zone: ZoneInfo, last: date, days: int) -> tuple[Day, ...]:
    """The `days` days in the zone that end with `last`, oldest first. Remembered: they change once a day."""
    dates = [last - timedelta(days=days - 1 - index) for index in range(days + 1)]
    starts = [midnight(day, zone) for day in dates]
    return tuple(map(Day, dates[:-1], starts, starts[1:]))


def month_start(day: date) -> date:
    """The first date of the month."""
    return day.replace(day=1)


def next_month(day: date) -> date:
    """The first date of the month after."""
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
