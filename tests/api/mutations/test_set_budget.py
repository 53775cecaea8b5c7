"""setBudget and removeBudget: budgets of a site, an app, both or all, by admins."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.store import Store

FIELDS = """
  __typename
  ... on BudgetLimit {
    id siteId appType period softLimit hardLimit timeZone createdBy updatedBy
    status { used reserved requested limit isHard state }
  }
  ... on Refusal { code message }
  ... on InvalidInput { field }
"""
SET_BUDGET = f"mutation ($input: SetBudgetInput!) {{ setBudget(input: $input) {{ {FIELDS} }} }}"
REMOVE_BUDGET = """
mutation ($input: RemoveBudgetInput!) {
  removeBudget(input: $input) {
    __typename ... on RemovedBudget { budgetId } ... on Refusal { code message }
  }
}
"""


def set_budget(api: Api, **given: Any) -> dict[str, Any]:
    wanted = {"siteId": "berlin", "period": "DAILY", "hardLimit": 1_000, **given}
    return api.data(SET_BUDGET, {"input": wanted})["setBudget"]


@pytest.mark.parametrize("site_id", [None, "berlin"])
@pytest.mark.parametrize("app_type", [None, "chat"])
@pytest.mark.parametrize("period", ["DAILY", "MONTHLY"])
def test_a_budget_may_be_of_a_site_an_app_both_or_all(
    api: Api, store: Store, site_id: str | None, app_type: str | None, period: str
) -> None:
    budget = set_budget(
        api, siteId=site_id, appType=app_type, period=period, softLimit=3_000_000_000, hardLimit=4_000_000_000
    )
    assert budget == {
        "__typename": "BudgetLimit",
        "id": "budget_1",
        "siteId": site_id,
        "appType": app_type,
        "period": period,
        "softLimit": 3_000_000_000,
        "hardLimit": 4_000_000_000,
        "timeZone": "UTC",
        "createdBy": budget["createdBy"],
        "updatedBy": budget["createdBy"],
        "status": {
            "used": 0,
            "reserved": 0,
            "requested": 0,
            "limit": 4_000_000_000,
            "isHard": True,
            "state": "OK",
        },
    }
    entry = store.rows("SELECT * FROM runglass.audit_log")[0]
    assert (entry["action"], entry["target_kind"], entry["target_id"]) == ("setBudget", "budget", "1")
    assert (entry["site_id"], entry["before"]) == (site_id, None)
    assert (entry["after"]["siteId"], entry["after"]["hardLimit"]) == (site_id, 4_000_000_000)


def test_the_budget_of_the_same_subject_is_changed(api: Api, store: Store) -> None:
    first = set_budget(api, appType="chat")
    others = [set_budget(api), set_budget(api, appType="chat", period="MONTHLY")]

    again = set_budget(api, appType="chat", softLimit=500, hardLimit=None, timeZone="Asia/Kolkata")

    assert again["id"] == first["id"]
    assert (again["softLimit"], again["hardLimit"], again["timeZone"]) == (500, None, "Asia/Kolkata")
    assert again["status"] == first["status"] | {"limit": 500, "isHard": False}
    assert store.value("SELECT count(*) FROM runglass.budgets") == 1 + len(others)
    last = store.rows("SELECT before, after FROM runglass.audit_log ORDER BY id DESC")[0]
    assert (last["before"]["hardLimit"], last["after"]["hardLimit"]) == (1_000, None)


def test_twenty_at_once_make_one_budget(api: Api, store: Store) -> None:
    wanted = {"siteId": "berlin", "period": "DAILY", "hardLimit": 7}
    answers = api.at_once(SET_BUDGET, [{"input": wanted}] * 20)
    assert {answer["setBudget"]["id"] for answer in answers} == {answers[0]["setBudget"]["id"]}
    assert store.value("SELECT count(*) FROM runglass.budgets") == 1


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"hardLimit": None}, "hardLimit"),
        ({"hardLimit": -1}, "hardLimit"),
        ({"softLimit": -1}, "softLimit"),
        ({"softLimit": 1_001}, "softLimit"),
        ({"siteId": ""}, "siteId"),
        ({"siteId": "x" * 201}, "siteId"),
        ({"appType": " "}, "appType"),
        ({"appType": "a\0"}, "appType"),
        ({"timeZone": "Mars/Olympus"}, "timeZone"),
        ({"timeZone": ""}, "timeZone"),
    ],
)
def test_nonsense_is_refused(api: Api, store: Store, given: dict[str, Any], field: str) -> None:
    before = store.snapshot()
    refusal = set_budget(api, **given)
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert store.snapshot() == before


def test_a_removed_budget_is_gone(api: Api, store: Store) -> None:
    budget = set_budget(api)
    kept = set_budget(api, siteId="paris")
    given = {"input": {"budgetId": budget["id"]}}

    assert api.data(REMOVE_BUDGET, given)["removeBudget"] == {
        "__typename": "RemovedBudget",
        "budgetId": budget["id"],
    }

    assert api.data("{ budgets { edges { node { id } } } }") == {
        "budgets": {"edges": [{"node": {"id": kept["id"]}}]}
    }
    entry = store.rows("SELECT * FROM runglass.audit_log ORDER BY id DESC")[0]
    assert (entry["action"], entry["before"]["hardLimit"], entry["after"]) == ("removeBudget", 1_000, None)
    before = store.snapshot()
    assert api.data(REMOVE_BUDGET, given)["removeBudget"]["code"] == "NOT_FOUND"
    assert store.snapshot() == before


@pytest.mark.parametrize("wrong", ["job_1", "budget_0", "budget_x", ""])
def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, wrong: str) -> None:
    error = api.error(REMOVE_BUDGET, {"input": {"budgetId": wrong}})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "budgetId")
    assert "budget_42" in error["message"]
