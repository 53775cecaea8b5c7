"""runLog: one run by its id."""

from __future__ import annotations

import pytest
from psycopg.types.json import Jsonb

from tests.support.api import Api
from tests.support.store import Store

RUN_LOG = """
query ($id: ID!) {
  runLog(id: $id) {
    id requestPrompt responseText errorMessage sessionId status alertStatus triggerJob { id payload }
  }
}
"""


def test_a_run_with_its_texts_and_its_job(module_api: Api, module_store: Store) -> None:
    job = module_store.job(payload=Jsonb([1, {"a": None}]))
    run = module_store.run(
        request_prompt="ask",
        response_text="tell",
        error_message="boom",
        session_id="s1",
        status="failed",
        alert_status="ignored",
        trigger_job_id=job,
    )
    assert module_api.data(RUN_LOG, {"id": f"run_{run}"})["runLog"] == {
        "id": f"run_{run}",
        "requestPrompt": "ask",
        "responseText": "tell",
        "errorMessage": "boom",
        "sessionId": "s1",
        "status": "FAILED",
        "alertStatus": "IGNORED",
        "triggerJob": {"id": f"job_{job}", "payload": [1, {"a": None}]},
    }


def test_a_run_whose_job_is_gone(module_api: Api, module_store: Store) -> None:
    run = module_store.run(trigger_job_id=9_999)
    assert module_api.data(RUN_LOG, {"id": f"run_{run}"})["runLog"]["triggerJob"] is None


def test_an_absent_run_is_null(module_api: Api) -> None:
    assert module_api.data(RUN_LOG, {"id": "run_9223372036854775807"}) == {"runLog": None}


@pytest.mark.parametrize(
    "wrong",
    ["job_1", "run_", "run_0", "run_-1", "run_1.5", "run_01", "1", "", "run_9223372036854775808", "run_٣"],
)
def test_an_id_of_the_wrong_kind_is_a_clear_error(module_api: Api, wrong: str) -> None:
    error = module_api.error(RUN_LOG, {"id": wrong})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "id")
    assert "run_42" in error["message"]


def test_texts_of_one_run_take_one_statement(module_api: Api, module_store: Store) -> None:
    run = module_store.run(request_prompt="ask")
    assert module_api.statements("query ($id: ID!) { runLog(id: $id) { id } }", {"id": f"run_{run}"}) == 1
    texts = "query ($id: ID!) { runLog(id: $id) { requestPrompt responseText } }"
    assert module_api.statements(texts, {"id": f"run_{run}"}) == 2
