"""node: any object by its typed id."""

from __future__ import annotations

import pytest

from tests.api.mutations.test_estimate_batch import estimate
from tests.support.api import Api
from tests.support.store import Store

NODE = """
query ($id: ID!) {
  node(id: $id) {
    __typename id
    ... on RunLog { appType requestPrompt }
    ... on Alert { runStatus }
    ... on TriggerJob { eventType runLogs { totalCount { count } } }
    ... on Batch { memberCount }
    ... on CacheEntry { result }
  }
}
"""


def test_every_kind_of_object_is_found_again(module_api: Api, module_store: Store) -> None:
    run = module_store.run(status="failed", request_prompt="ask")
    job = module_store.job()
    entry = module_store.cache()
    batch_id = estimate(module_api)["id"]
    expected = [
        {"__typename": "RunLog", "id": f"run_{run}", "appType": "chat", "requestPrompt": "ask"},
        {"__typename": "Alert", "id": f"alert_{run}", "runStatus": "FAILED"},
        {
            "__typename": "TriggerJob",
            "id": f"job_{job}",
            "eventType": "order_created",
            "runLogs": {"totalCount": {"count": 0}},
        },
        {"__typename": "CacheEntry", "id": f"cache_{entry}", "result": {"text": "hi"}},
        {"__typename": "Batch", "id": batch_id, "memberCount": 1},
    ]
    for node in expected:
        assert module_api.data(NODE, {"id": node["id"]}) == {"node": node}


@pytest.mark.parametrize("kind", ["run", "alert", "job", "cache"])
def test_an_absent_object_is_null(module_api: Api, kind: str) -> None:
    assert module_api.data(NODE, {"id": f"{kind}_999999"}) == {"node": None}


def test_a_successful_run_is_no_alert(module_api: Api, module_store: Store) -> None:
    run = module_store.run()
    assert module_api.data(NODE, {"id": f"alert_{run}"}) == {"node": None}


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "1",
        "_1",
        "site_1",
        "run",
        "run_",
        "run_x",
        "batch_1",
        "RUN_1",
        "node_1",
        "\x00",
        "\ud800",
        "x" * 10_000,
    ],
)
def test_an_id_of_no_kind_is_a_clear_error(module_api: Api, wrong: str) -> None:
    error = module_api.error(NODE, {"id": wrong})
    assert error["code"] in ("BAD_USER_INPUT", "BAD_REQUEST")
    assert len(error["message"]) < 300


def test_several_nodes_of_a_kind_take_one_statement(module_api: Api, module_store: Store) -> None:
    runs = [module_store.run() for _ in range(20)]
    query = "{" + " ".join(f'n{run}: node(id: "run_{run}") {{ id }}' for run in runs) + "}"
    assert module_api.statements(query) == 1
