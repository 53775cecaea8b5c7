"""retryJob: a finished job runs again, once."""

from __future__ import annotations

import pytest

from tests.conftest import Api, Store

RETRY_JOB = """
mutation ($id: ID!) {
  retryJob(input: {jobId: $id}) {
    __typename
    ... on TriggerJob {
      id status isForced attempt eventType memberId siteId connectorType payload appChain retryOf { id }
    }
    ... on Refusal { code message }
  }
}
"""


@pytest.mark.parametrize("status", ["failed", "success", "skipped_duplicate", "cancelled"])
def test_a_finished_job_is_repeated_by_a_new_one(api: Api, store: Store, status: str) -> None:
    job = store.job(status=status, member_id="m1", connector_type="shop", app_chain=["chat", "mail"])

    retry = api.data(RETRY_JOB, {"id": f"job_{job}"})["retryJob"]

    assert retry == {
        "__typename": "TriggerJob",
        "id": f"job_{job + 1}",
        "status": "PENDING",
        "isForced": True,
        "attempt": 2,
        "eventType": "order_created",
        "memberId": "m1",
        "siteId": "berlin",
        "connectorType": "shop",
        "payload": {"order": 1},
        "appChain": ["chat", "mail"],
        "retryOf": {"id": f"job_{job}"},
    }
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", (job,)) == status


@pytest.mark.parametrize("status", ["pending", "running", "paused"])
def test_an_unfinished_job_is_refused(api: Api, store: Store, status: str) -> None:
    job = store.job(status=status)
    before = store.snapshot()

    refusal = api.data(RETRY_JOB, {"id": f"job_{job}"})["retryJob"]

    assert refusal["__typename"] == "Conflict"
    assert store.snapshot() == before


def test_an_absent_job_is_not_found(api: Api, store: Store) -> None:
    before = store.snapshot()
    assert api.data(RETRY_JOB, {"id": "job_999"})["retryJob"] == {
        "__typename": "NotFound",
        "code": "NOT_FOUND",
        "message": "There is no such job.",
    }
    assert store.snapshot() == before


@pytest.mark.parametrize(
    "wrong", ["run_1", "job_", "job_0", "job_x", "42", "", "job_99999999999999999999", "job_٣"]
)
def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, store: Store, wrong: str) -> None:
    before = store.snapshot()
    error = api.error(RETRY_JOB, {"id": wrong})
    assert error["code"] == "BAD_USER_INPUT"
    assert "job_42" in error["message"]
    assert store.snapshot() == before


def test_twenty_clicks_make_one_job(api: Api, store: Store) -> None:
    job = store.job()

    answers = api.at_once(RETRY_JOB, [{"id": f"job_{job}"}] * 20)

    kinds = sorted(answer["retryJob"]["__typename"] for answer in answers)
    assert kinds == ["Conflict"] * 19 + ["TriggerJob"]
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs") == 2


def test_a_retry_that_ended_may_be_followed_by_another(api: Api, store: Store) -> None:
    job = store.job()
    store.job(retry_of_id=job, attempt=2)

    assert api.data(RETRY_JOB, {"id": f"job_{job}"})["retryJob"]["attempt"] == 3


def test_the_change_is_audited(api: Api, store: Store) -> None:
    job = store.job()
    api.data(RETRY_JOB, {"id": f"job_{job}"})
    entry = store.rows("SELECT * FROM runglass.audit_log")[0]
    assert (entry["action"], entry["target_kind"], entry["target_id"]) == ("retryJob", "job", str(job))
    assert entry["after"] == {"retry": job + 1, "attempt": 2}
