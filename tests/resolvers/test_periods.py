"""Days and months in a zone are half-open ranges that meet, whatever the clocks do."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.settings.config import SettingsError, load_settings
from resolvers.errors import InvalidInput
from resolvers.periods import last_days, midnight, month_start, next_month, time_zone, today

ZONES = [
    "UTC",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "America/St_Johns",
    "Europe/Berlin",
    "America/Santiago",
    "Africa/Cairo",
    "America/Havana",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "Pacific/Chatham",
]
INSTANTS = st.integers(1_420_070_400, 2_051_222_400).map(lambda s: datetime.fromtimestamp(s, UTC))


@given(st.sampled_from(ZONES), INSTANTS)
def test_an_instant_lies_in_its_day(name: str, now: datetime) -> None:
    zone = time_zone(name)
    day = today(zone, now)
    assert midnight(day, zone) <= now < midnight(day + timedelta(days=1), zone)


@given(st.sampled_from(ZONES), INSTANTS)
def test_midnights_are_whole_quarters_as_the_roll_ups_need_them(name: str, now: datetime) -> None:
    start = midnight(today(time_zone(name), now), time_zone(name))
    assert (start.second, start.microsecond, start.minute % 15) == (0, 0, 0)


@given(st.sampled_from(ZONES), INSTANTS, st.integers(1, 90))
def test_the_last_days_end_today_and_leave_no_gap(name: str, now: datetime, days: int) -> None:
    zone = time_zone(name)
    found = last_days(zone, today(zone, now), days)
    assert (len(found), found[-1].date) == (days, today(zone, now))
    assert all((day.start, day.end) == (midnight(day.date, zone), _after(day.date, zone)) for day in found)
    assert all(later.date - earlier.date == timedelta(days=1) for earlier, later in pairwise(found))


def _after(day: date, zone: ZoneInfo) -> datetime:
    return midnight(day + timedelta(days=1), zone)


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), 23),
        ("Europe/Berlin", date(2026, 10, 25), 25),
        ("Europe/Berlin", date(2026, 7, 1), 24),
        # Midnight itself is skipped, or comes twice.
        ("America/Santiago", date(2026, 9, 6), 23),
        ("America/Santiago", date(2026, 4, 4), 25),
        ("America/Havana", date(2026, 11, 1), 25),
        ("Africa/Cairo", date(2026, 4, 24), 23),
        ("Australia/Lord_Howe", date(2026, 4, 5), 24.5),
    ],
)
def test_a_day_is_as_long_as_its_clocks_make_it(name: str, day: date, hours: float) -> None:
    zone = time_zone(name)
    assert midnight(day + timedelta(days=1), zone) - midnight(day, zone) == timedelta(hours=hours)


@given(st.dates(date(1999, 1, 1), date(2999, 1, 1)))
def test_months_follow_each_other(day: date) -> None:
    first, following = month_start(day), next_month(day)
    assert first <= day < following
    assert (first.day, following.day) == (1, 1)
    assert (following.year * 12 + following.month) - (first.year * 12 + first.month) == 1


@pytest.mark.parametrize(
    "name", ["", " ", "Mars/Olympus", "Europe", "/etc/passwd", "../UTC", "a\x00b", "\ud800", "x" * 10_000]
)
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        time_zone(name)
    assert caught.value.field == "timeZone"
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "name",
    ["localtime", "Factory", "posixrules", "right/Europe/Berlin", "posix/UTC", "europe/berlin",
     "Europe/berlin", "Europe", "../../etc/localtime", "/usr/share/zoneinfo/UTC", "Europe/Berlin ", "",
     ".", "UTC\0", "tzdata.zi"],
)  # fmt: skip
def test_only_names_of_the_list_are_zones(name: str) -> None:
    with pytest.raises(InvalidInput):
        time_zone(name)
    with pytest.raises(SettingsError):
        load_settings(time_zone=name)


def test_every_name_of_the_list_is_a_zone() -> None:
    for name in ("UTC", "EST5EDT", "US/Pacific", "Etc/GMT+5", "America/Argentina/Ushuaia", *ZONES):
        assert time_zone(name).key == name
