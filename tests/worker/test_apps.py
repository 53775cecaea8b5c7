"""What comes of a call: answers, faults, repetitions and slow apps."""

from __future__ import annotations

import gzip

from resolvers.runs.run_bounds import MAX_LATENCY_MS, MAX_TOKENS
from tests.support.store import Store
from tests.support.workers import AppServer, Received, Reply, Workers, answer, ended, enqueue, eventually


def run_one(store: Store, workers: Workers, **values: object) -> tuple[dict, dict]:
    """Run one job and give it with its last run log."""
    if not workers.processes:
        workers.start()
    job = enqueue(store, **values)
    eventually(ended(store, job), "the job ends")
    row = store.rows("SELECT * FROM biz.ai_run_logs WHERE trigger_job_id = %s ORDER BY id DESC", (job,))[0]
    return store.rows("SELECT * FROM biz.ai_trigger_jobs WHERE id = %s", (job,))[0], row


WRONG_ANSWERS: list[tuple[Reply, str]] = [
    ((500, {}, b"oh no"), "HTTP 500"),
    ((404, {}, b""), "HTTP 404"),
    ((302, {"location": "http://127.0.0.1:1/"}, b""), "HTTP 302"),
    ((200, {}, b"<html>"), "malformed answer: not JSON"),
    ((200, {}, b"[1]"), "malformed answer: not a JSON object"),
    ((200, {}, b"[" * 100_000), "malformed answer: not JSON"),
    ((200, {}, b'{"status": "done"}'), 'malformed answer: status must be "success" or "failed"'),
    *(
        (answer(tokens=wrong), f"malformed answer: tokens must be an integer from 0 to {MAX_TOKENS}")
        for wrong in (-1, True, "5", 5.5, float("nan"), float("inf"), MAX_TOKENS + 1, 1e300)
    ),
    *(
        (answer(latencyMs=wrong), f"malformed answer: latencyMs must be a number from 0 to {MAX_LATENCY_MS}")
        for wrong in (-1, -0.4, True, "5", float("nan"), MAX_LATENCY_MS + 1)
    ),
    (
        answer(tokens=None, promptTokens=MAX_TOKENS, completionTokens=1),
        f"malformed answer: promptTokens and completionTokens together must be at most {MAX_TOKENS}",
    ),
    (answer(model="m" * 201), "malformed answer: model has 201 characters; a name has at most 200"),
    (
        (200, {"content-encoding": "gzip"}, gzip.compress(b'{"status": "success"}')),
        "malformed answer: it is compressed, which was not asked for",
    ),
    (answer(response=7), "malformed answer: response must be a string"),
    (answer(status="failed", error="no such member"), "no such member"),
    (answer(status="failed", error=None), "the app reported a failure without a reason"),
    ((200, {}, b"x" * 4_000_001), "malformed answer: longer than 4,000,000 bytes"),
    ((202, {}, b'{"pollUrl": "http://example.com/x"}'), "malformed answer: pollUrl names another server"),
    ((202, {}, b"{}"), "malformed answer: 202 without a pollUrl"),
    ((202, {}, b'{"pollUrl": "http://[x"}'), "malformed answer: pollUrl is not a URL"),
]


def test_wrong_answers_fail_their_jobs_and_become_alerts(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    workers.register("chat", "mail", circuit="{failures = 1000}")
    apps.behave("chat", lambda got: WRONG_ANSWERS[int(got.body["member"])][0])
    jobs = [enqueue(store, member_id=str(n), app_chain=["chat", "mail"]) for n in range(len(WRONG_ANSWERS))]
    workers.start()
    eventually(ended(store, *jobs), "all jobs end")

    rows = store.rows("SELECT * FROM biz.ai_run_logs ORDER BY member_id::integer")
    assert [row["error_message"] for row in rows] == [message for _, message in WRONG_ANSWERS]
    assert {row["status"] for row in rows} == {"failed"}
    assert all(row["finished_at"] for row in rows)
    ends = store.rows("SELECT status, error_message FROM biz.ai_trigger_jobs ORDER BY member_id::integer")
    assert [job["error_message"] for job in ends] == [f"chat: {message}" for _, message in WRONG_ANSWERS]
    assert {job["status"] for job in ends} == {"failed"}
    assert apps.calls("mail") == []


def test_numbers_are_understood_however_they_are_written(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", lambda _: answer(tokens=5.0, promptTokens=3.0, completionTokens=2, latencyMs=12.7))
    job, row = run_one(store, workers)
    assert (job["status"], job["tokens_used"]) == ("success", 5)
    assert (row["tokens_used"], row["prompt_tokens"], row["latency_ms"]) == (5, 3, 13)
    assert apps.calls()[0].headers["accept-encoding"] == "identity"


def test_text_that_cannot_be_stored_is_replaced(store: Store, apps: AppServer, workers: Workers) -> None:
    apps.behave("chat", lambda _: (200, {}, b'{"status": "success", "response": "a\\u0000b\\ud800c"}'))
    job, row = run_one(store, workers)
    assert (job["status"], row["response_text"]) == ("success", "a\ufffdb?c")


def test_an_app_that_hangs_times_out(store: Store, apps: AppServer, workers: Workers) -> None:
    workers.register("chat", timeout_seconds=0.3)
    apps.behave("chat", apps.hang)
    job, row = run_one(store, workers)
    assert (job["status"], row["status"]) == ("failed", "timeout")
    assert row["error_message"].startswith("no answer within 0.")


def test_an_app_that_is_not_there_fails(store: Store, apps: AppServer, workers: Workers) -> None:
    apps.close()
    _, row = run_one(store, workers)
    assert row["status"] == "failed"
    assert row["error_message"].startswith("could not be called: ConnectError")


def test_a_fault_is_repeated_with_the_same_key(store: Store, apps: AppServer, workers: Workers) -> None:
    workers.register("chat", retries="{max = 2, backoff_seconds = 0.01}")
    replies = iter([(503, {}, b""), (429, {"retry-after": "0"}, b""), answer()])
    apps.behave("chat", lambda _: next(replies))
    job, _ = run_one(store, workers)
    assert job["status"] == "success"
    assert len(apps.calls()) == 3
    assert len({call.key for call in apps.calls()}) == 1
    assert store.value("SELECT count(*) FROM biz.ai_run_logs") == 1


def test_a_wrong_request_is_not_repeated(store: Store, apps: AppServer, workers: Workers) -> None:
    workers.register("chat", retries="{max = 2, backoff_seconds = 0.01}")
    apps.behave("chat", lambda _: (400, {}, b""))
    run_one(store, workers)
    assert len(apps.calls()) == 1


def test_a_slow_app_is_polled(store: Store, apps: AppServer, workers: Workers) -> None:
    def behave(received: Received) -> Reply:
        if received.method == "POST":
            return 202, {}, b'{"pollUrl": "/chat/results/9"}'
        polls = sum(call.method == "GET" for call in apps.calls())
        return (202, {}, b"") if polls == 1 else answer(response="at last")

    apps.behave("chat", behave)
    job, row = run_one(store, workers)
    assert (job["status"], row["response_text"]) == ("success", "at last")
    assert [(call.method, call.path) for call in apps.calls()] == [
        ("POST", "/chat"),
        ("GET", "/chat/results/9"),
        ("GET", "/chat/results/9"),
    ]
    assert len({call.key for call in apps.calls()}) == 1
    assert all("x-runglass-signature" in call.headers for call in apps.calls())


def test_no_database_connection_is_held_during_a_call(
    store: Store, apps: AppServer, workers: Workers
) -> None:
    apps.behave("chat", apps.hang)
    workers.start(worker_concurrency=8, pool_max_size=2)
    jobs = [enqueue(store, site_id=f"site{n}") for n in range(8)]
    # With a connection each, the third call would wait for one for ever.
    apps.wait_for(8)
    busy = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name LIKE 'runglass%' AND state LIKE 'idle in transaction%'"
    )
    eventually(lambda: store.value(busy) == 0, "no transaction is open while eight apps work")
    apps.release()
    eventually(ended(store, *jobs), "all jobs end")
    assert store.value("SELECT count(*) FROM biz.ai_run_logs WHERE status = 'success'") == 8
