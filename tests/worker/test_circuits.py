"""The circuit breaker: while an app is away its jobs wait, and when it is back they do not come at once."""

from __future__ import annotations

import threading
from typing import Any

from tests.support.api import Api
from tests.support.store import Store
from tests.support.workers import AppServer, Received, Reply, Workers, answer, ended, enqueue, eventually
from tests.worker.test_apps import run_one
from tests.worker.test_batch_actions import cancel_job

WAITS_FOR = """
query ($id: ID!) {
  triggerJob(id: $id) { status startedAt waitsFor { appType since nextProbeAt until } }
}
"""
OPEN = "SELECT count(*) FROM runglass.app_circuits WHERE opened_until IS NOT NULL"
PROBE_NOW = "UPDATE runglass.app_circuits SET opened_until = now()"


class Outage:
    """An app that is away until `end`, and notes how many calls of it run at once after that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_over = False
        self._running = 0
        self._answered = 0
        # Of every call since the end: how many ran with it, and how many had been answered before.
        self.begun: list[tuple[int, int]] = []

    def end(self) -> None:
        """Have the app back."""
        self._is_over = True

    def __call__(self, _received: Received) -> Reply:
        if not self._is_over:
            return 503, {}, b""
        with self._lock:
            self._running += 1
            self.begun.append((self._running, self._answered))
        threading.Event().wait(0.01)
        with self._lock:
            self._running -= 1
            self._answered += 1
        return answer()


def shown(api: Api, job: int) -> dict[str, Any]:
    """A job, and what it waits for."""
    return api.data(WAITS_FOR, {"id": f"job_{job}"})["triggerJob"]


def open_circuit(store: Store, workers: Workers, apps: AppServer, app: str = "chat") -> None:
    """Have an app fail once, which opens its circuit for long."""
    apps.behave(app, lambda _: (500, {}, b""))
    assert run_one(store, workers, app_chain=[app])[1]["status"] == "failed"
    assert store.value(OPEN) == 1


def test_a_short_outage_burns_no_queue(store: Store, apps: AppServer, workers: Workers) -> None:
    outage = Outage()
    apps.behave("chat", outage)
    workers.register("chat", circuit="{failures = 3, open_seconds = 600}")
    jobs = [enqueue(store, rank=1, site_id=f"site{n % 2}") for n in range(80)]
    workers.start(worker_concurrency=5)
    workers.start(worker_concurrency=5)
    eventually(lambda: store.value(OPEN) == 1, "the circuit opens")
    eventually(
        lambda: store.value("SELECT count(*) FROM runglass.job_queue WHERE engine_id IS NOT NULL") == 0,
        "what had been admitted waits again",
    )
    outage.end()
    store.rows(PROBE_NOW)
    eventually(ended(store, *jobs), "all jobs end")

    ends = store.rows("SELECT status, count(*) AS jobs FROM biz.ai_run_logs GROUP BY status ORDER BY status")
    counts = {row["status"]: row["jobs"] for row in ends}
    # Those that found the app away: as many as ran at once.
    assert set(counts) == {"failed", "success"}
    assert counts["failed"] <= 12
    assert len(apps.calls()) == len(jobs)
    assert outage.begun[0] == (1, 0)
    assert all(running <= 1 + answered for running, answered in outage.begun)
    assert store.value("SELECT count(*) FROM runglass.app_circuits") == 0


def test_a_waiting_job_says_for_what_and_until_when(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.register("chat", "mail", circuit="{failures = 1, open_seconds = 600}")
    open_circuit(store, workers, apps, "mail")
    job = enqueue(store, app_chain=["chat", "mail"])
    free = enqueue(store, app_chain=["chat"])
    eventually(ended(store, free), "the job of another app ends")

    waits = shown(api, job)

    assert (waits["status"], waits["startedAt"]) == ("PENDING", None)
    assert waits["waitsFor"]["appType"] == "mail"
    until, since = store.rows(
        "SELECT queued_at + interval '900 seconds' AS until, queued_at AS since FROM runglass.job_queue"
    )[0].values()
    assert waits["waitsFor"]["until"] == until.isoformat()
    assert waits["waitsFor"]["since"] == since.isoformat()
    assert shown(api, free)["waitsFor"] is None
    assert len(apps.calls("mail")) == 1
    store.rows(PROBE_NOW)
    apps.behave("mail", lambda _: answer())
    eventually(ended(store, job), "the job ends")
    assert shown(api, job)["waitsFor"] is None


def test_a_job_waits_no_longer_than_it_may(store: Store, apps: AppServer, workers: Workers) -> None:
    workers.register("chat", circuit="{failures = 1, open_seconds = 600}")
    workers.start(circuit_wait=1)
    open_circuit(store, workers, apps)
    jobs = [enqueue(store) for _ in range(5)]
    eventually(ended(store, *jobs), "the jobs end")
    rows = store.rows(
        "SELECT run.status, run.created_at - queued.created_at >= interval '1 second' AS waited"
        " FROM biz.ai_run_logs AS run JOIN biz.ai_trigger_jobs AS queued ON queued.id = run.trigger_job_id"
        " WHERE queued.id = ANY(%s)",
        (jobs,),
    )
    assert rows == [{"status": "circuit_open", "waited": True}] * 5
    assert len(apps.calls()) == 1


def test_a_job_that_has_begun_waits_for_its_next_app(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.register("chat", "mail", circuit="{failures = 1, open_seconds = 600}")
    apps.behave("chat", apps.hang)
    workers.start()
    jobs = [enqueue(store, app_chain=["chat", "mail"]) for _ in range(2)]
    apps.wait_for(2, "chat")
    open_circuit(store, workers, apps, "mail")
    apps.release()
    parked = "SELECT count(*) FROM runglass.job_queue WHERE waits_for = 'mail'"
    eventually(lambda: store.value(parked) == 2, "both jobs wait")
    assert [(shown(api, job)["status"], shown(api, job)["waitsFor"]["appType"]) for job in jobs] == [
        ("RUNNING", "mail")
    ] * 2

    cancel_job(api, jobs[0])
    eventually(ended(store, jobs[0]), "the stopped one ends")
    store.rows(PROBE_NOW)
    apps.behave("mail", lambda _: answer())
    eventually(ended(store, jobs[1]), "the other one goes on")

    rows = store.rows("SELECT status, tokens_used FROM biz.ai_trigger_jobs WHERE id = ANY(%s)", (jobs,))
    assert sorted(tuple(row.values()) for row in rows) == [("cancelled", 10), ("success", 20)]
    assert len(apps.calls("chat")) == 2
    assert apps.calls("mail")[-1].body["input"] == "hello"


def test_a_waiting_job_can_be_stopped(api: Api, store: Store, apps: AppServer, workers: Workers) -> None:
    workers.register("chat", circuit="{failures = 1, open_seconds = 600}")
    open_circuit(store, workers, apps)
    job = enqueue(store)
    assert cancel_job(api, job)["status"] == "CANCELLED"
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 0


def test_a_probe_that_the_app_answers_with_a_failure_closes_the_circuit(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.register("chat", circuit="{failures = 1, open_seconds = 600}")
    open_circuit(store, workers, apps)
    jobs = [enqueue(store) for _ in range(5)]
    apps.behave("chat", lambda _: answer(status="failed", error="no"))
    store.rows(PROBE_NOW)
    eventually(ended(store, *jobs), "all jobs end")
    assert len(apps.calls()) == 6


def test_an_open_circuit_is_not_called_by_any_worker(store: Store, apps: AppServer, workers: Workers) -> None:
    workers.register("chat", circuit="{failures = 2, open_seconds = 600}")
    workers.start(circuit_wait=0)
    apps.behave("chat", lambda _: (500, {}, b""))
    for _ in range(2):
        assert run_one(store, workers)[1]["status"] == "failed"
    workers.stop(workers.processes[0])
    workers.start(circuit_wait=0)
    apps.behave("chat", lambda _: answer())

    job, row = run_one(store, workers)

    assert (job["status"], row["status"]) == ("failed", "circuit_open")
    assert row["tokens_used"] is None
    assert len(apps.calls()) == 2


def test_a_circuit_closes_when_a_probe_succeeds(store: Store, apps: AppServer, workers: Workers) -> None:
    workers.register("chat", circuit="{failures = 1, open_seconds = 600}")
    open_circuit(store, workers, apps)
    store.rows(PROBE_NOW)
    apps.behave("chat", lambda _: answer())
    jobs = [enqueue(store) for _ in range(21)]
    eventually(ended(store, *jobs), "all jobs end")
    assert store.value("SELECT count(*) FROM biz.ai_run_logs WHERE status = 'success'") == 21
    circuits = "SELECT count(*) FROM runglass.app_circuits"
    eventually(lambda: store.value(circuits) == 0, "the circuit closes")


def test_a_failure_that_the_app_reports_itself_opens_no_circuit(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.register("chat", circuit="{failures = 1, open_seconds = 600}")
    apps.behave("chat", lambda _: answer(status="failed", error="no"))
    run_one(store, workers)
    assert run_one(store, workers)[1]["status"] == "failed"
    assert len(apps.calls()) == 2
