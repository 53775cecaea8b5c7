"""A retry from the app that failed calls the rest of the chain, with the answers that were there."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.store import Store
from tests.support.workers import AppServer, Received, Reply, Workers, answer, ended, enqueue, eventually
from tests.worker.test_batch_actions import cancel_job

RETRY = """
mutation ($id: ID!) {
  retryJob(input: {jobId: $id, from: FAILED_APP}) {
    __typename ... on TriggerJob { id chainStart appChain root { id } attempt } ... on Refusal { message }
  }
}
"""
CHAIN = ["chat", "mail", "post"]


def failing(_received: Received) -> Reply:
    """A behaviour: the app says no."""
    return answer(status="failed", error="no")


def resume(api: Api, job: int) -> dict[str, Any]:
    """What a retry from the failed app answers."""
    return api.data(RETRY, {"id": f"job_{job}"})["retryJob"]


def number(job: dict[str, Any]) -> int:
    """The number within a job's id."""
    return int(job["id"].removeprefix("job_"))


def status_of(store: Store, job: int) -> tuple[str, str | None, int]:
    """How a job has ended."""
    (row,) = store.rows("SELECT * FROM biz.ai_trigger_jobs WHERE id = %s", (job,))
    return row["status"], row["error_message"], row["tokens_used"]


@pytest.fixture
def failed(store: Store, apps: AppServer, workers: Workers) -> int:
    """A job that failed at the second of its three apps, and a worker that runs whatever comes."""
    workers.register(*CHAIN, circuit="{failures = 100, open_seconds = 1}")
    apps.behave("chat", lambda _: answer(response="a draft"))
    apps.behave("mail", failing)
    job = enqueue(store, app_chain=CHAIN)
    workers.start()
    eventually(ended(store, job), "the job fails")
    assert status_of(store, job)[:2] == ("failed", "mail: no")
    return job


def test_only_the_rest_of_the_chain_is_called_and_gets_the_former_answer(
    api: Api, store: Store, apps: AppServer, failed: int
) -> None:
    apps.behave("mail", lambda _: answer(response="sent"))
    before = len(apps.calls())

    retry = resume(api, failed)
    job = number(retry)
    eventually(ended(store, job), "the retry ends")

    assert retry == {
        "__typename": "TriggerJob",
        "id": f"job_{job}",
        "chainStart": 1,
        "appChain": CHAIN,
        "root": {"id": f"job_{failed}"},
        "attempt": 2,
    }
    calls = apps.calls()[before:]
    assert [(call.app, call.body["input"]) for call in calls] == [("mail", "a draft"), ("post", "sent")]
    assert len({call.key for call in apps.calls()}) == len(apps.calls())
    assert status_of(store, job) == ("success", None, 20)
    runs = "SELECT app_type FROM biz.ai_run_logs WHERE trigger_job_id = %s ORDER BY id"
    assert [row["app_type"] for row in store.rows(runs, (job,))] == ["mail", "post"]


def test_a_retry_of_a_retry_goes_on_where_that_one_failed(
    api: Api, store: Store, apps: AppServer, failed: int
) -> None:
    again = number(resume(api, failed))
    eventually(ended(store, again), "it fails at the same app")
    apps.behave("mail", lambda _: answer(response="sent"))
    apps.behave("post", failing)
    further = resume(api, again)
    eventually(ended(store, number(further)), "it fails at the next app")
    apps.behave("post", lambda _: answer())

    last = resume(api, number(further))
    eventually(ended(store, number(last)), "it succeeds")

    assert (further["chainStart"], last["chainStart"]) == (1, 2)
    assert {retry["root"]["id"] for retry in (further, last)} == {f"job_{failed}"}
    assert [call.body["input"] for call in apps.calls("mail")] == ["a draft"] * 3
    assert [call.body["input"] for call in apps.calls("post")] == ["sent"] * 2
    assert len(apps.calls("chat")) == 1
    assert status_of(store, number(last)) == ("success", None, 10)
    assert resume(api, number(last))["message"].startswith("Every app of this job has succeeded")


def test_the_retry_of_a_killed_worker_repeats_its_call_with_the_same_key_and_input(
    api: Api, store: Store, apps: AppServer, workers: Workers, failed: int
) -> None:
    apps.behave("mail", apps.hang)
    job = number(resume(api, failed))
    apps.wait_for(2, "mail")
    victim = workers.processes[0]
    victim.kill()
    victim.wait()
    apps.behave("mail", lambda _: answer(response="sent"))

    workers.start()
    eventually(ended(store, job), "another worker ends the job")

    _, first, second = apps.calls("mail")
    assert first.key == second.key
    assert (first.body["input"], second.body["input"]) == ("a draft", "a draft")
    assert [call.body["input"] for call in apps.calls("post")] == ["sent"]
    assert status_of(store, job) == ("success", None, 20)
    assert store.value("SELECT count(*) FROM biz.ai_run_logs WHERE trigger_job_id = %s", (job,)) == 2


def test_a_job_that_was_stopped_goes_on_with_the_app_that_it_did_not_come_to(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    workers.start()
    job = enqueue(store, app_chain=["chat", "mail"])
    apps.wait_for(1)
    assert cancel_job(api, job)["status"] == "RUNNING"
    apps.release()
    eventually(ended(store, job), "it stops")

    retry = number(resume(api, job))
    eventually(ended(store, retry), "the retry ends")

    assert [(call.app, call.body["input"]) for call in apps.calls()] == [("chat", None), ("mail", "hello")]


def test_a_worker_needs_to_know_only_the_apps_that_are_called(
    api: Api, store: Store, apps: AppServer, workers: Workers, failed: int
) -> None:
    workers.stop(workers.processes[0])
    apps.behave("mail", lambda _: answer())
    workers.register("mail", "post")
    workers.start()

    job = number(resume(api, failed))

    eventually(ended(store, job), "the retry ends")
    assert status_of(store, job)[0] == "success"


def test_where_the_former_answer_is_gone_the_retry_fails_and_calls_nothing(
    api: Api, store: Store, apps: AppServer, workers: Workers, failed: int
) -> None:
    workers.stop(workers.processes[0])
    before = len(apps.calls())
    job = number(resume(api, failed))
    store.rows("DELETE FROM biz.ai_run_logs WHERE trigger_job_id = %s", (failed,))

    workers.start()
    eventually(ended(store, job), "the retry ends")

    assert status_of(store, job) == ("failed", "the answer that it was to go on with is no longer there", 0)
    assert len(apps.calls()) == before
