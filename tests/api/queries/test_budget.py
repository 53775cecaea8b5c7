"""budget: tokens of the day and of the month against their limits."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.queries.test_dashboard import Clock
from tests.support.api import Api
from tests.support.store import Store

BUDGET = """
query ($siteId: ID, $timeZone: String) {
  budget(siteId: $siteId, timeZone: $timeZone) {
    timeZone
    daily { used limit ratio remaining resetsAt }
    monthly { used limit ratio remaining resetsAt }
  }
}
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stops the server's clock at an instant."""
    return Clock(monkeypatch)


def budget(api: Api, **variables: Any) -> dict[str, Any]:
    return api.data(BUDGET, variables)["budget"]


def test_the_tokens_of_every_run_count_finished_or_not(api: Api, store: Store, clock: Clock) -> None:
    clock(datetime(2026, 5, 14, 12, tzinfo=UTC))
    for number, status in enumerate(("success", "failed", "timeout", "circuit_open", "running", "paused")):
        store.run(status=status, tokens_used=10**number, created_at="2026-05-14T00:00:00Z")
    store.run(tokens_used=5_000_000, created_at="2026-05-13T23:59:59Z", site_id="paris")
    store.run(tokens_used=9, created_at="2026-04-30T23:59:59Z")
    store.run(tokens_used=9, created_at="2026-06-01T00:00:00Z")

    assert budget(api) == {
        "timeZone": "UTC",
        "daily": {
            "used": 111_111,
            "limit": 100_000,
            "ratio": 1.11111,
            "remaining": 0,
            "resetsAt": "2026-05-15T00:00:00+00:00",
        },
        "monthly": {
            "used": 5_111_111,
            "limit": 2_000_000,
            "ratio": 2.5555555,
            "remaining": 0,
            "resetsAt": "2026-06-01T00:00:00+00:00",
        },
    }
    assert budget(api, siteId="paris")["daily"]["used"] == 0
    assert budget(api, siteId="berlin")["monthly"]["used"] == 111_111
    assert budget(api, siteId="nowhere")["monthly"]["remaining"] == 2_000_000


@pytest.mark.parametrize(
    ("zone", "now", "day_ends", "month_ends"),
    [
        ("Asia/Kathmandu", "2026-05-31T18:14:59Z", "2026-05-31T18:15:00", "2026-05-31T18:15:00"),
        ("Asia/Kathmandu", "2026-05-31T18:15:00Z", "2026-06-01T18:15:00", "2026-06-30T18:15:00"),
        ("America/St_Johns", "2026-12-31T12:00:00Z", "2027-01-01T03:30:00", "2027-01-01T03:30:00"),
        ("Europe/Berlin", "2026-03-29T10:00:00Z", "2026-03-29T22:00:00", "2026-03-31T22:00:00"),
        ("Europe/Berlin", "2026-10-25T10:00:00Z", "2026-10-25T23:00:00", "2026-10-31T23:00:00"),
    ],
)
def test_days_and_months_end_at_midnight_in_the_zone(
    module_api: Api, clock: Clock, zone: str, now: str, day_ends: str, month_ends: str
) -> None:
    clock(datetime.fromisoformat(now))
    shown = budget(module_api, timeZone=zone)
    assert shown["timeZone"] == zone
    assert shown["daily"]["resetsAt"] == day_ends + "+00:00"
    assert shown["monthly"]["resetsAt"] == month_ends + "+00:00"


def test_a_run_belongs_to_the_day_and_month_of_the_zone(api: Api, store: Store, clock: Clock) -> None:
    clock(datetime(2026, 6, 1, 1, tzinfo=UTC))
    midnight = datetime(2026, 5, 31, 18, 15, tzinfo=UTC)
    store.run(tokens_used=1, created_at=midnight - timedelta(microseconds=1))
    store.run(tokens_used=20, created_at=midnight)
    store.run(tokens_used=300, created_at="2026-06-01T00:00:00Z")
    assert budget(api, timeZone="Asia/Kathmandu")["monthly"]["used"] == 320
    assert budget(api, timeZone="Asia/Kathmandu")["daily"]["used"] == 320
    assert budget(api)["daily"]["used"] == 300
    assert budget(api)["monthly"]["used"] == 300


def test_limits_come_from_the_settings(dsn: str, store: Store) -> None:
    store.run(tokens_used=30)
    api = Api(dsn, daily_tokens=120, monthly_tokens=0)
    try:
        shown = budget(api)
    finally:
        api.close()
    assert (shown["daily"]["limit"], shown["daily"]["ratio"], shown["daily"]["remaining"]) == (120, 0.25, 90)
    assert (shown["monthly"]["limit"], shown["monthly"]["ratio"], shown["monthly"]["remaining"]) == (
        0,
        None,
        0,
    )


def test_sums_pass_32_bits(api: Api, store: Store) -> None:
    store.run(tokens_used=2**40)
    store.run(tokens_used=2**40)
    assert budget(api)["daily"]["used"] == 2**41


def test_it_is_the_dashboards_number(api: Api, store: Store) -> None:
    store.run(tokens_used=41, status="running")
    store.run(tokens_used=1, status="failed")
    used = "budget { daily { used } monthly { used } }"
    shown = api.data(f"{{ {used} dashboard {{ today {{ tokens }} {used} }} }}")
    assert (
        shown["budget"]
        == shown["dashboard"]["budget"]
        == {
            "daily": {"used": 42},
            "monthly": {"used": 42},
        }
    )
    assert shown["dashboard"]["today"]["tokens"] == 42


def test_an_unknown_zone_is_a_coded_error(module_api: Api) -> None:
    error = module_api.error(BUDGET, {"timeZone": "Mars/Olympus"})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "timeZone")


def test_a_budget_takes_one_statement_for_its_limits_and_one_for_its_tokens(module_api: Api) -> None:
    assert module_api.statements(BUDGET) == 2
