"""Whatever breaks in the middle: no job is lost, none is stuck, none is called with another key."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import psycopg

from db.embedded import server as embedded
from db.migrations.runner import apply_migrations
from tests.support.store import Store
from tests.support.workers import AppServer, Received, Reply, Workers, answer, ended, enqueue, eventually


def one_row(store: Store) -> dict:
    """The only run log there may be."""
    rows = store.rows("SELECT * FROM biz.ai_run_logs")
    assert len(rows) == 1
    return rows[0]


def test_the_job_of_a_killed_worker_runs_again_with_the_same_key(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    victim = workers.start()
    job = enqueue(store)
    apps.wait_for(1)
    victim.kill()
    victim.wait()
    assert one_row(store)["status"] == "running"

    apps.behave("chat", lambda _: answer())
    workers.start()
    eventually(ended(store, job), "another worker ends the job")

    first, second = apps.calls()
    assert first.key == second.key
    row = one_row(store)
    assert (row["status"], row["tokens_used"], row["external_id"]) == ("success", 10, first.key)


def test_apps_that_have_answered_are_not_called_again(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", lambda _: answer(response="a draft"))
    apps.behave("mail", apps.hang)
    victim = workers.start()
    job = enqueue(store, app_chain=["chat", "mail"])
    apps.wait_for(1, "mail")
    victim.kill()
    victim.wait()

    apps.behave("mail", lambda _: answer())
    workers.start()
    eventually(ended(store, job), "another worker ends the job")

    assert len(apps.calls("chat")) == 1
    assert [call.body["input"] for call in apps.calls("mail")] == ["a draft", "a draft"]
    assert store.value("SELECT sum(tokens_used) FROM biz.ai_run_logs") == 20
    assert store.value("SELECT tokens_used FROM biz.ai_trigger_jobs WHERE id = %s", (job,)) == 20


def test_a_worker_that_was_taken_for_dead_writes_nothing_more(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    frozen = workers.start()
    job = enqueue(store)
    apps.wait_for(1)
    frozen.send_signal(signal.SIGSTOP)
    apps.behave("chat", lambda _: answer(response="by the second", tokens=7))
    workers.start()
    eventually(ended(store, job), "the second worker ends the job")
    before = one_row(store)

    frozen.send_signal(signal.SIGCONT)
    apps.release()
    eventually(lambda: "taken over" in workers.log(0), "the first worker notices")

    assert before == one_row(store)
    assert before["response_text"] == "by the second"
    assert len({call.key for call in apps.calls()}) == 1


def test_a_worker_that_is_told_to_stop_finishes_what_runs(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    worker = workers.start(worker_grace=30)
    job = enqueue(store)
    apps.wait_for(1)
    worker.send_signal(signal.SIGTERM)
    apps.release()
    assert worker.wait(30) == 0
    assert one_row(store)["status"] == "success"
    assert ended(store, job)()


def test_a_worker_that_is_told_to_stop_gives_back_what_takes_too_long(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    worker = workers.start(worker_grace=0.2, worker_lease=60)
    job = enqueue(store)
    apps.wait_for(1)
    assert workers.stop(worker) == 0

    apps.behave("chat", lambda _: answer())
    # Its lease would be a minute: the job was given back, not taken away.
    workers.start(worker_lease=60)
    eventually(ended(store, job), "another worker ends the job")
    assert len({call.key for call in apps.calls()}) == 1
    assert one_row(store)["status"] == "success"


def test_two_engine_jobs_of_one_job_call_once(store: Store, apps: AppServer, workers: Workers) -> None:
    apps.behave("chat", apps.hang)
    workers.start()
    workers.start()
    job = enqueue(store)
    apps.wait_for(1)
    store.rows(
        "INSERT INTO procrastinate.procrastinate_jobs (queue_name, task_name, args)"
        " SELECT queue_name, task_name, args FROM procrastinate.procrastinate_jobs, generate_series(1, 5)"
        " WHERE task_name = 'run_job'"
    )
    eventually(
        lambda: (
            store.value("SELECT count(*) FROM procrastinate.procrastinate_jobs WHERE task_name = 'run_job'")
            == 1
        ),
        "the copies are done with",
    )
    apps.release()
    eventually(ended(store, job), "the job ends")
    assert len(apps.calls()) == 1
    assert one_row(store)["status"] == "success"


def test_many_jobs_on_two_workers_run_once_each(store: Store, apps: AppServer, workers: Workers) -> None:
    jobs = [enqueue(store, site_id=f"site{n % 3}") for n in range(60)]
    workers.start()
    workers.start()
    eventually(ended(store, *jobs), "all jobs end")
    assert sorted(call.body["job"] for call in apps.calls()) == sorted(f"job_{job}" for job in jobs)
    assert store.value("SELECT count(*) FROM biz.ai_run_logs WHERE status = 'success'") == 60


def test_a_job_that_the_engine_has_lost_is_admitted_again(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    job = enqueue(store)
    store.rows("UPDATE runglass.job_queue SET engine_id = 999999")
    workers.start(worker_lease=1)
    eventually(ended(store, job), "the job ends")
    assert len(apps.calls()) == 1


def test_a_worker_goes_on_after_the_database_crashed(tmp_path: Path, apps: AppServer) -> None:
    with embedded.start(tmp_path / "data") as server:
        asyncio.run(apply_migrations(server.dsn()))
        workers = Workers(server.dsn(), tmp_path, apps)
        try:
            answered = _hang_until_released(apps)
            worker = workers.start(pool_wait=2)
            store = Store(server.dsn())
            jobs = [enqueue(store), enqueue(store)]
            apps.wait_for(2)
            backend = store.value("SELECT pg_backend_pid()")
            # The whole server ends every connection and recovers when one of its processes dies like this.
            os.kill(backend, signal.SIGKILL)
            store.connection.close()
            apps.release()
            eventually(lambda: len(answered) == 2, "both apps have answered")

            store = _connected(server.dsn())
            jobs.append(enqueue(store))
            eventually(ended(store, *jobs), "all jobs end")

            assert worker.poll() is None
            assert len({call.key for call in apps.calls()}) == 3
            assert store.value("SELECT count(*) FROM biz.ai_run_logs WHERE status = 'success'") == 3
            store.connection.close()
        finally:
            workers.close()


def _connected(dsn: str) -> Store:
    found: list[Store] = []

    def connect() -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            found.append(Store(dsn))
        return bool(found)

    eventually(connect, "the database has recovered")
    return found[0]


def _hang_until_released(apps: AppServer) -> list[str]:
    answered: list[str] = []

    def behave(received: Received) -> Reply:
        reply = apps.hang(received)
        answered.append(received.key)
        return reply

    apps.behave("chat", behave)
    return answered
