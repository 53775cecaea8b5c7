"""retryJobs: many jobs run again in one transaction, each with a result of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.mutations.test_retry_job import RETRY_JOB, ran
from tests.api.mutations.test_set_budget import set_budget
from tests.support.api import Api, Client
from tests.support.store import Store

RETRY_JOBS = """
mutation ($input: RetryJobsInput!) {
  retryJobs(input: $input) {
    __typename
    ... on RetriedJobs {
      dryRun matched count sample { id }
      results {
        jobId
        job { id status isForced attempt chainStart retryOf { id } }
        refusal { __typename code message }
      }
      budgetVerdict { state budgets { budgetId reserved requested } }
    }
    ... on Refusal { code message }
    ... on InvalidInput { field }
    ... on BudgetExceeded { requested reserved limit budgetSiteId }
  }
}
"""
JOBS = "SELECT count(*) FROM biz.ai_trigger_jobs"
NOT_FOUND = {"__typename": "NotFound", "code": "NOT_FOUND", "message": "There is no such job."}
RUNNING = {"__typename": "Conflict", "code": "CONFLICT"}


def retry(client: Client, **given: Any) -> dict[str, Any]:
    return client.data(RETRY_JOBS, {"input": {"reason": "the app was down", **given}})["retryJobs"]


def ids(*jobs: int) -> list[str]:
    return [f"job_{job}" for job in jobs]


def refusals(answer: dict[str, Any]) -> dict[str, str | None]:
    """The message of each refusal, by job."""
    return {each["jobId"]: (each["refusal"] or {}).get("message") for each in answer["results"]}


def verdict(answer: dict[str, Any], budget: dict[str, Any]) -> dict[str, Any]:
    return next(each for each in answer["budgetVerdict"]["budgets"] if each["budgetId"] == budget["id"])


def test_each_job_gets_its_result_in_the_order_asked(api: Api, store: Store) -> None:
    first, running, second, retried = store.job(), store.job(status="running"), store.job(), store.job()
    waiting = store.job(retry_of_id=retried, status="pending")

    answer = retry(api, jobIds=ids(second, 999, running, first, retried, second))

    new = waiting + 1
    assert (answer["__typename"], answer["dryRun"]) == ("RetriedJobs", False)
    assert (answer["matched"], answer["count"]) == (5, 2)
    assert [each["jobId"] for each in answer["results"]] == ids(second, 999, running, first, retried)
    made = {"status": "PENDING", "isForced": True, "attempt": 2, "chainStart": 0}
    assert answer["results"][0]["job"] == {"id": f"job_{new}", "retryOf": {"id": f"job_{second}"}, **made}
    assert answer["results"][3]["job"] == {"id": f"job_{new + 1}", "retryOf": {"id": f"job_{first}"}, **made}
    assert answer["results"][1] == {"jobId": "job_999", "job": None, "refusal": NOT_FOUND}
    assert refusals(answer) == {
        f"job_{second}": None,
        "job_999": "There is no such job.",
        f"job_{running}": "Only a finished job can be retried; this one is running.",
        f"job_{first}": None,
        f"job_{retried}": "A retry of this job is still waiting or running.",
    }
    assert store.value(JOBS) == 7
    queued = store.rows("SELECT job_id, app_types, rank FROM runglass.job_queue ORDER BY job_id")
    assert queued == [{"job_id": job, "app_types": ["chat"], "rank": 0} for job in (new, new + 1)]


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(api: Api, store: Store) -> None:
    budget = set_budget(api, hardLimit=5_000)
    jobs = [store.job() for _ in range(12)]
    running = store.job(status="running")
    before = store.snapshot()

    answer = retry(api, jobIds=ids(running, *jobs), dryRun=True)

    assert (answer["dryRun"], answer["matched"], answer["count"]) == (True, 13, 12)
    assert [each["id"] for each in answer["sample"]] == ids(running, *jobs[:9])
    assert [each["job"] for each in answer["results"]] == [None] * 13
    assert [bool(each["refusal"]) for each in answer["results"]] == [True] + [False] * 12
    assert answer["budgetVerdict"]["state"] == "EXCEEDED"
    status = {"budgetId": budget["id"], "reserved": 0, "requested": 24_000}
    assert verdict(answer, budget) == status
    assert store.snapshot() == before
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 0


def test_a_dry_run_waits_for_nobody(api: Api, store: Store) -> None:
    job = store.job()
    with store.connection.transaction():
        store.rows("SELECT id FROM biz.ai_trigger_jobs FOR UPDATE")
        assert retry(api, jobIds=ids(job), dryRun=True)["count"] == 1


def test_more_jobs_than_the_limit_are_refused_and_a_dry_run_counts_them(api: Api, store: Store) -> None:
    jobs = [store.job() for _ in range(12)]
    before = store.snapshot()

    refusal = retry(api, filter={}, limit=11)
    by_id = retry(api, jobIds=ids(*jobs), limit=11)
    dry = retry(api, filter={}, limit=11, dryRun=True)

    assert refusal == by_id
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", "limit")
    assert refusal["message"].startswith("These are 12 jobs, more than the limit of 11. Nothing was changed;")
    assert (dry["matched"], dry["count"], dry["results"], dry["budgetVerdict"]) == (12, 0, [], None)
    assert [each["id"] for each in dry["sample"]] == ids(*jobs[:10])
    assert store.snapshot() == before
    assert retry(api, filter={}, limit=12)["count"] == 12


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "jobIds"),
        ({"jobIds": ["job_1"], "filter": {}}, "jobIds"),
        ({"jobIds": []}, "jobIds"),
        ({"jobIds": ["job_1"], "limit": 0}, "limit"),
        ({"filter": {}, "limit": 1001}, "limit"),
        ({"filter": {}, "limit": -1}, "limit"),
        ({"jobIds": ["job_1"], "reason": " "}, "reason"),
        ({"jobIds": ["job_1"], "reason": "x" * 501}, "reason"),
        ({"jobIds": ["job_1"], "reason": "a\0"}, "reason"),
    ],
)
def test_an_input_that_cannot_be_carried_out_is_refused(
    api: Api, store: Store, given: dict[str, Any], field: str
) -> None:
    store.job()
    before = store.snapshot()
    refusal = retry(api, **given)
    assert (refusal["__typename"], refusal["code"], refusal["field"]) == (
        "InvalidInput",
        "INVALID_INPUT",
        field,
    )
    assert store.snapshot() == before


@pytest.mark.parametrize("wrong", ["run_1", "job_0", "", "42"])
def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, store: Store, wrong: str) -> None:
    job = store.job()
    before = store.snapshot()
    given = {"jobIds": [f"job_{job}", wrong], "reason": "r"}
    error = api.error(RETRY_JOBS, {"input": given})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "jobIds")
    assert store.snapshot() == before


def test_jobs_go_on_with_the_app_that_failed(api: Api, store: Store) -> None:
    budget = set_budget(api, hardLimit=100_000)
    chain = ["chat", "mail", "post"]
    at_mail, at_post, unknown = (store.job(app_chain=chain) for _ in range(3))
    chat, _ = ran(store, at_mail, "success", "failed")
    _, mail, _ = ran(store, at_post, "success", "success", "timeout")

    dry = retry(api, jobIds=ids(at_mail, at_post, unknown), **{"from": "FAILED_APP"}, dryRun=True)
    answer = retry(api, jobIds=ids(at_mail, at_post, unknown), **{"from": "FAILED_APP"})

    assert verdict(dry, budget)["requested"] == 6_000
    assert verdict(answer, budget) == {"budgetId": budget["id"], "reserved": 6_000, "requested": 0}
    assert answer["count"] == 2
    assert refusals(answer)[f"job_{unknown}"] == (
        "It is not known which app of this job failed; retry it from START."
    )
    rows = store.rows(
        "SELECT chain_start, input_run_id FROM biz.ai_trigger_jobs WHERE retry_of_id > 0 ORDER BY id"
    )
    assert [tuple(row.values()) for row in rows] == [(1, chat), (2, mail)]
    queued = store.rows("SELECT app_types FROM runglass.job_queue ORDER BY job_id")
    assert [row["app_types"] for row in queued] == [["mail", "post"], ["post"]]


def test_the_budgets_allow_all_of_them_or_none(api: Api, store: Store) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=29)
    for site, tokens in (("berlin", 100), ("paris", 10)):
        store.run(site_id=site, tokens_used=tokens, created_at=long_ago)
    everywhere = set_budget(api, siteId=None, hardLimit=319)
    berlin = set_budget(api, siteId="berlin", hardLimit=299)
    # Nothing of these is started.
    for spent in ({"siteId": "rome"}, {"siteId": "paris", "appType": "mail"}):
        set_budget(api, hardLimit=0, **spent)
    jobs = [store.job() for _ in range(3)] + [store.job(site_id="paris") for _ in range(2)]
    before = store.snapshot()

    dry = retry(api, jobIds=ids(*jobs), dryRun=True)
    refusal = retry(api, jobIds=ids(*jobs))

    assert verdict(dry, everywhere)["requested"] == 320
    assert verdict(dry, berlin)["requested"] == 300
    assert dry["budgetVerdict"]["state"] == "EXCEEDED"
    assert (refusal["__typename"], refusal["requested"], refusal["limit"]) == ("BudgetExceeded", 320, 319)
    assert store.snapshot() == before

    set_budget(api, siteId=None, hardLimit=320)
    refusal = retry(api, jobIds=ids(*jobs))
    assert (refusal["requested"], refusal["limit"], refusal["budgetSiteId"]) == (300, 299, "berlin")
    set_budget(api, siteId="berlin", hardLimit=300)
    done = retry(api, jobIds=ids(*jobs))
    assert done["count"] == 5
    assert verdict(done, everywhere) == {"budgetId": everywhere["id"], "reserved": 320, "requested": 0}


def test_a_budget_of_an_app_that_is_started_at_another_site_only_refuses_nothing(
    api: Api, store: Store
) -> None:
    """It is locked with the others, for its site and its app are both among what is started."""
    store.run(site_id="paris", app_type="mail", tokens_used=50)
    set_budget(api, siteId="paris", appType="mail", hardLimit=10)
    jobs = store.job(app_chain=["mail"]), store.job(site_id="paris")
    assert retry(api, jobIds=ids(*jobs))["count"] == 2


def test_nothing_to_retry_asks_no_budget(api: Api, store: Store) -> None:
    store.run(tokens_used=50)
    set_budget(api, siteId=None, hardLimit=10)
    assert retry(api, filter={"status": ["FAILED"]})["count"] == 0


def test_an_admin_overrides_with_a_reason_and_an_operator_may_not(api: Api, store: Store) -> None:
    budget = set_budget(api, hardLimit=0)
    job = store.job()
    override = {"override": {"reason": "urgent"}}
    operator = api.as_key(role="operator")
    given = {"jobIds": ids(job), "reason": "r", **override}
    assert operator.error(RETRY_JOBS, {"input": given})["code"] == "FORBIDDEN"
    assert retry(operator, jobIds=ids(job))["__typename"] == "BudgetExceeded"

    assert retry(api, jobIds=ids(job), **override)["count"] == 1
    after = store.value("SELECT after FROM runglass.audit_log WHERE action = 'retryJobs'")
    assert (after["override"], after["exceededBudgets"]) == ("urgent", [int(budget["id"][7:])])


def test_many_at_once_make_one_retry_of_each_job(api: Api, store: Store) -> None:
    jobs = [store.job() for _ in range(10)]
    requests = [{"jobIds": ids(*order), "reason": "r"} for order in (jobs, reversed(jobs))] * 5
    requests += [{"filter": {}, "reason": "r"}] * 5

    answers = api.at_once(RETRY_JOBS, [{"input": given} for given in requests])

    assert sum(answer["retryJobs"]["count"] for answer in answers) == 10
    made = store.rows("SELECT retry_of_id FROM biz.ai_trigger_jobs WHERE retry_of_id IS NOT NULL")
    assert sorted(row["retry_of_id"] for row in made) == jobs


def test_one_of_them_retried_alone_at_the_same_time_is_retried_once(api: Api, store: Store) -> None:
    jobs = [store.job() for _ in range(5)]
    both = """
    mutation ($input: RetryJobsInput!, $id: ID!) {
      one: retryJob(input: {jobId: $id}) { __typename }
      many: retryJobs(input: $input) { ... on RetriedJobs { count } }
    }
    """
    given = {"input": {"jobIds": ids(*jobs), "reason": "r"}, "id": f"job_{jobs[2]}"}
    answers = api.at_once(both, [given] * 4)
    alone = sum(answer["one"]["__typename"] == "TriggerJob" for answer in answers)
    assert alone + sum(answer["many"]["count"] for answer in answers) == 5
    assert store.value(JOBS) == 10


def test_jobs_of_other_sites_look_as_if_they_did_not_exist(api: Api, store: Store) -> None:
    ours, theirs = store.job(), store.job(site_id="tokyo")
    operator = api.as_key(role="operator", sites=["berlin"])

    answer = retry(operator, jobIds=ids(theirs, ours, 999))

    assert [each["refusal"] for each in answer["results"]] == [NOT_FOUND, None, NOT_FOUND]
    assert [each["id"] for each in answer["sample"]] == ids(ours)
    assert retry(operator, filter={"siteId": "tokyo"})["matched"] == 0
    assert retry(operator, filter={}, dryRun=True)["matched"] == 0
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs WHERE site_id = 'tokyo'") == 1


@pytest.mark.parametrize("given", [{"jobIds": ["job_1"]}, {"filter": {}}])
def test_a_job_of_another_site_that_calls_itself_a_retry_stands_in_no_way(
    api: Api, store: Store, given: dict[str, Any]
) -> None:
    """As nothing but a fault or an attack would make it."""
    store.job()
    store.job(site_id="tokyo", retry_of_id=1, attempt=40, status="pending")
    answer = retry(api.as_key(role="operator", sites=["berlin"]), **given)
    assert (answer["count"], answer["results"][0]["job"]["attempt"]) == (1, 2)


def test_what_was_done_is_audited_for_each_site(api: Api, store: Store) -> None:
    one, two = store.job(), store.job()
    other = store.job(site_id="paris")
    retry(api, filter={"eventType": "order_created", "createdAt": {"from": "2026-01-01T00:00:00Z"}})
    entries = store.rows("SELECT * FROM runglass.audit_log ORDER BY id")
    assert [
        (entry["action"], entry["target_kind"], entry["target_id"], entry["site_id"]) for entry in entries
    ] == [("retryJobs", "site", site, site) for site in ("berlin", "paris")]
    assert entries[0]["after"] == {
        "reason": "the app was down",
        "filter": {
            "eventType": "order_created",
            "status": ["failed", "cancelled"],
            "createdFrom": "2026-01-01T00:00:00+00:00",
        },
        "from": "start",
        "count": 2,
        "jobs": [one, two],
    }
    assert (entries[1]["after"]["count"], entries[1]["after"]["jobs"]) == (1, [other])


def test_what_changed_nothing_is_not_audited(api: Api, store: Store) -> None:
    store.job(status="running")
    retry(api, jobIds=["job_1", "job_99"])
    retry(api, filter={}, dryRun=True)
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 0


def test_the_first_result_is_given_again_as_it_was(api: Api, store: Store) -> None:
    job, running = store.job(), store.job(status="running")
    set_budget(api, hardLimit=100_000)
    for given in ({"dryRun": True, "idempotencyKey": "dry"}, {"idempotencyKey": "real"}):
        first = retry(api, jobIds=ids(job, running, 99), **given)
        store.rows("UPDATE biz.ai_trigger_jobs SET status = 'failed' WHERE id = %s", (running,))
        assert retry(api, jobIds=ids(job, running, 99), **given) == first
        store.rows("UPDATE biz.ai_trigger_jobs SET status = 'running' WHERE id = %s", (running,))
    assert store.value(JOBS) == 3
    changed = retry(api, jobIds=ids(job), idempotencyKey="real")
    assert (changed["__typename"], changed["code"]) == ("Conflict", "CONFLICT")


def test_many_jobs_take_as_many_statements_as_twenty(api: Api, store: Store) -> None:
    for count in (20, 600):
        store.rows(
            "INSERT INTO biz.ai_trigger_jobs (site_id, event_type, status, app_chain)"
            " SELECT 'berlin', %s, 'failed', '{chat}' FROM generate_series(1, %s)",
            (f"event{count}", count),
        )
    api.data(RETRY_JOB, {"id": "job_1"})

    def statements(count: int) -> int:
        given = {"filter": {"eventType": f"event{count}"}, "limit": 1000, "reason": "r"}
        response, used = api.counted(api.post(RETRY_JOBS, {"input": given}))
        assert response.json()["data"]["retryJobs"]["count"] == count - (count == 20)
        return used

    # Jobs are loaded a thousand at a time.
    assert statements(20) == statements(600)
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 620
