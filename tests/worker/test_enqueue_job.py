"""runglass.enqueue_job: a service of others hands its own jobs to our workers, in its own transaction."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db.migrations.runner import apply_migrations
from tests.db.adopted import VARIANTS
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, ended, eventually

# As a service writes it that knows its own table and the one function.
ADD_JOB = """
INSERT INTO biz.ai_trigger_jobs (site_id, event_type, member_id, payload, app_chain, status)
VALUES ('7', 'order_paid', '12', '{"order": 3}', %s, %s) RETURNING id"""
ENQUEUE = "SELECT runglass.enqueue_job(%s)"


def add_job(service: psycopg.Connection[Any], chain: Any = None, status: str = "pending") -> int:
    """Add a job of `chat`, without handing it over."""
    row = service.execute(ADD_JOB, (chain or ["chat"], status)).fetchone()
    assert row
    return row[0]


def test_a_job_runs_that_a_service_hands_over_with_the_row(
    dsn: str, store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.start()
    with psycopg.connect(dsn) as service:
        job = add_job(service, ["chat", "mail"])
        service.execute(ENQUEUE, (job,))
        service.execute(ENQUEUE, (job,))

    eventually(ended(store, job), "the job ends")

    assert [(call.app, call.body["site"], call.body["payload"]) for call in apps.calls()] == [
        ("chat", "7", {"order": 3}),
        ("mail", "7", {"order": 3}),
    ]
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", (job,)) == "success"
    runs = store.rows("SELECT site_id, trigger_type, trigger_job_id FROM biz.ai_run_logs")
    assert runs == [{"site_id": "7", "trigger_type": "order_paid", "trigger_job_id": job}] * 2


def test_nothing_runs_of_a_transaction_that_is_rolled_back(
    dsn: str, store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.start()
    with psycopg.connect(dsn) as service:
        lost = add_job(service)
        service.execute(ENQUEUE, (lost,))
        service.rollback()
        kept = add_job(service)
        service.execute(ENQUEUE, (kept,))

    eventually(ended(store, kept), "the job of the transaction that was committed ends")

    assert [call.body["job"] for call in apps.calls()] == [f"job_{kept}"]
    assert store.rows("SELECT id FROM biz.ai_trigger_jobs") == [{"id": kept}]
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 0


def test_a_job_that_does_not_wait_or_is_not_there_is_left_alone(
    dsn: str, store: Store, apps: AppServer, workers: Workers
) -> None:
    with psycopg.connect(dsn) as service:
        done, waits = add_job(service, status="success"), add_job(service)
        for job in (done, 987_654_321, waits):
            service.execute(ENQUEUE, (job,))
    workers.start()

    eventually(ended(store, waits), "the job that waited ends")

    assert [call.body["job"] for call in apps.calls()] == [f"job_{waits}"]


@pytest.mark.parametrize("name", VARIANTS)
def test_it_runs_whatever_types_an_adopted_table_has(
    empty_dsn: str, name: str, apps: AppServer, tmp_path: Path
) -> None:
    variant = VARIANTS[name]
    with psycopg.connect(empty_dsn) as service:
        service.execute(variant.sql())
    asyncio.run(apply_migrations(empty_dsn))
    workers = Workers(empty_dsn, tmp_path, apps)
    store = Store(empty_dsn)
    try:
        workers.start()
        with psycopg.connect(empty_dsn) as service:
            job = add_job(service, {"integers": '["chat"]', "texts": "chat"}.get(name))
            service.execute(ENQUEUE, (job,))

        eventually(ended(store, job), "the job ends")

        assert [(call.body["site"], call.body["member"]) for call in apps.calls()] == [("7", "12")]
        run = store.rows("SELECT * FROM biz.ai_run_logs WHERE trigger_job_id = %s", (job,))[0]
        assert (run["status"], int(run["tokens_used"]), str(run["site_id"])) == ("success", 10, "7")
    finally:
        store.connection.close()
        workers.close()
