"""A job that nobody moves is taken from whoever has it, also from a worker that lives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path
from threading import Event

from bench import restarts
from db.migrations.runner import apply_migrations
from tests.support.store import Store
from tests.support.workers import AppServer, Received, Reply, Workers, answer, ended, enqueue, eventually

OUTLIVED = "UPDATE runglass.job_queue SET lease_until = now()"
ENGINE_JOBS = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE task_name = 'run_job'"
SESSIONS = """
SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'runglass%' AND state = 'idle'"""
DOING = "SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE status = 'doing'"


class FirstHangs:
    """An app whose first call gets its answer when `release` is set, after every other."""

    def __init__(self, release: Event) -> None:
        self._release = release
        self._keys: set[str] = set()

    def __call__(self, received: Received) -> Reply:
        if received.key in self._keys:
            return answer(response="by the second", tokens=7)
        self._keys.add(received.key)
        self._release.wait()
        return answer(response="by the first")


def test_a_job_that_a_living_worker_does_not_move_is_taken_from_it(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    release = Event()
    apps.behave("chat", FirstHangs(release))
    workers.start(worker_lease=1)
    job = enqueue(store)
    apps.wait_for(1)
    store.rows(OUTLIVED)
    eventually(ended(store, job), "another execution ends it")
    before = store.rows("SELECT * FROM biz.ai_run_logs")
    release.set()
    eventually(lambda: "taken over" in workers.log(), "the first execution notices")

    assert before == store.rows("SELECT * FROM biz.ai_run_logs")
    assert [(row["status"], row["response_text"]) for row in before] == [("success", "by the second")]
    assert len({call.key for call in apps.calls()}) == 1


def test_the_lease_of_a_call_is_as_long_as_its_app_may_take(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.register("chat", "mail", timeout_seconds=40, retries="{max = 1}")
    apps.behave("mail", apps.hang)
    workers.start(worker_lease=10, job_time_limit=50)
    enqueue(store, app_chain=["chat", "mail"])
    apps.wait_for(1, "mail")
    # What the app may take is 80 s, but the job no more than 50, and 10 are for all else.
    left = store.value("SELECT extract(epoch FROM lease_until - now()) FROM runglass.job_queue")
    assert 20 < left <= 60


def test_a_job_has_a_time_limit_of_its_own(store: Store, apps: AppServer, workers: Workers) -> None:
    apps.behave("mail", apps.hang)
    workers.start(job_time_limit=1)
    job = enqueue(store, app_chain=["chat", "mail", "chat"])
    eventually(ended(store, job), "the job ends")
    runs = store.rows("SELECT status, error_message FROM biz.ai_run_logs ORDER BY id")
    assert [run["status"] for run in runs] == ["success", "timeout"]
    assert (said := re.fullmatch(r"no answer within ([0-9.]+) s", runs[1]["error_message"]))
    # What is left of the job's second, not the app's own time.
    assert float(said[1]) <= 1


def test_a_job_that_got_lost_on_its_way_to_a_worker_runs(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    """The engine has handed it to a worker that lives, and the worker has never got it."""
    workers.start(worker_lease=1)
    living = "SELECT count(*) FROM procrastinate.procrastinate_workers"
    eventually(lambda: store.value(living) == 1, "the worker lives")
    with store.connection.transaction():
        job = enqueue(store)
        store.rows(
            """
            WITH engine AS (
                INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, args, status, worker_id)
                SELECT 'work', 'run_job', jsonb_build_object('job_id', %s::bigint, 'site_id', 'berlin'),
                    'doing', id
                FROM procrastinate.procrastinate_workers
                RETURNING id
            )
            UPDATE runglass.job_queue SET engine_id = engine.id FROM engine""",
            (job,),
        )
    eventually(ended(store, job), "the job ends")
    assert len(apps.calls()) == 1


def test_a_worker_that_comes_back_takes_nothing_from_the_one_that_took_over(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    second = Event()

    def behave(_received: Received) -> Reply:
        if len(apps.calls()) == 1:
            return apps.hang(_received)
        second.wait()
        return answer(response="by the second")

    apps.behave("chat", behave)
    frozen = workers.start()
    job = enqueue(store)
    apps.wait_for(1)
    frozen.send_signal(signal.SIGSTOP)
    workers.start()
    apps.wait_for(2)
    frozen.send_signal(signal.SIGCONT)
    apps.release()
    eventually(lambda: "taken over" in workers.log(0), "the first worker notices")
    workers.stop(frozen)

    assert store.value(ENGINE_JOBS) == 1
    second.set()
    eventually(ended(store, job), "the second worker ends the job")
    assert store.value("SELECT response_text FROM biz.ai_run_logs") == "by the second"
    assert len(apps.calls()) == 2


def test_a_running_job_that_the_engine_has_lost_goes_on(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("mail", apps.hang)
    victim = workers.start()
    job = enqueue(store, app_chain=["chat", "mail"])
    apps.wait_for(1, "mail")
    victim.kill()
    victim.wait()
    store.rows("DELETE FROM procrastinate.procrastinate_jobs")
    apps.behave("mail", lambda _: answer())

    workers.start()
    eventually(ended(store, job), "the job ends")

    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", (job,)) == "success"
    assert len(apps.calls("chat")) == 1


def test_a_job_that_is_lost_with_every_worker_fails(store: Store, apps: AppServer, workers: Workers) -> None:
    apps.behave("mail", apps.hang)
    victim = workers.start()
    job = enqueue(store, app_chain=["chat", "mail"])
    apps.wait_for(1, "mail")
    victim.kill()
    victim.wait()
    workers.start(job_rescues=0)
    eventually(ended(store, job), "the job ends")

    reason = "given up: 1 times its worker was lost or did not move it"
    (ends,) = store.rows("SELECT status, error_message, tokens_used FROM biz.ai_trigger_jobs")
    assert tuple(ends.values()) == ("failed", reason, 10)
    runs = store.rows("SELECT status, error_message FROM biz.ai_run_logs ORDER BY id")
    assert [tuple(run.values()) for run in runs] == [("success", None), ("failed", reason)]
    assert len(apps.calls("mail")) == 1


def test_what_no_job_stands_behind_does_not_stay_with_the_engine(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.start(worker_lease=1)
    living = "SELECT count(*) FROM procrastinate.procrastinate_workers"
    eventually(lambda: store.value(living) == 1, "the worker lives")
    store.rows(
        "INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, args, status, worker_id)"
        " SELECT 'work', task, '{}', 'doing', id FROM procrastinate.procrastinate_workers,"
        " unnest(ARRAY['run_job', 'admit']) AS task"
    )
    eventually(lambda: store.value(DOING) == 0, "nothing is left")


def test_a_backend_that_hangs_stops_no_job(tmp_path: Path, apps: AppServer) -> None:
    with restarts.Cluster() as cluster:
        asyncio.run(apply_migrations(cluster.dsn))
        store, workers = Store(cluster.dsn), Workers(cluster.dsn, tmp_path, apps)
        hanging: list[int] = []
        try:
            apps.behave("chat", apps.hang)
            workers.start(statement_timeout=1, worker_lease=2, pool_wait=2)
            jobs = [enqueue(store) for _ in range(3)]
            apps.wait_for(3)
            hanging = [row["pid"] for row in store.rows(SESSIONS)]
            assert len(hanging) > 1
            for pid in hanging:
                os.kill(pid, signal.SIGSTOP)
            apps.release()
            eventually(ended(store, *jobs), "the jobs end")
        finally:
            for pid in hanging:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            workers.close()
            store.connection.close()


def test_no_job_is_left_when_the_database_crashes_in_the_middle_of_batches(tmp_path: Path) -> None:
    with restarts.Cluster() as cluster, contextlib.closing(restarts.app_of_50_ms()) as app:
        asyncio.run(apply_migrations(cluster.dsn))
        with restarts.workers(tmp_path, cluster.dsn, app, 2):
            figures = [restarts.crashed_batch(cluster, app, 60) for _ in range(2)]
    assert [(one.jobs_left, one.jobs_failed) for one in figures] == [(0, 0)] * 2
