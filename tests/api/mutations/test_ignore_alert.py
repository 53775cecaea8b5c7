"""ignoreAlert: an alert needs no care."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.api import Api
from tests.support.store import Store

IGNORE_ALERT = """
mutation ($id: ID!) {
  ignoreAlert(input: {alertId: $id}) {
    __typename
    ... on Alert {
      id siteId appType runStatus errorMessage alertStatus alertChangedBy alertChangedAt
      runLog { id alertStatus }
    }
    ... on Refusal { code message }
  }
}
"""


@pytest.mark.parametrize("status", ["failed", "timeout", "circuit_open"])
def test_an_alert_keeps_what_was_said_by_whom_and_when(api: Api, store: Store, status: str) -> None:
    run = store.run(status=status, error_message="boom", alert_status="pending")

    alert = api.data(IGNORE_ALERT, {"id": f"alert_{run}"})["ignoreAlert"]

    changed_at = datetime.fromisoformat(alert.pop("alertChangedAt"))
    assert abs(datetime.now(UTC) - changed_at) < timedelta(minutes=5)
    assert alert == {
        "__typename": "Alert",
        "id": f"alert_{run}",
        "siteId": "berlin",
        "appType": "chat",
        "runStatus": status.upper(),
        "errorMessage": "boom",
        "alertStatus": "IGNORED",
        "alertChangedBy": "tests",
        "runLog": {"id": f"run_{run}", "alertStatus": "IGNORED"},
    }
    row = store.rows("SELECT * FROM biz.ai_run_logs")[0]
    assert (row["status"], row["alert_status"], row["alert_changed_by"]) == (status, "ignored", "tests")
    assert row["alert_changed_at"] == changed_at


@pytest.mark.parametrize("status", ["success", "running", "pending", "paused"])
def test_a_run_that_raised_no_alert_is_not_found(api: Api, store: Store, status: str) -> None:
    run = store.run(status=status)
    before = store.snapshot()

    refusal = api.data(IGNORE_ALERT, {"id": f"alert_{run}"})["ignoreAlert"]

    assert refusal == {"__typename": "NotFound", "code": "NOT_FOUND", "message": "There is no such alert."}
    assert store.snapshot() == before


def test_an_absent_alert_is_not_found(api: Api, store: Store) -> None:
    store.run(status="failed")
    before = store.snapshot()
    assert api.data(IGNORE_ALERT, {"id": "alert_999"})["ignoreAlert"]["__typename"] == "NotFound"
    assert store.snapshot() == before


@pytest.mark.parametrize(
    "wrong", ["run_1", "job_1", "alert_", "alert_0", "1", "", "alert_9999999999999999999"]
)
def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, store: Store, wrong: str) -> None:
    store.run(status="failed")
    before = store.snapshot()
    error = api.error(IGNORE_ALERT, {"id": wrong})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "alertId")
    assert "alert_42" in error["message"]
    assert store.snapshot() == before


def test_the_second_time_is_a_conflict_that_names_who(api: Api, store: Store) -> None:
    run = store.run(status="failed", alert_status="pending")
    api.data(IGNORE_ALERT, {"id": f"alert_{run}"})
    before = store.snapshot()

    refusal = api.data(IGNORE_ALERT, {"id": f"alert_{run}"})["ignoreAlert"]

    assert refusal["__typename"] == "Conflict"
    assert refusal["message"] == "This alert is already ignored by tests."
    assert store.snapshot() == before


def test_after_another_decision_replaces_it(api: Api, store: Store) -> None:
    run = store.run(status="failed", alert_status="acknowledged", alert_changed_by="ann")
    assert api.data(IGNORE_ALERT, {"id": f"alert_{run}"})["ignoreAlert"]["alertStatus"] == "IGNORED"
    entry = store.rows("SELECT before, after FROM runglass.audit_log")[0]
    assert entry == {"before": {"alertStatus": "acknowledged"}, "after": {"alertStatus": "ignored"}}


def test_twenty_at_once_change_it_once(api: Api, store: Store) -> None:
    run = store.run(status="timeout", alert_status="pending")

    answers = api.at_once(IGNORE_ALERT, [{"id": f"alert_{run}"}] * 20)

    kinds = sorted(answer["ignoreAlert"]["__typename"] for answer in answers)
    assert kinds == ["Alert"] + ["Conflict"] * 19
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 1


def test_other_alerts_stay_as_they_are(api: Api, store: Store) -> None:
    run, other = store.run(status="failed", alert_status="pending"), store.run(status="failed")
    before = store.rows("SELECT * FROM biz.ai_run_logs WHERE id = %s", (other,))
    api.data(IGNORE_ALERT, {"id": f"alert_{run}"})
    assert store.rows("SELECT * FROM biz.ai_run_logs WHERE id = %s", (other,)) == before


def test_the_change_is_audited(api: Api, store: Store) -> None:
    run = store.run(status="failed", alert_status="pending")
    api.data(IGNORE_ALERT, {"id": f"alert_{run}"})
    entry = store.rows("SELECT * FROM runglass.audit_log")[0]
    assert (entry["actor"], entry["action"], entry["site_id"]) == ("tests", "ignoreAlert", "berlin")
    assert (entry["target_kind"], entry["target_id"]) == ("alert", str(run))
