"""setModelPrice and removeModelPrice: prices with dates, and what they make of runs and batches."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.store import Store

SET_PRICE = """
mutation ($input: SetModelPriceInput!) {
  setModelPrice(input: $input) {
    __typename
    ... on ModelPrice { id model promptPrice completionPrice validFrom validUntil createdBy updatedBy }
    ... on Refusal { code message }
    ... on InvalidInput { field }
  }
}
"""
REMOVE_PRICE = """
mutation ($id: ID!) {
  removeModelPrice(input: {priceId: $id}) {
    __typename ... on RemovedModelPrice { priceId } ... on Refusal { code }
  }
}
"""
COSTS = "{ runLogs(sort: CREATED_AT_ASC) { edges { node { cost } } } }"
ESTIMATE = """
mutation ($apps: [String!]!) {
  estimateBatch(input: {siteId: "berlin", appTypes: $apps, memberIds: ["m1", "m2", "m3"]}) {
    ... on Batch { estimatedCost apps { appType meanCost } }
  }
}
"""


def set_price(api: Any, **given: Any) -> dict[str, Any]:
    wanted = {
        "model": "gpt-5",
        "promptPrice": "1.25",
        "completionPrice": "10",
        "validFrom": "2026-01-01T00:00:00+00:00",
        **given,
    }
    return api.data(SET_PRICE, {"input": wanted})["setModelPrice"]


def costs(api: Api) -> list[str | None]:
    return [edge["node"]["cost"] for edge in api.data(COSTS)["runLogs"]["edges"]]


def priced_run(store: Store, **given: Any) -> None:
    defaults = {"model": "gpt-5", "prompt_tokens": 1_000, "completion_tokens": 200, "tokens_used": 1_200}
    store.run(**(defaults | {"created_at": datetime(2026, 2, 1, tzinfo=UTC)} | given))


def test_a_price_is_set_and_audited(api: Api, store: Store) -> None:
    price = set_price(api, validUntil="2026-06-01T00:00:00+00:00")
    assert price == {
        "__typename": "ModelPrice",
        "id": "price_1",
        "model": "gpt-5",
        "promptPrice": "1.25",
        "completionPrice": "10",
        "validFrom": "2026-01-01T00:00:00+00:00",
        "validUntil": "2026-06-01T00:00:00+00:00",
        "createdBy": "tests",
        "updatedBy": "tests",
    }
    entry = store.rows("SELECT * FROM runglass.audit_log")[0]
    assert (entry["action"], entry["target_id"], entry["after"]["promptPrice"]) == (
        "setModelPrice",
        "1",
        "1.25",
    )


def test_the_price_of_the_same_start_is_changed(api: Api, store: Store) -> None:
    first = set_price(api)
    again = set_price(api, promptPrice="0.0000000001")
    assert (again["id"], again["promptPrice"]) == (first["id"], "0.0000000001")
    assert set_price(api, validFrom="2026-02-01T00:00:00Z")["id"] != first["id"]
    listed = api.data(
        '{ modelPrices(model: "gpt-5") { totalCount { count } edges { node { promptPrice } } } }'
    )
    assert listed["modelPrices"]["totalCount"]["count"] == 2
    assert api.data('{ modelPrices(model: "other") { edges { node { id } } } }')["modelPrices"]["edges"] == []


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"model": " "}, "model"),
        ({"model": "x" * 201}, "model"),
        ({"promptPrice": "-0.1"}, "promptPrice"),
        ({"promptPrice": "0.00000000001"}, "promptPrice"),
        ({"completionPrice": "1000000000"}, "completionPrice"),
        ({"validUntil": "2026-01-01T00:00:00Z"}, "validUntil"),
        ({"validFrom": "2026-01-01T00:10:00Z"}, "validFrom"),
        ({"validFrom": "2026-01-01T00:00:00.000001Z"}, "validFrom"),
        ({"validUntil": "2026-02-01T00:00:30Z"}, "validUntil"),
    ],
)
def test_nonsense_is_refused(api: Api, store: Store, given: dict[str, Any], field: str) -> None:
    before = store.snapshot()
    refusal = set_price(api, **given)
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert store.snapshot() == before
    assert api.data("{ modelPrices { edges { node { id } } } }")["modelPrices"]["edges"] == []


@pytest.mark.parametrize("price", [1.5, "1e3", "NaN", "Infinity", "", "1.", "٣", True, None])
def test_a_price_that_is_no_decimal_is_a_clear_error(api: Api, price: Any) -> None:
    wanted = {"model": "m", "promptPrice": price, "completionPrice": "1", "validFrom": "2026-01-01T00:00:00Z"}
    assert api.error(SET_PRICE, {"input": wanted})["code"] == "BAD_USER_INPUT"


def test_a_literal_number_is_taken_as_it_is_written(api: Api) -> None:
    mutation = """
    mutation { setModelPrice(input: {
      model: "m", promptPrice: 0.1, completionPrice: 3, validFrom: "2026-01-01T00:00:00Z"
    }) { ... on ModelPrice { promptPrice completionPrice } } }
    """
    assert api.data(mutation)["setModelPrice"] == {"promptPrice": "0.1", "completionPrice": "3"}


def test_only_admins_of_every_site_set_prices(api: Api) -> None:
    wanted = {"model": "m", "promptPrice": "1", "completionPrice": "1", "validFrom": "2026-01-01T00:00:00Z"}
    for colleague in (api.as_key(role="operator"), api.as_key(role="admin", sites=["berlin"])):
        assert colleague.error(SET_PRICE, {"input": wanted})["code"] == "FORBIDDEN"
        assert colleague.error(REMOVE_PRICE, {"id": "price_1"})["code"] == "FORBIDDEN"


def test_prices_begin_at_a_midnight_of_any_zone(api: Api) -> None:
    assert set_price(api, validFrom="2026-01-01T00:00:00+05:45")["__typename"] == "ModelPrice"


def test_a_removed_price_is_gone_from_old_runs_too(api: Api, store: Store) -> None:
    price, kept = set_price(api), set_price(api, validFrom="2025-01-01T00:00:00Z", promptPrice="0")
    priced_run(store)
    assert costs(api) == ["0.00325"]

    removed = api.data(REMOVE_PRICE, {"id": price["id"]})["removeModelPrice"]

    assert removed == {"__typename": "RemovedModelPrice", "priceId": price["id"]}
    assert costs(api) == ["0.002"]
    listed = api.data("{ modelPrices { edges { node { id } } } }")["modelPrices"]["edges"]
    assert listed == [{"node": {"id": kept["id"]}}]
    entry = store.rows("SELECT * FROM runglass.audit_log ORDER BY id DESC")[0]
    assert (entry["action"], entry["target_id"]) == ("removeModelPrice", "1")
    assert (entry["before"]["completionPrice"], entry["after"]) == ("10", None)
    before = store.snapshot()
    assert api.data(REMOVE_PRICE, {"id": price["id"]})["removeModelPrice"]["code"] == "NOT_FOUND"
    assert store.snapshot() == before


@pytest.mark.parametrize("wrong", ["job_1", "price_0", "price_x", ""])
def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, wrong: str) -> None:
    error = api.error(REMOVE_PRICE, {"id": wrong})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "priceId")


def test_a_run_costs_what_its_model_cost_then(api: Api, store: Store) -> None:
    start = datetime(2026, 2, 1, tzinfo=UTC)
    for days in (-1, 0, 9, 10, 20):
        priced_run(store, created_at=start + timedelta(days=days))
    set_price(api, validFrom=start.isoformat(), validUntil=(start + timedelta(days=20)).isoformat())
    set_price(
        api,
        validFrom=(start + timedelta(days=10)).isoformat(),
        promptPrice="2",
        completionPrice="0",
        validUntil=(start + timedelta(days=11)).isoformat(),
    )

    assert costs(api) == [None, "0.00325", "0.00325", "0.002", None]


@pytest.mark.parametrize(
    "unknown", [{"model": None}, {"model": "other"}, {"prompt_tokens": None}, {"completion_tokens": None}]
)
def test_an_unknown_cost_is_null(api: Api, store: Store, unknown: dict[str, Any]) -> None:
    set_price(api)
    priced_run(store, **unknown)
    assert costs(api) == [None]


def test_a_known_cost_of_nothing_is_zero_and_nothing_is_rounded(api: Api, store: Store) -> None:
    set_price(api, promptPrice="0.0000000001", completionPrice="999999999.9999999999")
    priced_run(store, prompt_tokens=0, completion_tokens=0)
    priced_run(store, prompt_tokens=1, completion_tokens=2**31 - 1)
    assert costs(api) == ["0", "2147483646999.9999997852516354"]


def test_prices_of_a_page_take_one_statement(api: Api, store: Store) -> None:
    set_price(api)
    priced_run(store)
    one = api.statements(COSTS)
    for number in range(19):
        priced_run(store, model=f"model{number}")
    assert api.statements(COSTS) == one


def test_a_batch_costs_what_its_calls_have_cost_on_average(api: Api, store: Store) -> None:
    set_price(api)
    now = datetime.now(UTC)
    priced_run(store, created_at=now)
    priced_run(store, created_at=now, prompt_tokens=0, completion_tokens=100)
    priced_run(store, created_at=now, model="other")
    priced_run(store, created_at=now, site_id="paris", completion_tokens=9_999)
    store.run(app_type="mail", model="other", prompt_tokens=1, completion_tokens=1)

    def estimate(*apps: str) -> dict[str, Any]:
        return api.data(ESTIMATE, {"apps": apps})["estimateBatch"]

    assert estimate("chat") == {
        "estimatedCost": "0.006375",
        "apps": [{"appType": "chat", "meanCost": "0.002125"}],
    }
    assert estimate("chat", "mail") == {
        "estimatedCost": None,
        "apps": [{"appType": "chat", "meanCost": "0.002125"}, {"appType": "mail", "meanCost": None}],
    }
