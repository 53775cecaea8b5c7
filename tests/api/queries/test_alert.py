"""alert: one alert by its id."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.api import Api
from tests.support.store import Store

ALERT = """
query ($id: ID!) {
  alert(id: $id) {
    id siteId appType triggerType memberId runStatus errorMessage alertStatus alertChangedBy alertChangedAt
    createdAt runLog { id status }
  }
}
"""


def test_an_alert_and_its_run(module_api: Api, module_store: Store) -> None:
    run = module_store.run(
        status="circuit_open",
        trigger_type="event",
        member_id="m1",
        error_message="open",
        alert_status="acknowledged",
        alert_changed_by="ann",
        alert_changed_at=datetime(2026, 5, 2, tzinfo=UTC),
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
    )
    assert module_api.data(ALERT, {"id": f"alert_{run}"})["alert"] == {
        "id": f"alert_{run}",
        "siteId": "berlin",
        "appType": "chat",
        "triggerType": "event",
        "memberId": "m1",
        "runStatus": "CIRCUIT_OPEN",
        "errorMessage": "open",
        "alertStatus": "ACKNOWLEDGED",
        "alertChangedBy": "ann",
        "alertChangedAt": "2026-05-02T00:00:00+00:00",
        "createdAt": "2026-05-01T00:00:00+00:00",
        "runLog": {"id": f"run_{run}", "status": "CIRCUIT_OPEN"},
    }


@pytest.mark.parametrize("status", ["success", "running", "pending", "paused"])
def test_a_run_that_raised_no_alert_is_null(module_api: Api, module_store: Store, status: str) -> None:
    run = module_store.run(status=status, alert_status="pending")
    assert module_api.data(ALERT, {"id": f"alert_{run}"}) == {"alert": None}


def test_an_absent_alert_is_null(module_api: Api) -> None:
    assert module_api.data(ALERT, {"id": "alert_999999"}) == {"alert": None}


@pytest.mark.parametrize("wrong", ["run_1", "alert_", "alert_0", "7", ""])
def test_an_id_of_the_wrong_kind_is_a_clear_error(module_api: Api, wrong: str) -> None:
    error = module_api.error(ALERT, {"id": wrong})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "id")
    assert "alert_42" in error["message"]
