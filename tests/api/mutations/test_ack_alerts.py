"""ackAlerts, ignoreAlerts, reopenAlerts: many alerts change in one transaction, each with its own result."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.mutations.test_retry_job import asked_meanwhile
from tests.support.api import Api, Client
from tests.support.store import Store

CHANGE_ALERTS = """
mutation ($input: AlertsInput!) {
  %s(input: $input) {
    __typename
    ... on ChangedAlerts {
      dryRun matched count sample { id }
      results { alertId alert { id alertStatus alertChangedBy } refusal { __typename code message } }
    }
    ... on Refusal { code message }
    ... on InvalidInput { field }
  }
}
"""
NOT_FOUND = {"__typename": "NotFound", "code": "NOT_FOUND", "message": "There is no such alert."}
STATUSES = {"ackAlerts": "acknowledged", "ignoreAlerts": "ignored", "reopenAlerts": "pending"}
SAID = "SELECT id, alert_status FROM biz.ai_run_logs ORDER BY id"


def change(client: Client, name: str = "ackAlerts", **given: Any) -> dict[str, Any]:
    return client.data(CHANGE_ALERTS % name, {"input": {"reason": "known outage", **given}})[name]


def ids(*alerts: int) -> list[str]:
    return [f"alert_{alert}" for alert in alerts]


def alert(store: Store, alert_status: str | None = None, **values: Any) -> int:
    return store.run(**{"status": "failed", "alert_status": alert_status, **values})


def said(store: Store) -> dict[int, str | None]:
    return {row["id"]: row["alert_status"] for row in store.rows(SAID)}


def test_each_alert_gets_its_result_in_the_order_asked(api: Api, store: Store) -> None:
    pending, timeout = alert(store), alert(store, "pending", status="timeout")
    ignored, done, success = alert(store, "ignored"), alert(store, "acknowledged"), store.run()

    answer = change(api, alertIds=ids(timeout, 999, done, success, pending, ignored, timeout))

    assert (answer["__typename"], answer["dryRun"]) == ("ChangedAlerts", False)
    assert (answer["matched"], answer["count"]) == (6, 3)
    acknowledged = {"alertStatus": "ACKNOWLEDGED", "alertChangedBy": "tests"}
    conflict = {"__typename": "Conflict", "code": "CONFLICT"}
    already = conflict | {"message": "This alert is already acknowledged."}
    assert [tuple(each.values()) for each in answer["results"]] == [
        (f"alert_{timeout}", {"id": f"alert_{timeout}", **acknowledged}, None),
        ("alert_999", None, NOT_FOUND),
        (f"alert_{done}", None, already),
        (f"alert_{success}", None, NOT_FOUND),
        (f"alert_{pending}", {"id": f"alert_{pending}", **acknowledged}, None),
        (f"alert_{ignored}", {"id": f"alert_{ignored}", **acknowledged}, None),
    ]
    assert [each["id"] for each in answer["sample"]] == ids(timeout, done, pending, ignored)
    again = change(api, alertIds=ids(pending))["results"][0]["refusal"]
    assert again["message"] == "This alert is already acknowledged by tests."


@pytest.mark.parametrize(
    ("name", "unnamed", "named"),
    [
        ("ackAlerts", {"none", "pending"}, {"none", "pending", "ignored", "odd"}),
        ("ignoreAlerts", {"none", "pending"}, {"none", "pending", "acknowledged", "odd"}),
        ("reopenAlerts", {"acknowledged", "ignored"}, {"acknowledged", "ignored", "odd"}),
    ],
)
def test_a_filter_means_alerts_without_the_new_status(
    api: Api, store: Store, name: str, unnamed: set[str], named: set[str]
) -> None:
    words = {"none": None, "pending": "pending", "ignored": "ignored"} | {
        "acknowledged": "acknowledged",
        "odd": "escalated",
    }
    alerts = {word: alert(store, status) for word, status in words.items()}
    alert(store, site_id="paris")
    store.run(alert_status="acknowledged")
    every = ["PENDING", "ACKNOWLEDGED", "IGNORED", "UNKNOWN"]

    def meant(**filter: Any) -> set[str]:
        answer = change(api, name, filter={"siteId": "berlin", **filter}, dryRun=True)
        assert answer["count"] == answer["matched"]
        found = {each["alertId"] for each in answer["results"]}
        return {word for word, number in alerts.items() if f"alert_{number}" in found}

    assert meant() == unnamed
    assert meant(alertStatus=every) == named
    target = STATUSES[name]
    assert meant(alertStatus=[target.upper()]) == set()

    answer = change(api, name, filter={"siteId": "berlin"})
    assert [each["alertId"] for each in answer["results"]] == ids(*sorted(alerts[word] for word in unnamed))
    left = {number: words[word] for word, number in alerts.items() if word not in unnamed}
    changed = {alerts[word]: target for word in unnamed}
    assert said(store).items() >= (left | changed).items()
    assert change(api, name, filter={"siteId": "berlin"})["matched"] == 0


def test_a_filter_keeps_to_app_and_time(api: Api, store: Store) -> None:
    wanted = alert(store, app_type="mail", created_at="2026-11-02T10:00:00Z")
    alert(store, app_type="mail", created_at="2026-11-01T10:00:00Z")
    alert(store, created_at="2026-11-02T10:00:00Z")
    when = {"from": "2026-11-02T00:00:00Z", "to": "2026-11-03T00:00:00Z"}
    answer = change(api, filter={"appType": "mail", "createdAt": when})
    assert [each["alertId"] for each in answer["results"]] == ids(wanted)
    entry = store.value("SELECT after FROM runglass.audit_log")
    assert entry["filter"] == {
        "appType": "mail",
        "alertStatus": ["pending"],
        "createdFrom": "2026-11-02T00:00:00+00:00",
        "createdTo": "2026-11-03T00:00:00+00:00",
    }


def test_a_dry_run_says_what_would_be_done_and_changes_and_locks_nothing(api: Api, store: Store) -> None:
    alerts = [alert(store) for _ in range(11)]
    before = store.snapshot()
    given = {"alertIds": ids(*alerts, 99), "dryRun": True}

    answer = change(api, **given)
    with store.connection.transaction():
        store.rows("SELECT id FROM biz.ai_run_logs FOR UPDATE")
        assert change(api, **given) == answer

    assert (answer["dryRun"], answer["matched"], answer["count"]) == (True, 12, 11)
    assert [each["id"] for each in answer["sample"]] == ids(*alerts[:10])
    assert [each["alert"] for each in answer["results"]] == [None] * 12
    assert [each["refusal"] for each in answer["results"]] == [None] * 11 + [NOT_FOUND]
    assert store.snapshot() == before


def test_more_alerts_than_the_limit_are_refused_and_a_dry_run_counts_them(api: Api, store: Store) -> None:
    alerts = [alert(store) for _ in range(3)]
    before = store.snapshot()

    refusal = change(api, filter={}, limit=2)
    by_ids = change(api, alertIds=ids(*alerts), limit=2)
    dry = change(api, filter={}, limit=2, dryRun=True)

    assert (refusal["__typename"], refusal["field"]) == (by_ids["__typename"], "limit")
    assert refusal["message"].startswith("These are 3 alerts, more than the limit of 2.")
    assert (dry["matched"], dry["count"], dry["results"]) == (3, 0, [])
    assert [each["id"] for each in dry["sample"]] == ids(*alerts[:2])
    assert store.snapshot() == before
    assert change(api, filter={}, limit=3)["count"] == 3


@pytest.mark.parametrize("name", STATUSES)
@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "alertIds"),
        ({"alertIds": ["alert_1"], "filter": {}}, "alertIds"),
        ({"alertIds": []}, "alertIds"),
        ({"filter": {}, "limit": 1001}, "limit"),
        ({"filter": {}, "limit": 0}, "limit"),
        ({"filter": {}, "reason": " "}, "reason"),
    ],
)
def test_an_input_that_cannot_be_carried_out_is_refused(
    api: Api, store: Store, name: str, given: dict[str, Any], field: str
) -> None:
    alert(store)
    before = store.snapshot()
    refusal = change(api, name, **given)
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert store.snapshot() == before


def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, store: Store) -> None:
    error = api.error(CHANGE_ALERTS % "ackAlerts", {"input": {"alertIds": ["run_1"], "reason": "r"}})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "alertIds")


def test_many_at_once_change_each_alert_once(api: Api, store: Store) -> None:
    """In whatever order they are named: they are locked in one, so that no two wait for each other."""
    alerts = [alert(store) for _ in range(10)]
    requests = [{"alertIds": ids(*order), "reason": "r"} for order in (alerts, reversed(alerts))] * 8

    answers = api.at_once(CHANGE_ALERTS % "ackAlerts", [{"input": given} for given in requests])

    assert sum(answer["ackAlerts"]["count"] for answer in answers) == 10
    assert set(said(store).values()) == {"acknowledged"}
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 1


def test_an_alert_that_is_changed_meanwhile_is_refused(api: Api, store: Store, dsn: str) -> None:
    one = alert(store)
    answer = asked_meanwhile(
        api,
        Store(dsn),
        lock="SELECT id FROM biz.ai_run_logs FOR UPDATE",
        request=(CHANGE_ALERTS % "ackAlerts", {"input": {"alertIds": ids(one), "reason": "r"}}),
        change="UPDATE biz.ai_run_logs SET alert_status = 'acknowledged', alert_changed_by = 'another'",
    )["ackAlerts"]
    assert answer["count"] == 0
    assert answer["results"][0]["refusal"]["message"] == "This alert is already acknowledged by another."
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 0


def test_alerts_of_other_sites_look_as_if_they_did_not_exist(api: Api, store: Store) -> None:
    ours, theirs = (alert(store, site_id=site) for site in ("berlin", "tokyo"))
    operator = api.as_key(role="operator", sites=["berlin"])

    answer = change(operator, alertIds=ids(theirs, 999, ours))

    assert [each["refusal"] for each in answer["results"]] == [NOT_FOUND, NOT_FOUND, None]
    assert [each["id"] for each in answer["sample"]] == ids(ours)
    assert change(operator, filter={"siteId": "tokyo"}, dryRun=True)["matched"] == 0
    assert said(store) == {ours: "acknowledged", theirs: None}


@pytest.mark.parametrize("name", STATUSES)
def test_what_was_done_is_audited_for_each_site(api: Api, store: Store, name: str) -> None:
    other = "ignored" if name == "reopenAlerts" else None
    one, two, three = alert(store, other), alert(store, other, site_id="paris"), alert(store, other)
    change(api, name, alertIds=ids(three, two, one, 99))
    entries = store.rows("SELECT action, site_id, target_id, after FROM runglass.audit_log ORDER BY site_id")
    assert [tuple(entry.values()) for entry in entries] == [
        (name, site, site, {"reason": "known outage", "count": len(alerts), "alerts": alerts})
        for site, alerts in (("berlin", [three, one]), ("paris", [two]))
    ]
    assert change(api, name, alertIds=ids(one))["count"] == 0
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 2


def test_many_alerts_take_as_many_statements_as_two(api: Api, store: Store) -> None:
    def statements(count: int) -> int:
        store.rows(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, status)"
            " SELECT 'site', 'chat', 'failed' FROM generate_series(1, %s)",
            (count,),
        )
        given = {"input": {"filter": {}, "limit": 1000, "reason": "r"}}
        response, used = api.counted(api.post(CHANGE_ALERTS % "ackAlerts", given))
        assert response.json()["data"]["ackAlerts"]["count"] == count
        store.rows("DELETE FROM biz.ai_run_logs")
        return used

    statements(2)
    assert statements(2) == statements(600)
