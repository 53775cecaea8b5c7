"""A confirmed batch really runs, and says how far it has come."""

from __future__ import annotations

import pytest

from tests.support.api import Api
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, answer, eventually

ESTIMATE = """
mutation ($apps: [String!]!, $members: [ID!]!, $site: ID!) {
  estimateBatch(input: {siteId: $site, appTypes: $apps, memberIds: $members}) {
    ... on Batch { id status progress { total } }
  }
}
"""
CONFIRM = """
mutation ($id: ID!) {
  confirmBatch(input: {batchId: $id}) { __typename ... on Batch { id status progress { total pending } } }
}
"""
BATCH = """
query ($id: ID!) {
  batch(id: $id) {
    status startedAt finishedAt
    progress { total pending running succeeded failed tokensUsed expectedEndAt }
  }
}
"""
LIST = """
query ($status: [BatchStatus!]) {
  batches(filter: {status: $status}, first: 2) {
    edges { node { id status } } totalCount { count } pageInfo { hasNextPage }
  }
}
"""


def confirm(api: Api, members: int, *, apps: tuple[str, ...] = ("chat",), site: str = "berlin") -> str:
    """Estimate and confirm a batch and give its id."""
    variables = {"apps": list(apps), "members": [f"m{n}" for n in range(members)], "site": site}
    estimated = api.data(ESTIMATE, variables)["estimateBatch"]
    assert estimated["progress"] is None
    confirmed = api.data(CONFIRM, {"id": estimated["id"]})["confirmBatch"]
    assert confirmed["status"] == "CONFIRMED"
    assert confirmed["progress"] == {"total": members * len(apps), "pending": members * len(apps)}
    return confirmed["id"]


def finished(store: Store) -> bool:
    """Whether no batch is left unfinished."""
    return store.value("SELECT count(*) FROM runglass.batches WHERE finished_at IS NULL") == 0


def test_a_batch_runs_to_its_end(api: Api, store: Store, apps: AppServer, workers: Workers) -> None:
    batch = confirm(api, 12, apps=("chat", "mail"))
    workers.start()
    eventually(lambda: finished(store), "the batch finishes")

    shown = api.data(BATCH, {"id": batch})["batch"]
    assert shown["status"] == "COMPLETED"
    assert shown["startedAt"] <= shown["finishedAt"]
    assert shown["progress"] == {
        "total": 24,
        "pending": 0,
        "running": 0,
        "succeeded": 24,
        "failed": 0,
        "tokensUsed": 240,
        "expectedEndAt": None,
    }
    assert len({call.key for call in apps.calls()}) == len(apps.calls()) == 24


def test_failures_are_counted(api: Api, store: Store, apps: AppServer, workers: Workers) -> None:
    apps.behave("chat", lambda got: (400, {}, b"") if got.body["member"] in ("m1", "m3") else answer())
    batch = confirm(api, 5)
    workers.start()
    eventually(lambda: finished(store), "the batch finishes")

    shown = api.data(BATCH, {"id": batch})["batch"]
    assert shown["status"] == "COMPLETED_WITH_FAILURES"
    assert (shown["progress"]["succeeded"], shown["progress"]["failed"]) == (3, 2)
    assert store.value("SELECT count(*) FROM biz.ai_run_logs WHERE status = 'failed'") == 2


def test_progress_is_seen_while_it_runs(api: Api, store: Store, apps: AppServer, workers: Workers) -> None:
    apps.behave("chat", lambda got: apps.hang(got) if got.body["member"] in ("m4", "m5") else answer())
    batch = confirm(api, 6)
    workers.start()
    eventually(
        lambda: store.value("SELECT count(*) FROM biz.ai_trigger_jobs WHERE status = 'success'") == 4,
        "four jobs succeed",
    )
    apps.wait_for(6)

    shown = api.data(BATCH, {"id": batch})["batch"]
    assert shown["status"] == "RUNNING"
    assert shown["progress"]["expectedEndAt"] > shown["startedAt"]
    counts = {name: shown["progress"][name] for name in ("total", "running", "succeeded", "tokensUsed")}
    assert counts == {"total": 6, "running": 2, "succeeded": 4, "tokensUsed": 40}


def test_a_batch_longer_than_a_page_of_the_queue_runs_whole(
    api: Api, store: Store, apps: AppServer, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    confirm(api, 1203)
    store.rows("UPDATE biz.ai_trigger_jobs SET status = 'cancelled' WHERE id % 20 <> 0")
    workers.start()
    eventually(lambda: finished(store), "the batch finishes")
    left = store.value("SELECT count(*) FROM biz.ai_trigger_jobs WHERE status <> 'cancelled'")
    assert len({call.body["job"] for call in apps.calls()}) == len(apps.calls()) == left


def test_batches_are_listed_by_status(api: Api, store: Store) -> None:
    ids = [confirm(api, 1) for _ in range(3)]
    store.rows("UPDATE runglass.batches SET status = 'completed' WHERE id = %s", (ids[1][6:],))
    listed = api.data(LIST, {"status": ["CONFIRMED"]})["batches"]
    assert [edge["node"]["id"] for edge in listed["edges"]] == [ids[2], ids[0]]
    assert listed["totalCount"]["count"] == 2
    assert api.data(LIST)["batches"]["pageInfo"]["hasNextPage"] is True


def test_the_counts_of_many_batches_are_one_statement(api: Api, store: Store) -> None:
    query = "{ batches(first: 20) { edges { node { progress { running } } } } }"
    confirm(api, 1)
    one = api.statements(query)
    for _ in range(5):
        confirm(api, 1)
    assert api.statements(query) == one


def test_a_worker_says_which_apps_it_serves_until_it_is_gone(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    served = "query ($id: ID!) { batch(id: $id) { warnings { code appType } apps { appType isServed } } }"
    batch = confirm(api, 1, apps=("chat", "nobody"))

    def is_served() -> dict[str, bool]:
        found = api.data(served, {"id": batch})["batch"]["apps"]
        return {app["appType"]: app["isServed"] for app in found}

    assert is_served() == {"chat": False, "nobody": False}
    worker = workers.start()
    eventually(lambda: is_served() == {"chat": True, "nobody": False}, "the worker says what it serves")
    warnings = api.data(served, {"id": batch})["batch"]["warnings"]
    assert ("APP_NOT_SERVED", "chat") not in [(each["code"], each["appType"]) for each in warnings]
    worker.kill()
    eventually(lambda: is_served() == {"chat": False, "nobody": False}, "its lease ends")
