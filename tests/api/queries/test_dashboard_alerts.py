"""The alerts of a dashboard say, byte for byte, what the standard executor says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.api.queries.test_lists import NOON, TEXTS, TIMES, both
from tests.support.api import Api
from tests.support.store import Store

FIELDS = [
    *("id", "siteId", "appType", "triggerType", "memberId", "runStatus", "errorMessage", "alertStatus"),
    *("alertChangedBy", "alertChangedAt", "createdAt", "__typename"),
]
ALERTS: list[dict[str, Any]] = [
    *({"error_message": text, "alert_changed_by": text[:200]} for text in TEXTS),
    *({"created_at": time, "alert_changed_at": time} for time in TIMES),
    *({"status": word, "trigger_type": "event", "member_id": "m1"} for word in ("timeout", "circuit_open")),
    *({"alert_status": word} for word in (None, "pending", "acknowledged", "ignored", "snoozed", "")),
]


@pytest.fixture(scope="module", autouse=True)
def alerts(module_store: Store) -> None:
    """An alert in a site of its own with every value that may be hard to write; and all of them in one."""
    for number, values in enumerate(ALERTS):
        alert = {"status": "failed", "created_at": NOON + timedelta(seconds=number), **values}
        module_store.run(site_id=f"site{number}", **alert)
        module_store.run(**alert)


def listed(selection: str) -> str:
    return f"query ($site: ID) {{ dashboard(siteId: $site) {{ recentAlerts {{ {selection} }} }} }}"


@pytest.mark.parametrize("field", [*FIELDS, " ".join(FIELDS)])
def test_every_field(module_api: Api, field: str) -> None:
    first, later = both(module_api, listed(field))
    assert first == later
    assert b'"errors"' not in first


def test_every_value(module_api: Api) -> None:
    query = listed(" ".join(FIELDS))
    for number in range(len(ALERTS)):
        # A document that is not known yet is run by the standard executor.
        first, later = both(module_api, f"{query} # {number}", {"site": f"site{number}"})
        assert first == later
        assert b"alert_" in first


@pytest.mark.parametrize(
    "query",
    [
        "{ dashboard { newest: recentAlerts { a: id b: id kind: __typename } siteId } }",
        "{ dashboard { recentAlerts { ...F ... on Node { id } } } } fragment F on Alert { siteId id }",
        "{ dashboard { recentAlerts { id } others: recentAlerts { runStatus createdAt } } }",
        "{ dashboard { recentAlerts { id @skip(if: true) siteId @include(if: true) } } }",
        "{ dashboard { recentAlerts { id @skip(if: true) } } }",
        "{ dashboard { recentAlerts { id runLog { id } } } }",
        '{ dashboard(siteId: "nowhere") { recentAlerts { id } } }',
        "{ dashboard { today { calls } recentAlerts { id } trend { calls } appHealth { appType } } }",
    ],
)
def test_shapes_of_selections(module_api: Api, query: str) -> None:
    first, later = both(module_api, query)
    assert first == later
    assert b'"errors"' not in first


def test_alerts_of_other_sites_are_not_shown(module_api: Api) -> None:
    query = listed("siteId")
    for number in (1, 2):
        reader = module_api.as_key(sites=[f"site{number}"], name=f"site{number}")
        for _ in range(3):
            content = reader.runner.run(reader.post(query)).content
            assert content == b'{"data":{"dashboard":{"recentAlerts":[{"siteId":"site%d"}]}}}' % number


def test_an_alert_of_no_site_is_shown_without_one(api: Api, store: Store) -> None:
    store.rows("ALTER TABLE biz.ai_run_logs ALTER site_id DROP NOT NULL")
    store.run(status="failed", site_id=None)
    store.run(status="failed", created_at=NOON)
    answers = [api.data(listed("siteId"))["dashboard"]["recentAlerts"] for _ in range(3)]
    assert answers == [[{"siteId": ""}, {"siteId": "berlin"}]] * 3
    first, later = both(api, listed("id"))
    assert first == later
