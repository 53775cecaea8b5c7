"""retryJob: a finished job runs again, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.store import Store
from tests.support.workers import eventually

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


def asked_meanwhile(
    api: Api, other: Store, *, lock: str, request: tuple[str, dict[str, Any]], change: str
) -> dict[str, Any]:
    """The data of a request that comes while another transaction holds locks, and then makes a change."""

    async def ask() -> dict[str, Any]:
        with other.connection.transaction():
            other.rows(lock)
            answer = asyncio.ensure_future(api.post(*request))
            await asyncio.to_thread(eventually, lambda: other.value(WAITING) == 1, "the request waits")
            other.rows("SET LOCAL lock_timeout = '5s'")
            other.rows(change)
        return (await answer).json()["data"]

    try:
        return api.runner.run(ask())
    finally:
        other.connection.close()


WAITING = """
SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))
"""
RESUME_JOB = """
mutation ($id: ID!) {
  retryJob(input: {jobId: $id, from: FAILED_APP}) {
    __typename ... on TriggerJob { id chainStart appChain } ... on Refusal { code message }
  }
}
"""


def ran(store: Store, job: int, *statuses: str, **values: Any) -> list[int]:
    """Add the runs of a job whose apps our workers called, in the order of its chain; gives their ids."""
    installation = store.value("SELECT id FROM runglass.installation").hex[:12]
    return [
        store.run(
            trigger_job_id=job, status=status, external_id=f"{installation}-job_{job}-{position}", **values
        )
        for position, status in enumerate(statuses)
    ]


def resume(api: Api, job: int) -> dict[str, Any]:
    return api.data(RESUME_JOB, {"id": f"job_{job}"})["retryJob"]


@pytest.mark.parametrize("status", ["failed", "timeout", "circuit_open", "running"])
def test_a_retry_begins_with_the_app_that_failed(api: Api, store: Store, status: str) -> None:
    job = store.job(app_chain=["chat", "mail", "post"])
    chat, _ = ran(store, job, "success", status)

    retry = resume(api, job)

    assert retry == {
        "__typename": "TriggerJob",
        "id": f"job_{job + 1}",
        "chainStart": 1,
        "appChain": ["chat", "mail", "post"],
    }
    (row,) = store.rows("SELECT * FROM biz.ai_trigger_jobs WHERE id = %s", (job + 1,))
    assert row["input_run_id"] == chat
    assert row["reserved_tokens"] == {"mail": 2000.0, "post": 2000.0}
    assert store.value("SELECT app_types FROM runglass.job_queue") == ["mail", "post"]
    after = store.value("SELECT after FROM runglass.audit_log")
    assert after == {"retry": job + 1, "attempt": 2, "chainStart": 1}


def test_an_app_that_the_chain_names_twice_is_told_apart_by_its_place(api: Api, store: Store) -> None:
    job = store.job(app_chain=["chat", "mail", "chat"])
    _, mail, _ = ran(store, job, "success", "success", "failed")

    assert resume(api, job)["chainStart"] == 2
    assert store.value("SELECT input_run_id FROM biz.ai_trigger_jobs WHERE id = %s", (job + 1,)) == mail


def test_a_retry_that_did_not_come_to_an_app_begins_where_it_would_have(api: Api, store: Store) -> None:
    run = store.run()
    job = store.job(app_chain=["chat", "mail"], status="cancelled", chain_start=1, input_run_id=run)

    assert resume(api, job)["chainStart"] == 1
    assert store.value("SELECT input_run_id FROM biz.ai_trigger_jobs WHERE id = %s", (job + 1,)) == run


def test_a_retry_from_the_start_of_a_retry_from_the_middle_does_all_again(api: Api, store: Store) -> None:
    job = store.job(app_chain=["chat", "mail"], chain_start=1, input_run_id=store.run())

    api.data(RETRY_JOB, {"id": f"job_{job}"})

    (row,) = store.rows("SELECT * FROM biz.ai_trigger_jobs WHERE id = %s", (job + 1,))
    assert (row["chain_start"], row["input_run_id"]) == (None, None)
    assert store.value("SELECT app_types FROM runglass.job_queue") == ["chat", "mail"]


def test_the_first_app_may_be_the_one_that_failed(api: Api, store: Store) -> None:
    job = store.job(app_chain=["chat", "mail"])
    ran(store, job, "failed")
    assert resume(api, job)["chainStart"] == 0


def _no_runs(store: Store) -> int:
    return store.job()


def _runs_of_others(store: Store) -> int:
    """As an outside dispatcher may write them: nothing says which place of the chain they are of."""
    job = store.job(app_chain=["chat", "mail"])
    store.run(trigger_job_id=job, external_id="theirs-1")
    store.run(trigger_job_id=job, external_id="theirs-2", status="failed")
    return job


def _all_succeeded(store: Store) -> int:
    job = store.job(status="failed", app_chain=["chat"])
    ran(store, job, "success")
    return job


def _success(store: Store) -> int:
    return store.job(status="success", app_chain=["chat", "mail"])


def _no_apps(store: Store) -> int:
    return store.job(app_chain=None)


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_no_runs, "It is not known which app of this job failed; retry it from START."),
        (_runs_of_others, "It is not known which app of this job failed; retry it from START."),
        (_no_apps, "It is not known which app of this job failed; retry it from START."),
        (_all_succeeded, "Every app of this job has succeeded; retry it from START."),
        (_success, "Every app of this job has succeeded; retry it from START."),
    ],
)
def test_where_no_app_is_known_to_have_failed_it_is_refused(
    api: Api, store: Store, prepare: Callable[[Store], int], message: str
) -> None:
    job = prepare(store)
    before = store.snapshot()
    assert resume(api, job) == {"__typename": "Conflict", "code": "CONFLICT", "message": message}
    assert store.snapshot() == before
    assert api.data(RETRY_JOB, {"id": f"job_{job}"})["retryJob"]["__typename"] == "TriggerJob"


def test_the_runs_of_another_sites_job_say_nothing(api: Api, store: Store) -> None:
    """A run of tokyo that names a job of berlin, as nothing but a fault would make it."""
    job = store.job(app_chain=["chat", "mail"])
    ran(store, job, "success", "failed")
    store.rows("UPDATE biz.ai_run_logs SET site_id = 'tokyo'")
    berlin = api.as_key(role="operator", sites=["berlin"])
    assert resume(berlin, job)["code"] == "CONFLICT"


def test_a_retry_waits_for_who_retries_the_batch_of_the_job(api: Api, store: Store, dsn: str) -> None:
    """retryBatch locks the batch and not its jobs; between the two no job gets two retries."""
    batch = store.add(
        "runglass.batches",
        site_id="berlin",
        app_types=["chat"],
        member_ids=["m1"],
        status="completed_with_failures",
        estimated_calls=1,
        estimated_tokens=1,
        app_estimates="[]",
        created_by="ann",
        expires_at=datetime.now(UTC),
    )
    job = store.job(batch_id=batch)
    answer = asked_meanwhile(
        api,
        Store(dsn),
        lock="SELECT id FROM runglass.batches FOR UPDATE",
        request=(RETRY_JOB, {"id": f"job_{job}"}),
        change=f"INSERT INTO biz.ai_trigger_jobs (site_id, event_type, status, retry_of_id)"
        f" VALUES ('berlin', 'e', 'pending', {job})",
    )["retryJob"]
    assert answer["message"] == "A retry of this job is still waiting or running."
