"""failJobs: an admin ends jobs that nobody else ends, and what they had reserved is free."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb

from tests.support.api import Api, Client
from tests.support.store import Store
from tests.support.workers import enqueue

FAIL_JOBS = """
mutation ($input: FailJobsInput!) {
  failJobs(input: $input) {
    __typename
    ... on FailedJobs {
      dryRun matched count sample { id }
      results { jobId job { id status errorMessage } refusal { __typename message } }
    }
    ... on Refusal { code message }
    ... on InvalidInput { field }
  }
}
"""
REASON = "its dispatcher is gone"
RESERVED = """
query ($site: ID) { budgets(siteId: $site) { edges { node { status { reserved } } } } }
"""


def fail(client: Client, **given: Any) -> dict[str, Any]:
    return client.data(FAIL_JOBS, {"input": {"reason": REASON, **given}})["failJobs"]


def ids(*jobs: int) -> list[str]:
    return [f"job_{job}" for job in jobs]


def test_a_job_of_a_dispatcher_that_is_gone_ends_with_its_calls_and_its_reservation(
    api: Api, store: Store
) -> None:
    store.rows(
        "INSERT INTO runglass.budgets (site_id, period, hard_limit, time_zone, created_by, updated_by)"
        " VALUES ('berlin', 'daily', 1000, 'UTC', 'tests', 'tests')"
    )
    job = store.job(status="running", reserved_tokens=Jsonb({"chat": 700}), app_chain=["chat", "mail"])
    done = store.run(trigger_job_id=job, status="success", tokens_used=40)
    open_ = store.run(trigger_job_id=job, status="running", tokens_used=0)
    other = store.run(status="running")

    def reserved() -> int:
        return api.data(RESERVED)["budgets"]["edges"][0]["node"]["status"]["reserved"]

    assert reserved() == 700
    answer = fail(api, jobIds=ids(job))

    said = f"failed by tests: {REASON}"
    shown = {"id": f"job_{job}", "status": "FAILED", "errorMessage": said}
    assert answer["results"] == [{"jobId": f"job_{job}", "job": shown, "refusal": None}]
    assert reserved() == 0
    (row,) = store.rows("SELECT tokens_used, finished_at FROM biz.ai_trigger_jobs")
    assert row["tokens_used"] == 40
    assert row["finished_at"] is not None
    runs = {row["id"]: row for row in store.rows("SELECT * FROM biz.ai_run_logs")}
    assert [runs[run]["status"] for run in (done, open_, other)] == ["success", "failed", "running"]
    assert (runs[open_]["error_message"], runs[done]["error_message"]) == (said, None)
    (entry,) = store.rows("SELECT action, site_id, after FROM runglass.audit_log")
    assert tuple(entry.values()) == ("failJobs", "berlin", {"reason": REASON, "count": 1, "jobs": [job]})


def test_each_job_gets_its_result(api: Api, store: Store) -> None:
    queued = enqueue(store)
    foreign = store.job(status="running")
    unknown = store.job(status="paused")
    finished = [
        store.job(status=status) for status in ("success", "failed", "cancelled", "skipped_duplicate")
    ]

    answer = fail(api, jobIds=ids(queued, 999, foreign, unknown, *finished))

    assert (answer["matched"], answer["count"]) == (8, 3)
    failed = [each["jobId"] for each in answer["results"] if each["job"]]
    assert failed == ids(queued, foreign, unknown)
    refusals = [each["refusal"]["message"] for each in answer["results"] if each["refusal"]]
    assert refusals[:2] == ["There is no such job.", "This job has ended already; it is success."]
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 0


def test_a_filter_means_jobs_that_wait_or_run(api: Api, store: Store) -> None:
    for status in ("success", "failed", "cancelled", "paused"):
        store.job(status=status)
    jobs = [store.job(status=status) for status in ("pending", "running")]
    store.job(status="running", site_id="paris")
    assert [each["jobId"] for each in fail(api, filter={"siteId": "berlin"})["results"]] == ids(*jobs)


def test_a_dry_run_and_a_limit_change_nothing(api: Api, store: Store) -> None:
    jobs = [store.job(status="running") for _ in range(3)]
    before = store.snapshot()
    dry = fail(api, filter={}, dryRun=True)
    assert (dry["dryRun"], dry["matched"], dry["count"]) == (True, 3, 3)
    assert [each["id"] for each in dry["sample"]] == ids(*jobs)
    assert fail(api, filter={}, limit=2)["field"] == "limit"
    assert fail(api, jobIds=ids(*jobs), reason=" ")["field"] == "reason"
    assert store.snapshot() == before


def test_only_an_admin_ends_the_jobs_of_others_and_only_of_its_sites(api: Api, store: Store) -> None:
    ours, theirs = (store.job(status="running", site_id=site) for site in ("berlin", "tokyo"))
    operator = api.as_key(role="operator")
    before = store.snapshot()
    given = {"input": {"jobIds": ids(ours), "reason": "r"}}
    assert operator.error(FAIL_JOBS, given)["code"] == "FORBIDDEN"
    assert store.snapshot() == before
    answer = fail(api.as_key(role="admin", sites=["berlin"]), jobIds=ids(theirs, ours))
    assert [each["refusal"] and each["refusal"]["__typename"] for each in answer["results"]] == [
        "NotFound",
        None,
    ]
