"""Times as files write them, all turned into instants in UTC. The machine's own time zone never matters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from resolvers.errors import InvalidInput
from resolvers.imports.errors import ImportUsageError
from resolvers.imports.escapes import shown
from resolvers.periods import time_zone
from resolvers.runs.run_bounds import EARLIEST, MAX_AHEAD

UNITS_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
SPREADSHEET = "spreadsheet"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_LIKELY = datetime(2000, 1, 1, tzinfo=UTC)
_FAR = datetime(9999, 1, 1, tzinfo=UTC)
_SPREADSHEET_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 - in the file's zone
_DAY = timedelta(days=1)
_LONGEST_STRETCH = 60 * _DAY
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?", re.ASCII)
# 1971, 3138 and 5138: between a unit's likely times and the next one's there is a gap of centuries.
_MAGNITUDES = ((10**11, "s"), (10**14, "ms"), (10**17, "us"), (10**20, "ns"))
_DAY_NUMBERS = range(20_000, 80_000)
_LEAST_LIKELY = 10**8
# Go's String() and others: a blank before the offset, a name after it, the monotonic clock.
_DECORATED = re.compile(
    r"(?P<time>.*?[0-9])\s*(?P<offset>[+-][0-9]{2}:?[0-9]{2})?\s*(?P<name>[A-Za-z]{1,5})?(\s+m=[+-][0-9.]+)?",
    re.ASCII,
)
_UTC_NAMES = frozenset({"utc", "gmt", "z"})


class TimeFormat:
    """How a file's times are written, and which are believed. `latest` is None where all will be moved."""

    def __init__(
        self,
        *,
        zone: str,
        pattern: str | None = None,
        ambiguous: str | None = None,
        before_2000: bool = False,
        latest: datetime | None = None,
        decimal: str = ".",
    ) -> None:
        try:
            self._zone = time_zone(zone)
        except InvalidInput as error:
            raise ImportUsageError(f"--time-zone: {error}") from None
        if pattern is not None and pattern != SPREADSHEET:
            _refuse_bad_pattern(pattern)
        self._zone_name = zone
        self._pattern = pattern
        self._ambiguous = ambiguous
        self._earliest = EARLIEST if before_2000 else _FIRST_LIKELY
        self._latest = latest + MAX_AHEAD if latest else _FAR
        self._decimal = decimal

    def check(self, cells: Sequence[str | None], unit: str | None) -> list[datetime | None] | None:
        """All times at once, or None where one of them needs a closer look."""
        sample = next(filter(None, cells), None)
        if sample is None:
            return [None for _ in cells]
        if self._pattern is not None:
            return None
        try:
            times = self._epochs(cells, unit) if unit or sample.isdigit() else self._iso(cells, sample)
            known = [time for time in times or () if time is not None]
            if known and self._earliest <= min(known) and max(known) <= self._latest:
                return times
        except (ValueError, OverflowError, TypeError):
            pass
        return None

    def _iso(self, cells: Sequence[str | None], sample: str) -> list[datetime | None] | None:
        parse = datetime.fromisoformat
        first = parse(sample)
        if first.tzinfo is not None:
            # A time without a zone among them cannot be compared with the others, which ends this attempt.
            return [None if cell is None else parse(cell) for cell in cells]
        offset = _offset_of_day(self._zone, first.date())
        if offset is None:
            return None
        # Cheaper than giving each time a zone afterwards; a cell that has one ends this attempt. So does a
        # date alone, in which Python takes the offset for the time of day.
        suffix = _EPOCH.astimezone(timezone(offset)).isoformat()[len("1970-01-01T00:00:00") :]
        times = [None if cell is None else parse(cell + suffix) for cell in cells]
        known = [time for time in times if time is not None]
        if known[0].tzinfo is None:
            return None
        return times if self._is_steady(min(known).date(), max(known).date(), offset) else None

    def _is_steady(self, first: date, last: date, offset: timedelta) -> bool:
        """Whether the zone has this offset on all these days."""
        if self._zone_name == "UTC":
            return True
        if last - first > _LONGEST_STRETCH:
            return False
        days = (first + _DAY * count for count in range((last - first).days + 1))
        return all(_offset_of_day(self._zone, day) == offset for day in days)

    def _epochs(self, cells: Sequence[str | None], unit: str | None) -> list[datetime | None] | None:
        numbers = [None if cell is None else int(cell) for cell in cells if cell is None or cell.isdigit()]
        known = [number for number in numbers if number is not None]
        if len(numbers) < len(cells):
            return None
        if unit is None:
            unit = _unit_of(max(known))
            # Small numbers may be dates or a spreadsheet's.
            if unit is None or unit != _unit_of(min(known)) or min(known) < _LEAST_LIKELY:
                return None
        per_second = UNITS_PER_SECOND[unit]
        if per_second > 10**6:
            return [None if n is None else _EPOCH + timedelta(microseconds=n // 1000) for n in numbers]
        scale = 10**6 // per_second
        return [None if n is None else _EPOCH + timedelta(microseconds=n * scale) for n in numbers]

    def one(self, cell: str, unit: str | None) -> datetime:
        """One time. Raises ValueError with what is wrong, and what to do."""
        try:
            time = self._read(cell.strip(), unit)
        except (OverflowError, ArithmeticError):
            raise ValueError("is no time") from None
        if time < EARLIEST:
            raise ValueError(f"lies before {EARLIEST.year}")
        if time < self._earliest:
            raise ValueError("lies before 2000; --before-2000 allows it")
        if time > self._latest:
            raise ValueError("lies more than a day in the future")
        return time

    def _read(self, text: str, unit: str | None) -> datetime:
        number = text.replace(self._decimal, ".")
        is_number = _NUMBER.fullmatch(number)
        if self._pattern == SPREADSHEET:
            return self._of_day_number(number if is_number else "")
        if self._pattern is not None:
            return self._by_pattern(text, self._pattern)
        # Eight digits are a date, as ISO 8601 writes one.
        if is_number and (unit or not text.isdigit() or len(text) != len("20260131")):
            return self._of_epoch(Decimal(number), unit)
        return self._by_iso(text)

    def _of_day_number(self, text: str) -> datetime:
        if not text:
            raise ValueError("is no day number of a spreadsheet")
        # Rounded, because a day's fraction has no exact seconds.
        milliseconds = round(Decimal(text) * 86_400_000)
        return self._instant(_SPREADSHEET_EPOCH + timedelta(milliseconds=milliseconds))

    def _by_pattern(self, text: str, pattern: str) -> datetime:
        try:
            return self._instant(datetime.strptime(text, pattern))  # noqa: DTZ007
        except ValueError as error:
            if str(error).startswith(("exists", "does not exist")):
                raise
            raise ValueError(f"is not written as --time-format {shown(pattern)} says") from None

    def _of_epoch(self, number: Decimal, unit: str | None) -> datetime:
        if unit is None:
            if int(number) in _DAY_NUMBERS:
                raise ValueError(
                    "may be a spreadsheet's day number: give --time-format spreadsheet, or --unit"
                )
            unit = _unit_of(int(number))
            if unit is None:
                raise ValueError("is no time")
        return _EPOCH + timedelta(microseconds=int(number * 10**6 / UNITS_PER_SECOND[unit]))

    def _by_iso(self, text: str) -> datetime:
        time = _parsed(text)
        if time is None and (parts := _DECORATED.fullmatch(text)):
            name = (parts["name"] or "").lower()
            if parts["offset"] or name in _UTC_NAMES:
                time = _parsed(parts["time"] + (parts["offset"] or "+00:00"))
            if time and name in _UTC_NAMES and time.utcoffset():
                time = None
        if time is None:
            raise ValueError(
                "is no time in ISO 8601 or since 1970: give --time-format, as in '%d.%m.%Y %H:%M:%S'"
            )
        return self._instant(time)

    def _instant(self, time: datetime) -> datetime:
        """A time as an instant. Raises ValueError where the zone does not have it, or has it twice."""
        if time.tzinfo is not None:
            return time.astimezone(UTC)
        earlier = time.replace(tzinfo=self._zone)
        later = earlier.replace(fold=1)
        first, second = earlier.utcoffset(), later.utcoffset()
        if first is None or second is None or first == second:
            return earlier.astimezone(UTC)
        if first < second:
            raise ValueError(f"does not exist in {self._zone_name}, where clocks were put forward")
        if self._ambiguous is None:
            raise ValueError(
                f"exists twice in {self._zone_name}, where clocks were put back:"
                " say --ambiguous earlier or later"
            )
        return (earlier if self._ambiguous == "earlier" else later).astimezone(UTC)


def _parsed(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _unit_of(number: int) -> str | None:
    return next((unit for end, unit in _MAGNITUDES if abs(number) < end), None)


@lru_cache(maxsize=4096)
def _offset_of_day(zone: ZoneInfo, day: date) -> timedelta | None:
    """The offset that the zone has all day, or None where it changes."""
    try:
        ends = [datetime.combine(day + _DAY * step, time_of_day(), zone) for step in (0, 1)]
    except OverflowError:
        return None
    offsets = {end.replace(fold=fold).utcoffset() for end in ends for fold in (0, 1)}
    return offsets.pop() if len(offsets) == 1 else None


def _refuse_bad_pattern(pattern: str) -> None:
    if "%Z" in pattern:
        raise ImportUsageError("--time-format: names of zones (%Z) are not read; use %z, or --time-zone")
    if "%" not in pattern:
        raise ImportUsageError(
            f"--time-format {shown(pattern)}: give a pattern such as '%d.%m.%Y %H:%M:%S', or spreadsheet"
        )
    try:
        datetime.strptime("", pattern)  # noqa: DTZ007
    except ValueError as error:
        if "bad directive" in str(error) or "stray" in str(error):
            raise ImportUsageError(f"--time-format {shown(pattern)}: {error}") from None
    except re.error:
        raise ImportUsageError(f"--time-format {shown(pattern)}: a part of it stands twice") from None
