"""triggerJob: one job by its id."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.api import Api, Client
from tests.support.store import Store

TRIGGER_JOB = """
query ($id: ID!) {
  triggerJob(id: $id) {
    id siteId eventType connectorType memberId payload appChain isForced status statusText errorMessage
    attempt startedAt finishedAt createdAt
    runLogs { edges { node { id triggerJob { id } } } }
    retryOf { id } retries { edges { node { id retryOf { id } } } } batch { id }
  }
}
"""


def test_a_job_with_everything_that_is_stored_of_it(module_api: Api, module_store: Store) -> None:
    job = module_store.job(
        event_type="order_paid",
        connector_type="shop",
        member_id="m1",
        payload=Jsonb({"items": [1, None, "zwei"]}),
        app_chain=["chat", "mail"],
        is_forced=True,
        status="archived",
        error_message="boom",
        attempt=3,
        started_at=datetime(2026, 5, 1, 0, 0, 1, tzinfo=UTC),
        finished_at=datetime(2026, 5, 1, 0, 0, 2, tzinfo=UTC),
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
    )
    run = module_store.run(trigger_job_id=job)
    retry = module_store.job(retry_of_id=job)
    assert module_api.data(TRIGGER_JOB, {"id": f"job_{job}"})["triggerJob"] == {
        "id": f"job_{job}",
        "siteId": "berlin",
        "eventType": "order_paid",
        "connectorType": "shop",
        "memberId": "m1",
        "payload": {"items": [1, None, "zwei"]},
        "appChain": ["chat", "mail"],
        "isForced": True,
        "status": "UNKNOWN",
        "statusText": "archived",
        "errorMessage": "boom",
        "attempt": 3,
        "startedAt": "2026-05-01T00:00:01+00:00",
        "finishedAt": "2026-05-01T00:00:02+00:00",
        "createdAt": "2026-05-01T00:00:00+00:00",
        "runLogs": {"edges": [{"node": {"id": f"run_{run}", "triggerJob": {"id": f"job_{job}"}}}]},
        "retryOf": None,
        "retries": {"edges": [{"node": {"id": f"job_{retry}", "retryOf": {"id": f"job_{job}"}}}]},
        "batch": None,
    }


@pytest.mark.parametrize(
    "payload", [None, 0, "", "text", [], {}, False, 2**60, 1.5, {"deep": {"deep": []}}, "\U0001f600"]
)
def test_a_payload_is_any_json(module_api: Api, module_store: Store, payload: Any) -> None:
    job = module_store.job(payload=Jsonb(payload), app_chain=None)
    shown = module_api.data(TRIGGER_JOB, {"id": f"job_{job}"})["triggerJob"]
    assert (shown["payload"], shown["appChain"]) == (payload, [])


def test_what_a_job_refers_to_may_be_gone(module_api: Api, module_store: Store) -> None:
    job = module_store.job(retry_of_id=99_999, batch_id="00000000-0000-0000-0000-000000000001")
    shown = module_api.data(TRIGGER_JOB, {"id": f"job_{job}"})["triggerJob"]
    assert (shown["retryOf"], shown["batch"]) == (None, None)


def test_an_absent_job_is_null(module_api: Api) -> None:
    assert module_api.data(TRIGGER_JOB, {"id": "job_999999"}) == {"triggerJob": None}


@pytest.mark.parametrize("wrong", ["run_1", "job_", "job_0", "job_ 1", "job_1 ", "JOB_1", "1", "", "job_1e3"])
def test_an_id_of_the_wrong_kind_is_a_clear_error(module_api: Api, wrong: str) -> None:
    error = module_api.error(TRIGGER_JOB, {"id": wrong})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "id")
    assert "job_42" in error["message"]


LINEAGE = "query ($id: ID!) { triggerJob(id: $id) { root { id } retryOf { id } attempt chainStart } }"


def lineage(client: Client, job: int) -> dict[str, Any]:
    return client.data(LINEAGE, {"id": f"job_{job}"})["triggerJob"]


def test_the_root_of_a_line_of_retries_is_its_first_job(module_api: Api, module_store: Store) -> None:
    first = module_store.job()
    second = module_store.job(retry_of_id=first, attempt=2)
    third = module_store.job(retry_of_id=second, attempt=3, chain_start=1)
    beside = module_store.job(retry_of_id=first, attempt=3)
    roots = {job: lineage(module_api, job)["root"]["id"] for job in (first, second, third, beside)}
    assert roots == dict.fromkeys((first, second, third, beside), f"job_{first}")
    assert lineage(module_api, third) == {
        "root": {"id": f"job_{first}"},
        "retryOf": {"id": f"job_{second}"},
        "attempt": 3,
        "chainStart": 1,
    }


def test_the_root_is_the_first_job_that_is_there_and_may_be_seen(
    module_api: Api, module_store: Store
) -> None:
    theirs = module_store.job(site_id="tokyo")
    ours = module_store.job(retry_of_id=theirs)
    retry = module_store.job(retry_of_id=ours)
    berlin = module_api.as_key(sites=["berlin"])
    assert lineage(berlin, retry)["root"] == {"id": f"job_{ours}"}
    assert lineage(module_api, retry)["root"] == {"id": f"job_{theirs}"}
    orphan = module_store.job(retry_of_id=99_999)
    assert lineage(module_api, orphan)["root"] == {"id": f"job_{orphan}"}


def test_a_line_that_bites_its_tail_has_an_end(module_api: Api, module_store: Store) -> None:
    """As nothing but a fault of another service would make it."""
    first = module_store.job()
    second = module_store.job(retry_of_id=first)
    module_store.rows("UPDATE biz.ai_trigger_jobs SET retry_of_id = %s WHERE id = %s", (second, first))
    assert lineage(module_api, second)["root"] == {"id": f"job_{first}"}
    assert lineage(module_api, first)["root"] == {"id": f"job_{first}"}


@pytest.mark.parametrize(
    "chain", ["chat->mail", " chat , mail ", "chat → mail", "chat;mail", "chat|mail", "chat>mail"]
)
def test_a_chain_written_as_text_is_read_as_the_workers_read_it(store: Store, api: Api, chain: str) -> None:
    store.rows(
        "ALTER TABLE biz.ai_trigger_jobs"
        " ALTER COLUMN app_chain TYPE text USING array_to_string(app_chain, ',')"
    )
    job = store.job(app_chain=chain)
    assert api.data(TRIGGER_JOB, {"id": f"job_{job}"})["triggerJob"]["appChain"] == ["chat", "mail"]
    assert store.value(
        "SELECT runglass.chain_apps(runglass.readable_json(app_chain)) FROM biz.ai_trigger_jobs"
    ) == [
        "chat",
        "mail",
    ]


UNREADABLE = {
    "a NUL": r'["chat\u0000", "mail"]',
    "half of a pair": r'["\ud800"]',
    "a number that is too large": "[1e999999]",
}


@pytest.mark.parametrize("case", UNREADABLE)
def test_a_chain_of_json_that_nobody_can_read_stops_neither_the_page_nor_the_queue(
    store: Store, api: Api, case: str
) -> None:
    store.rows(
        "ALTER TABLE biz.ai_trigger_jobs ALTER app_chain DROP DEFAULT,"
        " ALTER app_chain TYPE json USING to_json(app_chain)"
    )
    good = store.job(app_chain='["chat", "mail"]', status="pending")
    odd = store.job(app_chain=UNREADABLE[case], status="pending")

    page = api.data("{ triggerJobs { edges { node { id appChain } } } }")["triggerJobs"]

    chains = {edge["node"]["id"]: edge["node"]["appChain"] for edge in page["edges"]}
    assert chains[f"job_{good}"] == ["chat", "mail"]
    # As its text, which is read like every chain that is written as a text.
    assert ",".join(chains[f"job_{odd}"]) == UNREADABLE[case].replace(" ", "")
    for job in (odd, good):
        store.rows("SELECT runglass.enqueue_job(%s)", (job,))
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 2
