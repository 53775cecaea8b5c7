"""cancelJob, cancelBatch and retryBatch: what runs can be stopped, and what failed can run again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, answer, ended, enqueue, eventually
from tests.worker.test_batches import confirm, finished

CANCEL_JOB = """
mutation ($id: ID!) {
  cancelJob(input: {jobId: $id}) {
    __typename ... on TriggerJob { id status errorMessage } ... on Refusal { code }
  }
}
"""
CANCEL_BATCH = """
mutation ($id: ID!) {
  cancelBatch(input: {batchId: $id}) {
    __typename
    ... on Batch { id status cancelledBy progress { pending running failed } }
    ... on Refusal { message }
  }
}
"""
RETRY_BATCH = """
mutation ($id: ID!) {
  retryBatch(input: {batchId: $id}) {
    __typename
    ... on Batch { id status estimatedCalls memberCount retryOf { id } progress { total } }
    ... on Refusal { message }
  }
}
"""
BATCH = "query ($id: ID!) { batch(id: $id) { status progress { total succeeded failed } } }"


def cancel_job(api: Api, job: int) -> dict[str, Any]:
    """What cancelJob answers."""
    return api.data(CANCEL_JOB, {"id": f"job_{job}"})["cancelJob"]


def test_a_waiting_job_is_cancelled_at_once(api: Api, store: Store) -> None:
    job = enqueue(store)
    assert cancel_job(api, job) == {
        "__typename": "TriggerJob",
        "id": f"job_{job}",
        "status": "CANCELLED",
        "errorMessage": "cancelled by tests",
    }
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 0
    assert store.value("SELECT action FROM runglass.audit_log") == "cancelJob"


def test_a_running_job_stops_before_its_next_app(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    workers.start()
    job = enqueue(store, app_chain=["chat", "mail"])
    apps.wait_for(1)
    assert cancel_job(api, job)["status"] == "RUNNING"
    apps.release()
    eventually(ended(store, job), "the job ends")
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", (job,)) == "cancelled"
    assert apps.calls("mail") == []
    assert store.value("SELECT status FROM biz.ai_run_logs") == "success"


@pytest.mark.parametrize("status", ["success", "failed", "cancelled", "running"])
def test_a_job_that_has_ended_or_runs_elsewhere_is_refused(api: Api, store: Store, status: str) -> None:
    job = store.job(status=status)
    before = store.snapshot()
    assert cancel_job(api, job) == {"__typename": "Conflict", "code": "CONFLICT"}
    assert store.snapshot() == before


def test_a_job_that_does_not_exist_is_not_found(api: Api, store: Store) -> None:
    assert cancel_job(api, 99)["__typename"] == "NotFound"
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 0


def test_a_batch_is_stopped(api: Api, store: Store, apps: AppServer, workers: Workers) -> None:
    apps.behave("chat", apps.hang)
    batch = confirm(api, 30)
    workers.start(worker_concurrency=2, site_concurrency=2)
    apps.wait_for(2)

    stopped = api.data(CANCEL_BATCH, {"id": batch})["cancelBatch"]

    assert stopped == {
        "__typename": "Batch",
        "id": batch,
        "status": "CANCELLED",
        "cancelledBy": "tests",
        "progress": {"pending": 0, "running": 2, "failed": 28},
    }
    apps.release()
    eventually(lambda: finished(store), "its last jobs end")
    shown = api.data(BATCH, {"id": batch})["batch"]
    assert shown == {"status": "CANCELLED", "progress": {"total": 30, "succeeded": 2, "failed": 28}}
    assert len(apps.calls()) == 2
    again = api.data(CANCEL_BATCH, {"id": batch})["cancelBatch"]
    assert again == {"__typename": "Conflict", "message": "This batch has ended already; it is cancelled."}


def test_the_failed_part_of_a_batch_runs_again_as_a_batch(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", lambda got: (400, {}, b"") if got.body["member"] in ("m1", "m3") else answer())
    batch = confirm(api, 5)
    running = api.data(RETRY_BATCH, {"id": batch})["retryBatch"]
    assert running["message"] == "Only a batch that has run to its end can be retried."
    workers.start()
    eventually(lambda: finished(store), "the batch finishes")
    apps.behave("chat", lambda _: answer())

    answers = api.at_once(RETRY_BATCH, [{"id": batch}] * 5)

    started = [one["retryBatch"] for one in answers if one["retryBatch"]["__typename"] == "Batch"]
    assert len(started) == 1
    assert (started[0]["status"], started[0]["estimatedCalls"], started[0]["memberCount"]) == (
        "CONFIRMED",
        2,
        2,
    )
    assert started[0]["retryOf"] == {"id": batch}
    eventually(lambda: finished(store), "the retry finishes")
    shown = api.data(BATCH, {"id": started[0]["id"]})["batch"]
    assert shown == {"status": "COMPLETED", "progress": {"total": 2, "succeeded": 2, "failed": 0}}
    retries = store.rows(
        "SELECT retry.attempt, retry.is_forced, job.status FROM biz.ai_trigger_jobs AS retry"
        " JOIN biz.ai_trigger_jobs AS job ON job.id = retry.retry_of_id"
    )
    assert retries == [{"attempt": 2, "is_forced": True, "status": "failed"}] * 2
    nothing = api.data(RETRY_BATCH, {"id": batch})["retryBatch"]
    assert nothing == {"__typename": "Conflict", "message": "Nothing of this batch is left to retry."}


def test_what_a_retry_of_a_retry_has_repaired_is_not_run_again_with_its_batch(api: Api, store: Store) -> None:
    batch = confirm(api, 2)
    store.rows("UPDATE biz.ai_trigger_jobs SET status = 'failed', finished_at = now()")
    store.rows("UPDATE runglass.batches SET status = 'completed_with_failures', finished_at = now()")
    repaired, failed_again = (
        row["id"] for row in store.rows("SELECT id FROM biz.ai_trigger_jobs ORDER BY id")
    )
    store.job(retry_of_id=store.job(retry_of_id=repaired), status="success")
    store.job(retry_of_id=store.job(retry_of_id=failed_again))

    api.data(RETRY_BATCH, {"id": batch})

    jobs = store.rows("SELECT retry_of_id FROM biz.ai_trigger_jobs WHERE status = 'pending'")
    assert jobs == [{"retry_of_id": failed_again}]


def test_a_retry_of_a_batch_says_what_it_will_cost(api: Api, store: Store) -> None:
    store.rows(
        "INSERT INTO runglass.model_prices (model, prompt_price, completion_price, valid_from, created_by,"
        " updated_by) VALUES ('gpt-5', 2, 4, '2026-01-01Z', 'tests', 'tests')"
    )
    batch = confirm(api, 5)
    store.rows("UPDATE biz.ai_trigger_jobs SET status = 'failed', finished_at = now()")
    store.rows("UPDATE runglass.batches SET status = 'completed_with_failures', finished_at = now()")
    for _ in range(10):
        store.run(model="gpt-5", tokens_used=1500, prompt_tokens=1000, completion_tokens=500)

    with_estimate = RETRY_BATCH.replace("status", "estimatedCost estimatedTokensRange { low high }")
    retry = api.data(with_estimate, {"id": batch})["retryBatch"]

    assert (retry["estimatedCalls"], retry["estimatedCost"]) == (5, "0.02")
    assert retry["estimatedTokensRange"] == {"low": 7500, "high": 7500}
