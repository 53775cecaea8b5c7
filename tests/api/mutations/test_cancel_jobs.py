"""cancelJobs: many jobs are stopped in one transaction, each with a result of its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.mutations.test_retry_job import asked_meanwhile
from tests.support.api import Api, Client
from tests.support.store import Store
from tests.support.workers import enqueue

CANCEL_JOBS = """
mutation ($input: CancelJobsInput!) {
  cancelJobs(input: $input) {
    __typename
    ... on CancelledJobs {
      dryRun matched count sample { id }
      results { jobId job { id status errorMessage } refusal { __typename code message } }
    }
    ... on Refusal { code message }
    ... on InvalidInput { field }
  }
}
"""
NOT_FOUND = {"__typename": "NotFound", "code": "NOT_FOUND", "message": "There is no such job."}
ELSEWHERE = "This job is run by another dispatcher; only that one can stop it, or an admin by failJobs."
QUEUE = "SELECT job_id, cancel_requested FROM runglass.job_queue ORDER BY job_id"


def cancel(client: Client, **given: Any) -> dict[str, Any]:
    return client.data(CANCEL_JOBS, {"input": {"reason": "wrong prices", **given}})["cancelJobs"]


def ids(*jobs: int) -> list[str]:
    return [f"job_{job}" for job in jobs]


def test_each_job_gets_its_result_in_the_order_asked(api: Api, store: Store) -> None:
    queued = enqueue(store)
    running = enqueue(store, status="running")
    elsewhere = store.job(status="running")
    failed = store.job()
    waiting = store.job(status="pending")

    answer = cancel(api, jobIds=ids(waiting, 999, failed, running, elsewhere, queued, waiting))

    assert (answer["__typename"], answer["dryRun"]) == ("CancelledJobs", False)
    assert (answer["matched"], answer["count"]) == (6, 3)
    stopped = {"status": "CANCELLED", "errorMessage": "cancelled by tests: wrong prices"}
    conflict = {"__typename": "Conflict", "code": "CONFLICT"}
    assert [tuple(each.values()) for each in answer["results"]] == [
        (f"job_{waiting}", {"id": f"job_{waiting}", **stopped}, None),
        ("job_999", None, NOT_FOUND),
        (f"job_{failed}", None, {**conflict, "message": "This job has ended already; it is failed."}),
        (f"job_{running}", {"id": f"job_{running}", "status": "RUNNING", "errorMessage": None}, None),
        (
            f"job_{elsewhere}",
            None,
            {
                **conflict,
                "message": ELSEWHERE,
            },
        ),
        (f"job_{queued}", {"id": f"job_{queued}", **stopped}, None),
    ]
    assert store.rows(QUEUE) == [{"job_id": running, "cancel_requested": True}]
    assert store.value("SELECT count(*) FROM procrastinate.procrastinate_jobs") == 1
    ended = "SELECT count(*) FROM biz.ai_trigger_jobs WHERE finished_at IS NOT NULL"
    assert store.value(ended) == 2


def test_a_filter_means_jobs_that_wait_or_run_oldest_first(api: Api, store: Store) -> None:
    for status in ("success", "failed", "cancelled", "skipped_duplicate", "paused"):
        store.job(status=status)
    waiting, running = store.job(status="pending"), enqueue(store, status="running")
    store.job(status="pending", site_id="paris")

    answer = cancel(api, filter={"siteId": "berlin"})

    assert [each["jobId"] for each in answer["results"]] == ids(waiting, running)
    assert (answer["matched"], answer["count"]) == (2, 2)
    assert cancel(api, filter={"siteId": "berlin", "status": ["PENDING"]})["matched"] == 0
    assert cancel(api, filter={"status": ["FAILED"]})["matched"] == 0
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs WHERE status = 'pending'") == 1


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(api: Api, store: Store) -> None:
    jobs = [enqueue(store) for _ in range(11)]
    before, queue = store.snapshot(), store.rows(QUEUE)
    given = {"jobIds": ids(*jobs, 99), "dryRun": True}

    answer = cancel(api, **given)
    with store.connection.transaction():
        store.rows("SELECT id FROM biz.ai_trigger_jobs FOR UPDATE")
        store.rows("SELECT job_id FROM runglass.job_queue FOR UPDATE")
        assert cancel(api, **given) == answer

    assert (answer["dryRun"], answer["matched"], answer["count"]) == (True, 12, 11)
    assert [each["id"] for each in answer["sample"]] == ids(*jobs[:10])
    assert [each["job"] for each in answer["results"]] == [None] * 12
    assert [each["refusal"] for each in answer["results"]] == [None] * 11 + [NOT_FOUND]
    assert (store.snapshot(), store.rows(QUEUE)) == (before, queue)


def test_more_jobs_than_the_limit_are_refused_and_a_dry_run_counts_them(api: Api, store: Store) -> None:
    jobs = [store.job(status="pending") for _ in range(3)]
    before = store.snapshot()

    refusal = cancel(api, filter={}, limit=2)
    dry = cancel(api, filter={}, limit=2, dryRun=True)

    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", "limit")
    assert refusal["message"].startswith("These are 3 jobs, more than the limit of 2.")
    assert (dry["matched"], dry["count"], dry["results"]) == (3, 0, [])
    assert [each["id"] for each in dry["sample"]] == ids(*jobs[:2])
    assert store.snapshot() == before
    assert cancel(api, filter={}, limit=3)["count"] == 3


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "jobIds"),
        ({"jobIds": ["job_1"], "filter": {}}, "jobIds"),
        ({"jobIds": []}, "jobIds"),
        ({"filter": {}, "limit": 1001}, "limit"),
        ({"filter": {}, "reason": ""}, "reason"),
    ],
)
def test_an_input_that_cannot_be_carried_out_is_refused(
    api: Api, store: Store, given: dict[str, Any], field: str
) -> None:
    store.job(status="pending")
    before = store.snapshot()
    refusal = cancel(api, **given)
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert store.snapshot() == before


def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, store: Store) -> None:
    error = api.error(CANCEL_JOBS, {"input": {"jobIds": ["batch_1"], "reason": "r"}})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "jobIds")


def test_many_at_once_stop_each_job_once(api: Api, store: Store) -> None:
    jobs = [enqueue(store) for _ in range(10)]
    requests = [{"jobIds": ids(*order), "reason": "r"} for order in (jobs, reversed(jobs))] * 8

    answers = api.at_once(CANCEL_JOBS, [{"input": given} for given in requests])

    assert sum(answer["cancelJobs"]["count"] for answer in answers) == 10
    assert store.rows(QUEUE) == []
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 1


def test_a_job_that_a_worker_is_about_to_start_is_asked_to_stop(api: Api, store: Store, dsn: str) -> None:
    """A worker locks the place in the queue, then the job; in another order they would block each other."""
    job = enqueue(store)
    answer = asked_meanwhile(
        api,
        Store(dsn),
        lock="SELECT job_id FROM runglass.job_queue FOR UPDATE",
        request=(CANCEL_JOBS, {"input": {"jobIds": ids(job), "reason": "r"}}),
        change="UPDATE biz.ai_trigger_jobs SET status = 'running'",
    )["cancelJobs"]
    assert answer["results"][0]["job"]["status"] == "RUNNING"
    assert store.rows(QUEUE) == [{"job_id": job, "cancel_requested": True}]


def test_jobs_of_other_sites_look_as_if_they_did_not_exist(api: Api, store: Store) -> None:
    ours, theirs = (enqueue(store, site_id=site) for site in ("berlin", "tokyo"))
    operator = api.as_key(role="operator", sites=["berlin"])

    answer = cancel(operator, jobIds=ids(theirs, 999, ours))

    assert [each["refusal"] for each in answer["results"]] == [NOT_FOUND, NOT_FOUND, None]
    assert [each["id"] for each in answer["sample"]] == ids(ours)
    assert cancel(operator, filter={"siteId": "tokyo"}, dryRun=True)["matched"] == 0
    assert store.rows(QUEUE) == [{"job_id": theirs, "cancel_requested": False}]


def test_what_was_done_is_audited_for_each_site(api: Api, store: Store) -> None:
    one, two = store.job(status="pending"), store.job(status="pending", site_id="paris")
    cancel(api, jobIds=ids(two, one, 99))
    entries = store.rows("SELECT action, site_id, target_id, after FROM runglass.audit_log ORDER BY site_id")
    assert [tuple(entry.values()) for entry in entries] == [
        ("cancelJobs", site, site, {"reason": "wrong prices", "count": 1, "jobs": [job]})
        for site, job in (("berlin", one), ("paris", two))
    ]


def test_what_changed_nothing_is_not_audited(api: Api, store: Store) -> None:
    store.job()
    assert cancel(api, jobIds=["job_1"])["count"] == 0
    assert cancel(api, filter={})["count"] == 0
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 0


def test_the_first_result_is_given_again(api: Api, store: Store) -> None:
    job = store.job(status="pending")
    given = {"jobIds": ids(job, 99), "idempotencyKey": "k"}
    first = cancel(api, **given)
    assert first["count"] == 1
    assert cancel(api, **given) == first


def test_many_jobs_take_as_many_statements_as_two(api: Api, store: Store) -> None:
    def statements(count: int) -> int:
        for site in (1, 2):
            store.rows(
                "INSERT INTO biz.ai_trigger_jobs (site_id, event_type, status, app_chain)"
                " SELECT 'site', 'e', %s, '{chat}' FROM generate_series(1, %s)",
                (["pending", "running"][site - 1], count // 2),
            )
        store.rows(
            "INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank)"
            " SELECT id, site_id, app_chain, 0 FROM biz.ai_trigger_jobs WHERE finished_at IS NULL"
            " ON CONFLICT DO NOTHING"
        )
        given = {"input": {"filter": {}, "limit": 1000, "reason": "r"}}
        response, used = api.counted(api.post(CANCEL_JOBS, given))
        assert response.json()["data"]["cancelJobs"]["count"] == count
        store.rows("DELETE FROM biz.ai_trigger_jobs")
        return used

    statements(2)
    assert statements(2) == statements(600)
