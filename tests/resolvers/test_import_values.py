"""Times and numbers of an import's file: what is understood, and what has two readings and is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resolvers.imports.errors import ImportUsageError
from resolvers.imports.numbers import NumberFormat
from resolvers.imports.times import TimeFormat

NOW = datetime(2026, 11, 20, tzinfo=UTC)
MARCH = datetime(2024, 3, 22, 15, 21, 52, 345000, UTC)


def time_of(cell: str, *, unit: str | None = None, **options: Any) -> datetime:
    """The time of a cell, read alone and at once with another of its kind: both ways must agree."""
    form = TimeFormat(**{"zone": "UTC", "latest": NOW} | options)
    alone = form.one(cell, unit)
    together = form.check([cell, None, cell], unit)
    assert together is None or together == [alone, None, alone]
    return alone.astimezone(UTC)


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("2023-11-16 18:17:03.9799600", datetime(2023, 11, 16, 18, 17, 3, 979960, UTC)),
        ("2023-11-16 18:17:03.9799600 UTC", datetime(2023, 11, 16, 18, 17, 3, 979960, UTC)),
        ("2023-11-16 18:17:03.97996 +0000 UTC", datetime(2023, 11, 16, 18, 17, 3, 979960, UTC)),
        ("2023-11-16 18:17:03 +0000 UTC m=+0.000012", datetime(2023, 11, 16, 18, 17, 3, tzinfo=UTC)),
        ("2023-11-16 18:17:03 +0100 CET", datetime(2023, 11, 16, 17, 17, 3, tzinfo=UTC)),
        ("2023-11-16 18:17:03 GMT", datetime(2023, 11, 16, 18, 17, 3, tzinfo=UTC)),
        ("2023-11-16T18:17:03 Z", datetime(2023, 11, 16, 18, 17, 3, tzinfo=UTC)),
        (" 2026-05-01T10:00:00.5Z ", datetime(2026, 5, 1, 10, 0, 0, 500000, UTC)),
        ("2026-05-01T10:00:00-05:30", datetime(2026, 5, 1, 15, 30, tzinfo=UTC)),
        ("2026-05-01", datetime(2026, 5, 1, tzinfo=UTC)),
        ("20260501", datetime(2026, 5, 1, tzinfo=UTC)),
        ("1711120912", MARCH.replace(microsecond=0)),
        ("1711120912.345", MARCH),
        ("1711120912345", MARCH),
        ("1711120912345.25", MARCH + timedelta(microseconds=250)),
        ("1711120912345000", MARCH),
        ("1711120912345000789", MARCH),
        ("946684800", datetime(2000, 1, 1, tzinfo=UTC)),
        ("946684800000000000", datetime(2000, 1, 1, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_many_forms(cell: str, expected: datetime) -> None:
    assert time_of(cell) == expected


@pytest.mark.parametrize(
    ("cell", "zone", "expected"),
    [
        ("2026-01-01 00:30", "Europe/Berlin", datetime(2025, 12, 31, 23, 30, tzinfo=UTC)),
        ("2026-07-01 00:30", "Europe/Berlin", datetime(2026, 6, 30, 22, 30, tzinfo=UTC)),
        ("2026-07-01", "America/New_York", datetime(2026, 7, 1, 4, tzinfo=UTC)),
        ("2026-07-01 12:00", "Asia/Kolkata", datetime(2026, 7, 1, 6, 30, tzinfo=UTC)),
        ("2026-07-01 12:00Z", "Asia/Kolkata", datetime(2026, 7, 1, 12, tzinfo=UTC)),
        ("1711120912", "Asia/Kolkata", MARCH.replace(microsecond=0)),
        # The day on which clocks change, before and after.
        ("2026-03-29 01:59", "Europe/Berlin", datetime(2026, 3, 29, 0, 59, tzinfo=UTC)),
        ("2026-03-29 03:00", "Europe/Berlin", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        ("2026-10-25 03:00", "Europe/Berlin", datetime(2026, 10, 25, 2, 0, tzinfo=UTC)),
    ],
)
def test_times_without_a_zone_are_of_the_one_that_is_said(cell: str, zone: str, expected: datetime) -> None:
    assert time_of(cell, zone=zone) == expected


def test_many_times_at_once_are_what_each_is_alone() -> None:
    """A whole year of hours: the quick way must not carry one offset over a change of clocks."""
    form = TimeFormat(zone="Europe/Berlin", latest=NOW, ambiguous="later")
    begin = datetime(2025, 10, 1)  # noqa: DTZ001
    hours = [(begin + timedelta(hours=hour)).isoformat(" ") for hour in range(365 * 24)]
    hours = [hour for hour in hours if not hour.startswith("2026-03-29 02")]
    quick = 0
    for size in (24, 500):
        for first in range(0, len(hours), size):
            cells = hours[first : first + size]
            times = form.check(cells, None)
            quick += times is not None
            assert times is None or times == [form.one(cell, None) for cell in cells]
    assert quick > 300


def test_a_time_that_the_zone_does_not_have_or_has_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="does not exist in Europe/Berlin, where clocks were put forward"):
        time_of("2026-03-29 02:30", zone="Europe/Berlin")
    twice = "2026-10-25 02:30"
    with pytest.raises(
        ValueError, match=r"exists twice in Europe/Berlin.*: say --ambiguous earlier or later"
    ):
        time_of(twice, zone="Europe/Berlin")
    earlier, later = (time_of(twice, zone="Europe/Berlin", ambiguous=word) for word in ("earlier", "later"))
    assert (earlier, later) == (
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
    )
    with pytest.raises(ValueError, match="does not exist"):
        time_of("29.03.2026 02:30", zone="Europe/Berlin", pattern="%d.%m.%Y %H:%M")


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("yesterday", "is no time in ISO 8601 or since 1970: give --time-format"),
        ("01/02/2026", "is no time"),
        ("2026-05-01 10:00 CET", "is no time"),
        ("2026-05-01 10:00 +0200 UTC", "is no time"),
        ("2026-13-01", "is no time"),
        ("", "is no time"),
        ("45292.75", "may be a spreadsheet's day number: give --time-format spreadsheet"),
        ("45292", "may be a spreadsheet's day number"),
        ("1.71112E+12", "is no time"),
        ("915148800", "lies before 2000; --before-2000 allows it"),
        ("1999-12-31T23:59:59", "lies before 2000"),
        ("0", "lies before 2000"),
        ("-5", "lies before 1970"),
        ("99999999999999999999999", "is no time"),
        ("9" * 400, "is no time"),
        ("2026-11-21T00:00:01Z", "lies more than a day in the future"),
        ("1850000000", "lies more than a day in the future"),
        ("9999-12-31T23:59:59-23:00", "is no time"),
        ("0001-01-01T00:00:00+23:00", "is no time"),
    ],
)
def test_what_is_no_likely_time_is_refused(cell: str, reason: str) -> None:
    form = TimeFormat(zone="UTC", latest=NOW)
    with pytest.raises(ValueError, match=reason):
        form.one(cell, None)
    assert form.check([cell], None) is None or not cell


def test_unlikely_times_may_be_asked_for() -> None:
    assert time_of("915148800", before_2000=True) == datetime(1999, 1, 1, tzinfo=UTC)
    assert time_of("1970-01-01", before_2000=True) == datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="lies before 1970"):
        time_of("1969-12-31T23:59:59", before_2000=True)
    for cell in ("45292", "20000"):
        with pytest.raises(ValueError, match="day number"):
            time_of(cell, before_2000=True)
    assert time_of("45292", unit="s", before_2000=True) == datetime(1970, 1, 1, 12, 34, 52, tzinfo=UTC)
    assert time_of("1711120912345", unit="ms") == MARCH
    assert time_of("1711120912345.5", unit="ms") == MARCH + timedelta(microseconds=500)
    assert time_of("20240322", unit="s", before_2000=True) == datetime(1970, 8, 23, 6, 18, 42, tzinfo=UTC)
    # Without a bound, as for times that are moved.
    assert time_of("2999-01-01", latest=None) == datetime(2999, 1, 1, tzinfo=UTC)


def test_a_spreadsheets_day_numbers_are_read_on_demand() -> None:
    sheet = {"pattern": "spreadsheet", "zone": "Europe/Berlin"}
    assert time_of("45292.75", **sheet) == datetime(2024, 1, 1, 17, 0, tzinfo=UTC)
    assert time_of("45292,7604166667", **sheet, decimal=",") == datetime(2024, 1, 1, 17, 15, tzinfo=UTC)
    for cell, reason in (("2024-01-01", "is no day number of a spreadsheet"), ("9" * 30, "is no time")):
        with pytest.raises(ValueError, match=reason):
            time_of(cell, **sheet)
    with pytest.raises(ValueError, match="before"):
        time_of("12", **sheet)


def test_a_pattern_of_the_owner_goes_first() -> None:
    assert time_of("01/02/2026 3:04 PM", pattern="%d/%m/%Y %I:%M %p") == datetime(
        2026, 2, 1, 15, 4, tzinfo=UTC
    )
    zoned = {"pattern": "%d/%b/%Y:%H:%M:%S %z", "zone": "Asia/Tokyo"}
    assert time_of("10/Oct/2025:13:55:36 -0700", **zoned) == datetime(2025, 10, 10, 20, 55, 36, tzinfo=UTC)
    with pytest.raises(ValueError, match="is not written as --time-format '%d/%m/%Y' says"):
        time_of("2026-05-01", pattern="%d/%m/%Y")
    for pattern in ("%Q", "%d %Z", "ISO", "%d %d", "%"):
        with pytest.raises(ImportUsageError, match="--time-format"):
            TimeFormat(zone="UTC", pattern=pattern)
    for zone in ("Mars/Olympus", "../etc/passwd", "", "\x1b[2J"):
        with pytest.raises(ImportUsageError, match="--time-zone"):
            TimeFormat(zone=zone)


@pytest.mark.parametrize(
    ("cell", "options", "expected"),
    [
        ("12", {}, 12),
        (" +12 ", {}, 12),
        ("12.0", {}, 12),
        ("12.", {}, 12),
        ("1.000", {}, 1),
        ("1.000", {"english": False, "decimal": "."}, 1),
        ("1.000", {"english": False, "thousands": "."}, 1000),
        ("1.000.000,00", {"thousands": ".", "decimal": ","}, 1_000_000),
        ("1.000,0", {"thousands": "."}, 1000),
        ("12,0", {"decimal": ","}, 12),
        ("1,234,567", {"thousands": ","}, 1_234_567),
        ("1,234.00", {"thousands": ","}, 1234),
        ("1\u202f234\u00a0567", {"thousands": " "}, 1_234_567),
        ("1'234", {"thousands": "'"}, 1234),
        ("12.0", {"english": False}, 12),
    ],
)
def test_numbers_are_read_as_they_are_written(cell: str, options: dict[str, Any], expected: int) -> None:
    numbers = NumberFormat(**{"decimal": None, "thousands": None, "english": True} | options)
    assert numbers.whole(cell) == expected


@pytest.mark.parametrize(
    ("cell", "options", "reason"),
    [
        ("1.000", {"english": False}, "has two readings: say --decimal . or --decimal , or --thousands"),
        ("1.000.000", {}, "has two readings"),
        ("1,000", {}, "has two readings"),
        ("1,5", {}, "has two readings"),
        ("1 000", {}, "has two readings"),
        ("1.000", {"decimal": ","}, "has a separator that is not the file's"),
        ("1,000", {"decimal": "."}, "has a separator that is not the file's"),
        ("1,00", {"thousands": ","}, "is no number with ',' between thousands"),
        ("1,0000", {"thousands": ","}, "is no number with ',' between thousands"),
        ("1.5", {}, "is no whole number"),
        ("1,5", {"decimal": ","}, "is no whole number"),
        ("1.7E+06", {}, "was rounded, as spreadsheets do"),
        ("1_000", {}, "is no whole number"),
        ("١٢", {}, "is no whole number"),
        ("0x10", {}, "is no whole number"),
        ("nan", {}, "is no whole number"),
        ("inf", {}, "is no whole number"),
        ("9" * 5000, {}, "is too large"),
    ],
)
def test_numbers_with_two_readings_or_none_are_refused(
    cell: str, options: dict[str, Any], reason: str
) -> None:
    numbers = NumberFormat(**{"decimal": None, "thousands": None, "english": True} | options)
    with pytest.raises(ValueError, match=reason):
        numbers.whole(cell)


def test_durations_have_units() -> None:
    numbers = NumberFormat(None, None, english=True)
    cases = [
        ("0.3529", "s", 353),
        ("352.5", "ms", 352),
        ("1500", "us", 2),
        ("2499999", "ns", 2),
        ("1.5", "min", 90_000),
    ]
    for cell, unit, expected in cases:
        assert numbers.milliseconds(cell, unit) == expected
    assert NumberFormat(",", None, english=False).milliseconds("0,353", "s") == 353
    with pytest.raises(ValueError, match="two readings"):
        NumberFormat(None, None, english=False).milliseconds("0.353", "s")


@pytest.mark.parametrize("options", [(";", None), (None, "x"), (".", "."), ("", None), (None, "")])
def test_separators_that_are_none_are_told(options: tuple[Any, Any]) -> None:
    with pytest.raises(ImportUsageError, match=r"--decimal|--thousands"):
        NumberFormat(*options, english=True)
