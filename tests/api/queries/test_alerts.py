"""alerts: runs that failed, timed out or met an open circuit, and what was said of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.store import Store

ALERTS = """
query ($filter: AlertFilter, $sort: CreatedSort! = CREATED_AT_DESC, $first: Int, $after: String, $last: Int,
       $before: String) {
  alerts(filter: $filter, sort: $sort, first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id memberId alertStatus } }
    pageInfo { hasNextPage hasPreviousPage endCursor startCursor }
    totalCount { count isExact }
  }
}
"""
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

# Each alert has a name in its member id.
ALERT_RUNS: dict[str, dict[str, Any]] = {
    "a": {"status": "failed"},
    "b": {"status": "timeout", "alert_status": "pending"},
    "c": {"status": "circuit_open", "alert_status": "acknowledged"},
    "d": {"status": "failed", "alert_status": "ignored", "site_id": "paris"},
    "e": {"status": "failed", "alert_status": "escalated", "app_type": "mail"},
    "f": {"status": "timeout", "app_type": "mail", "site_id": "paris"},
}


@pytest.fixture(scope="module", autouse=True)
def alerts(module_store: Store) -> dict[str, int]:
    """The alerts above, an hour apart, by name; and runs that raised none."""
    for status in ("success", "running", "pending", "paused"):
        module_store.run(status=status, alert_status="pending")
    return {
        name: module_store.run(member_id=name, created_at=NOON + timedelta(hours=hour), **values)
        for hour, (name, values) in enumerate(ALERT_RUNS.items())
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, "abcdef"),
        ({}, "abcdef"),
        ({"alertStatus": ["PENDING"]}, "abf"),
        ({"alertStatus": ["ACKNOWLEDGED"]}, "c"),
        ({"alertStatus": ["IGNORED"]}, "d"),
        ({"alertStatus": ["UNKNOWN"]}, "e"),
        ({"alertStatus": ["PENDING", "IGNORED"]}, "abdf"),
        ({"alertStatus": []}, ""),
        ({"siteId": "paris"}, "df"),
        ({"siteId": "nowhere"}, ""),
        ({"appType": "mail"}, "ef"),
        ({"createdAt": {"from": "2026-05-01T13:00:00Z", "to": "2026-05-01T15:00:00Z"}}, "bc"),
        ({"siteId": "paris", "appType": "mail", "alertStatus": ["PENDING"]}, "f"),
        (
            {"siteId": "berlin", "alertStatus": ["PENDING"], "createdAt": {"from": "2026-05-01T13:00:00Z"}},
            "b",
        ),
    ],
)
def test_only_alerts_that_match_every_filter_are_listed(
    module_api: Api, wanted: dict[str, Any] | None, expected: str
) -> None:
    for sort, order in (("CREATED_AT_DESC", expected[::-1]), ("CREATED_AT_ASC", expected)):
        page = module_api.data(ALERTS, {"filter": wanted, "sort": sort})["alerts"]
        assert "".join(edge["node"]["memberId"] for edge in page["edges"]) == order
        assert page["totalCount"] == {"count": len(expected), "isExact": True}


def test_nothing_said_means_pending_and_an_unheard_word_unknown(module_api: Api) -> None:
    edges = module_api.data(ALERTS)["alerts"]["edges"]
    said = {edge["node"]["memberId"]: edge["node"]["alertStatus"] for edge in edges}
    assert said == {
        "a": "PENDING",
        "b": "PENDING",
        "c": "ACKNOWLEDGED",
        "d": "IGNORED",
        "e": "UNKNOWN",
        "f": "PENDING",
    }


@pytest.mark.parametrize(
    ("size", "ends"), [("first", ("after", "endCursor")), ("last", ("before", "startCursor"))]
)
def test_walking_either_way_meets_every_alert_once(module_api: Api, size: str, ends: tuple[str, str]) -> None:
    argument, end = ends
    seen, place = [], {}
    for _ in ALERT_RUNS:
        page = module_api.data(ALERTS, {size: 1, **place})["alerts"]
        seen += [edge["node"]["memberId"] for edge in page["edges"]]
        place = {argument: page["pageInfo"][end]}
    assert "".join(seen) == ("fedcba" if size == "first" else "abcdef")
    assert page["pageInfo"]["hasNextPage" if size == "first" else "hasPreviousPage"] is False


def test_the_cursor_of_a_run_is_none_of_this_list(module_api: Api) -> None:
    runs = module_api.data("{ runLogs(first: 1) { edges { cursor } } }")["runLogs"]["edges"]
    error = module_api.error(ALERTS, {"before": runs[0]["cursor"]})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "before")


@pytest.mark.parametrize("size", [0, -1, 101])
def test_page_sizes_out_of_range_are_coded_errors(module_api: Api, size: int) -> None:
    assert module_api.error(ALERTS, {"first": size})["argument"] == "first"


def test_what_was_said_is_seen_in_the_list_at_once(api: Api, store: Store) -> None:
    run = store.run(status="failed")
    pending = {"filter": {"alertStatus": ["PENDING"]}}
    assert len(api.data(ALERTS, pending)["alerts"]["edges"]) == 1
    api.data("mutation ($id: ID!) { ackAlert(input: {alertId: $id}) { __typename } }", {"id": f"alert_{run}"})
    assert api.data(ALERTS, pending)["alerts"]["edges"] == []
