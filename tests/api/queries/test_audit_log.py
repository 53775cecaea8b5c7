"""auditLog: who changed what, for admins of the sites concerned."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api, Client
from tests.support.store import Store

LOG = """
query ($filter: AuditLogFilter, $first: Int, $after: String) {
  auditLog(filter: $filter, first: $first, after: $after) {
    edges { node { id createdAt actor actorId address action siteId targetKind targetId before after } }
    pageInfo { hasNextPage endCursor }
    totalCount { count }
  }
}
"""
RETRY = 'mutation { retryJob(input: {jobId: "job_%s"}) { __typename } }'
ACK = 'mutation { ackAlert(input: {alertId: "alert_%s"}) { __typename } }'
INVALIDATE = 'mutation { invalidateCache(input: {siteId: "%s"}) { __typename } }'
ESTIMATE = """
mutation { estimateBatch(input: {siteId: "berlin", appTypes: ["chat"], memberIds: ["m1"]}) {
  ... on Batch { id }
} }
"""
CONFIRM = 'mutation { confirmBatch(input: {batchId: "%s"}) { __typename } }'
RECORD = """
mutation {
  recordRuns(input: {runs: [{siteId: "berlin", appType: "chat", status: SUCCESS}]}) { __typename }
}
"""
REVOKE = 'mutation { revokeApiKey(input: {keyId: "key_%s"}) { __typename } }'
EVERY_SITE = 'mutation { createApiKey(input: {name: "n", role: VIEWER, everySite: true}) { __typename } }'


def log(client: Client, **filter: Any) -> list[dict[str, Any]]:
    found = client.data(LOG, {"filter": filter, "first": 100})["auditLog"]
    assert found["totalCount"]["count"] == len(found["edges"])
    return [edge["node"] for edge in found["edges"]]


def actions(entries: list[dict[str, Any]]) -> list[str]:
    return [entry["action"] for entry in entries]


def test_an_entry_tells_who_did_what_on_what_when_and_from_where(api: Api, store: Store) -> None:
    job = store.job()
    api.data(RETRY % job)
    (entry,) = log(api)
    assert entry.pop("createdAt")
    assert entry == {
        "id": "audit_1",
        "actor": "tests",
        "actorId": "key_1",
        "address": "127.0.0.1",
        "action": "retryJob",
        "siteId": "berlin",
        "targetKind": "job",
        "targetId": f"job_{job}",
        "before": {"status": "failed"},
        "after": {"retry": job + 1, "attempt": 2},
    }


ALERTS = """
mutation ($alerts: [ID!]!) {
  ackAlerts(input: {alertIds: $alerts, reason: "r"}) { __typename }
  ignoreAlerts(input: {alertIds: $alerts, reason: "r"}) { __typename }
  reopenAlerts(input: {alertIds: $alerts, reason: "r"}) { __typename }
}
"""


def change_everything(api: Api, store: Store) -> str:
    """Use every mutation once or more; gives the batch's id."""
    api.data(RETRY % store.job())
    run = store.run(status="failed")
    api.data(ACK % run)
    api.data((ACK % run).replace("ackAlert", "ignoreAlert"))
    api.data((ACK % run).replace("ackAlert", "reopenAlert"))
    api.data(ALERTS, {"alerts": [f"alert_{run}"]})
    store.cache()
    api.data(INVALIDATE % "berlin")
    batch = api.data(ESTIMATE)["estimateBatch"]["id"]
    api.data(CONFIRM % batch)
    api.data(RECORD)
    api.data(EVERY_SITE)
    created = store.value("SELECT max(id) FROM runglass.api_keys")
    api.data(REVOKE % created)
    return batch


STEER = """
mutation ($batch: ID!, $job: ID!, $lost: ID!) {
  failJobs(input: {jobIds: [$lost], reason: "r"}) { __typename }
  cancelJob(input: {jobId: $job}) { __typename }
  retryJobs(input: {jobIds: [$job], reason: "r"}) { __typename }
  cancelJobs(input: {filter: {siteId: "berlin", eventType: "order_created"}, reason: "r"}) { __typename }
  cancelBatch(input: {batchId: $batch}) { __typename }
}
"""
RETRY_BATCH = 'mutation { retryBatch(input: {batchId: "%s"}) { __typename } }'
SPEND = """
mutation {
  setBudget(input: {period: DAILY, softLimit: 1000}) { ... on BudgetLimit { id } }
  setModelPrice(
    input: {model: "m", promptPrice: "1", completionPrice: "2", validFrom: "2026-01-01T00:00:00Z"}
  ) { ... on ModelPrice { id } }
}
"""
UNLIMIT = """
mutation ($budget: ID!, $price: ID!) {
  removeBudget(input: {budgetId: $budget}) { __typename }
  removeModelPrice(input: {priceId: $price}) { __typename }
}
"""


def test_every_mutation_writes_its_name(api: Api, store: Store) -> None:
    batch = change_everything(api, store)
    waiting, lost = store.job(status="pending"), store.job(status="running", event_type="lost")
    api.data(STEER, {"batch": batch, "job": f"job_{waiting}", "lost": f"job_{lost}"})
    store.rows("UPDATE runglass.batches SET finished_at = now()")
    api.data(RETRY_BATCH % batch)
    spend = api.data(SPEND)
    api.data(UNLIMIT, {"budget": spend["setBudget"]["id"], "price": spend["setModelPrice"]["id"]})
    entries = log(api)
    schema = api.data('{ __type(name: "Mutation") { fields { name } } }')["__type"]["fields"]
    assert sorted(actions(entries)) == sorted(field["name"] for field in schema)
    assert {entry["actorId"] for entry in entries} == {"key_1"}
    assert {entry["address"] for entry in entries} == {"127.0.0.1"}
    targets = {entry["action"]: entry["targetId"] for entry in entries}
    assert targets["confirmBatch"] == targets["estimateBatch"] == batch
    assert targets["invalidateCache"] == targets["recordRuns"] == "berlin"


def test_entries_are_filtered(api: Api, store: Store) -> None:
    batch = change_everything(api, store)
    other = api.as_key(role="operator", name="robot")
    job = store.job(site_id="tokyo")
    other.data(RETRY % job)
    number = store.value("SELECT id FROM runglass.api_keys WHERE name = 'robot'")
    assert actions(log(api, actor="robot")) == ["retryJob"]
    assert actions(log(api, actorId=f"key_{number}")) == ["retryJob"]
    assert len(log(api, action="retryJob")) == 2
    assert [entry["targetId"] for entry in log(api, siteId="tokyo")] == [f"job_{job}"]
    assert actions(log(api, targetId=batch)) == ["confirmBatch", "estimateBatch"]
    assert actions(log(api, targetId=f"job_{job}")) == ["retryJob"]
    assert log(api, actor="robot", action="ackAlert") == []
    newest = log(api)[0]["createdAt"]
    assert actions(log(api, createdAt={"from": newest})) == ["retryJob"]
    assert len(log(api, createdAt={"to": newest})) == len(log(api)) - 1


def test_pages_neither_repeat_nor_lose_an_entry(api: Api, store: Store) -> None:
    change_everything(api, store)
    whole = [entry["id"] for entry in log(api)]
    seen: list[str] = []
    after = None
    for _ in range(10):
        page = api.data(LOG, {"first": 3, "after": after})["auditLog"]
        seen += [edge["node"]["id"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == whole


def test_an_admin_of_one_site_sees_what_concerns_that_site(api: Api, store: Store) -> None:
    change_everything(api, store)
    api.data(RETRY % store.job(site_id="tokyo"))
    tokyo = api.as_key(role="admin", sites=["tokyo"], name="t")
    assert [(entry["siteId"], entry["action"]) for entry in log(tokyo)] == [("tokyo", "retryJob")]
    assert log(tokyo, siteId="berlin") == []
    berlin = api.as_key(role="admin", sites=["berlin"], name="b")
    assert {entry["siteId"] for entry in log(berlin)} == {"berlin"}
    assert "createApiKey" not in actions(log(berlin))


def test_what_was_refused_leaves_no_entry(api: Api, store: Store) -> None:
    api.data(RETRY % 999)
    api.data(ACK % store.run(status="success"))
    assert log(api) == []


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_admins_read_the_log(api: Api, role: str) -> None:
    assert api.as_key(role=role).error(LOG)["code"] == "FORBIDDEN"


@pytest.mark.parametrize("wrong", ["berlin", "job_", "batch_1", ""])
def test_a_target_that_is_no_id_is_a_clear_error(api: Api, wrong: str) -> None:
    error = api.error(LOG, {"filter": {"targetId": wrong}})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "targetId")
