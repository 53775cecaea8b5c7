"""However a job ends: no run of it is left running, what it used is counted, and nothing is left reserved."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from tests.api.mutations.test_fail_jobs import fail
from tests.support.api import Api
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, answer, ended, enqueue, eventually
from tests.worker.test_batch_actions import cancel_job
from tests.worker.test_running import retry

RESERVED = """
SELECT count(*) FROM biz.ai_trigger_jobs
WHERE reserved_tokens IS NOT NULL AND status IN ('pending', 'running')
"""


CANCEL_SOME = """
mutation ($ids: [ID!]) {
  cancelJobs(input: {jobIds: $ids, reason: "a test"}) {
    ... on CancelledJobs { results { jobId job { status } } }
  }
}
"""


def end_of(store: Store, job: int) -> tuple[str, int | None, list[str]]:
    """How a job has ended, what it used, and the statuses of its runs."""
    (row,) = store.rows("SELECT status, tokens_used FROM biz.ai_trigger_jobs WHERE id = %s", (job,))
    runs = store.rows("SELECT status FROM biz.ai_run_logs WHERE trigger_job_id = %s ORDER BY id", (job,))
    assert store.value("SELECT count(*) FROM runglass.job_queue WHERE job_id = %s", (job,)) == 0
    assert store.value(RESERVED) == 0
    return row["status"], row["tokens_used"], [run["status"] for run in runs]


def test_a_job_that_is_stopped_while_its_worker_is_dead_gets_its_answer_first(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("mail", apps.hang)
    workers.register("chat", "mail", "post")
    victim = workers.start()
    job = retry(api, store.job(app_chain=["chat", "mail", "post"]))
    apps.wait_for(1, "mail")
    victim.kill()
    victim.wait()
    assert cancel_job(api, job)["status"] == "RUNNING"
    apps.behave("mail", lambda _: answer())

    workers.start()
    eventually(ended(store, job), "another worker ends the job")

    assert end_of(store, job) == ("cancelled", 20, ["success", "success"])
    first, second = apps.calls("mail")
    assert first.key == second.key
    assert len(apps.calls("chat")) == 1
    assert apps.calls("post") == []


def test_a_job_whose_answer_cannot_be_kept_fails_with_its_run(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    store.rows("ALTER TABLE biz.ai_run_logs ADD CHECK (model <> 'too long')")
    apps.behave("mail", lambda _: answer(model="too long"))
    job = retry(api, store.job(app_chain=["chat", "mail"]))

    workers.start()
    eventually(ended(store, job), "the job ends")

    assert end_of(store, job) == ("failed", 10, ["success", "failed"])
    error = (
        "it could not be run: the constraint ai_run_logs_model_check of biz.ai_run_logs does not take"
        " this value for model"
    )
    assert store.value("SELECT error_message FROM biz.ai_trigger_jobs WHERE id = %s", (job,)) == error
    assert store.value("SELECT error_message FROM biz.ai_run_logs WHERE status = 'failed'") == error


def test_jobs_that_are_stopped_while_two_workers_start_them_end_once_each(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.start()
    workers.start()
    jobs = [enqueue(store, app_chain=["chat", "mail"]) for _ in range(80)]
    outcomes: dict[str, str] = {}
    while not ended(store, *jobs)():
        stopped = api.data(CANCEL_SOME, {"ids": [f"job_{job}" for job in jobs if job % 2]})["cancelJobs"]
        outcomes |= {one["jobId"]: one["job"]["status"] for one in stopped["results"] if one["job"]}

    ends = {job: end_of(store, job) for job in jobs}
    called = {job: [call.app for call in apps.calls() if call.body["job"] == f"job_{job}"] for job in jobs}
    assert all(ends[job] == ("success", 20, ["success"] * 2) for job in jobs if not job % 2)
    for job, (status, tokens, runs) in ends.items():
        assert runs == ["success"] * len(called[job])
        assert (tokens or 0) == 10 * len(runs)
        assert status == ("success" if len(runs) == 2 else "cancelled")
        assert outcomes.get(f"job_{job}") != "CANCELLED" or status == "cancelled"
    assert {status for status, _, _ in ends.values()} == {"success", "cancelled"}


def test_a_worker_writes_nothing_of_a_job_that_was_failed(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    workers.start(worker_lease=1)
    job = enqueue(store, app_chain=["chat", "mail"])
    apps.wait_for(1)
    fail(api, jobIds=[f"job_{job}"])
    before = store.snapshot()
    apps.behave("chat", lambda _: answer())
    apps.release()
    eventually(lambda: "taken over" in workers.log(), "the worker notices")
    other = enqueue(store)
    eventually(ended(store, other), "the worker goes on with others")

    snapshot = store.snapshot()
    for table, rows in before.items():
        assert all(row in snapshot[table] for row in rows)
    left = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status = 'doing'"
    eventually(lambda: store.value(left) == 0, "the engine forgets it")
    assert apps.calls("mail") == []


def test_a_job_that_starts_at_last_reserves_again(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    job = enqueue(store, reserved_tokens=Jsonb({"chat": 5}))
    store.rows("UPDATE biz.ai_trigger_jobs SET reservation_released_at = now()")
    workers.start()
    apps.wait_for(1)
    assert (
        store.value("SELECT reservation_released_at FROM biz.ai_trigger_jobs WHERE id = %s", (job,)) is None
    )
