"""A worker walks a job's chain of apps, and every call leaves a run log."""

from __future__ import annotations

import hashlib
import hmac

import psycopg
from psycopg.types.json import Jsonb

from tests.support.api import Api
from tests.support.store import Store
from tests.support.workers import SECRET, AppServer, Workers, answer, ended, eventually

RETRY = "mutation ($id: ID!) { retryJob(input: {jobId: $id}) { ... on TriggerJob { id } } }"


def retry(api: Api, job: int) -> int:
    """Retry a job by the API and give the number of the new one."""
    return int(api.data(RETRY, {"id": f"job_{job}"})["retryJob"]["id"].removeprefix("job_"))


def test_a_retried_job_calls_its_apps_one_after_the_other(
    api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", lambda _: answer(response="a draft", tokens=30, promptTokens=20, completionTokens=10))
    apps.behave("mail", lambda _: answer(response="sent", tokens=12, model="m-2", latencyMs=77))
    failed = store.job(member_id="m1", app_chain=["chat", "mail"], payload=Jsonb({"order": 7}))
    workers.start()

    job = retry(api, failed)
    eventually(ended(store, job), "the job ends")

    first, second = apps.calls()
    assert first.body == {
        "job": f"job_{job}",
        "app": "chat",
        "site": "berlin",
        "member": "m1",
        "event": "order_created",
        "payload": {"order": 7},
        "input": None,
        "idempotencyKey": first.key,
    }
    assert (second.app, second.body["input"]) == ("mail", "a draft")
    assert first.key != second.key
    rows = store.rows("SELECT * FROM biz.ai_run_logs ORDER BY id")
    assert [(row["app_type"], row["status"], row["tokens_used"], row["model"]) for row in rows] == [
        ("chat", "success", 30, "m-1"),
        ("mail", "success", 12, "m-2"),
    ]
    assert [row["external_id"] for row in rows] == [first.key, second.key]
    assert {row["trigger_job_id"] for row in rows} == {job}
    assert (rows[0]["prompt_tokens"], rows[0]["response_text"], rows[1]["latency_ms"]) == (20, "a draft", 77)
    ended_job = store.rows("SELECT * FROM biz.ai_trigger_jobs WHERE id = %s", (job,))[0]
    assert (ended_job["status"], ended_job["error_message"], ended_job["tokens_used"]) == (
        "success",
        None,
        42,
    )
    assert ended_job["started_at"] <= ended_job["finished_at"]
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 0


def test_a_call_is_signed(api: Api, store: Store, apps: AppServer, workers: Workers) -> None:
    workers.start()
    retry(api, store.job())
    apps.wait_for(1)
    call = apps.calls()[0]
    signed = call.headers["x-runglass-timestamp"].encode() + b"." + call.raw
    expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
    assert call.headers["x-runglass-signature"] == expected


def test_a_job_its_last_call_and_the_engines_job_end_in_one_transaction(
    api: Api, store: Store, workers: Workers
) -> None:
    store.rows("CREATE TABLE runglass.ends (name text, transaction xid8 DEFAULT pg_current_xact_id())")
    store.rows(
        """
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO runglass.ends (name) VALUES (TG_TABLE_NAME); RETURN NULL; END $$"""
    )
    for event, table in (
        ("UPDATE OF finished_at", "biz.ai_run_logs"),
        ("UPDATE OF finished_at", "biz.ai_trigger_jobs"),
        ("DELETE", "runglass.job_queue"),
        ("DELETE", "procrastinate.procrastinate_jobs"),
    ):
        condition = "WHEN (OLD.task_name = 'run_job')" if "procrastinate" in table else ""
        store.rows(
            f"CREATE TRIGGER note AFTER {event} ON {table} FOR EACH ROW {condition} EXECUTE FUNCTION note()"
        )
    job = retry(api, store.job(app_chain=["chat"]))

    workers.start()
    eventually(ended(store, job), "the job ends")

    counts = "count(*) AS ends, count(DISTINCT transaction) AS transactions"
    assert store.rows(f"SELECT {counts} FROM runglass.ends") == [{"ends": 4, "transactions": 1}]


def test_an_answer_is_written_after_what_held_its_place_meanwhile(
    dsn: str, api: Api, store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    workers.start()
    job = retry(api, store.job(app_chain=["chat"]))
    apps.wait_for(1)
    with psycopg.connect(dsn) as other:
        other.execute("UPDATE runglass.job_queue SET cancel_requested = true WHERE job_id = %s", (job,))
        apps.release()
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s"
        eventually(lambda: store.value(waiting, (other.info.dbname,)) == 1, "the worker waits for the place")

    eventually(ended(store, job), "the job ends")

    # It had come to its end, so there was nothing left to stop.
    assert store.value("SELECT status FROM biz.ai_trigger_jobs WHERE id = %s", (job,)) == "success"
    assert store.value("SELECT status FROM biz.ai_run_logs") == "success"
    assert store.value("SELECT count(*) FROM runglass.job_queue") == 0
