"""Which jobs the filter of retryJobs means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.mutations.test_retry_jobs import JOBS, ids, retry
from tests.support.api import Api
from tests.support.store import Store


def test_a_filter_means_unsuccessful_jobs_that_were_not_repaired_oldest_first(api: Api, store: Store) -> None:
    past = datetime(2026, 5, 1, tzinfo=UTC)
    newer = store.job(created_at=past + timedelta(days=1))
    older = store.job(status="cancelled", created_at=past)
    for status in ("pending", "running", "success", "skipped_duplicate", "a new word"):
        store.job(status=status)
    repaired, waits, failed_again = store.job(), store.job(), store.job()
    store.job(retry_of_id=repaired, status="success")
    store.job(retry_of_id=waits, status="pending")
    store.job(retry_of_id=failed_again, status="skipped_duplicate")
    store.job(site_id="paris")

    answer = retry(api, filter={"siteId": "berlin"})

    assert [each["jobId"] for each in answer["results"]] == ids(older, newer, failed_again)
    assert (answer["matched"], answer["count"]) == (3, 3)
    assert all(each["job"] for each in answer["results"])
    nothing = retry(api, filter={"siteId": "berlin"})
    assert (nothing["matched"], nothing["count"], nothing["results"]) == (0, 0, [])


def test_a_filter_means_the_newest_of_a_job_and_its_retries(api: Api, store: Store) -> None:
    first = store.job()
    second = store.job(retry_of_id=first)
    for count in range(3):
        answer = retry(api, filter={"siteId": "berlin"})
        assert (answer["matched"], answer["results"][0]["jobId"]) == (1, f"job_{second + count}")
        store.rows("UPDATE biz.ai_trigger_jobs SET status = 'failed', finished_at = now()")
    other = store.job()
    twice = [store.job(retry_of_id=other, status=status) for status in ("failed", "cancelled")]

    answer = retry(api, filter={"siteId": "berlin"})

    assert [each["jobId"] for each in answer["results"]] == ids(second + 3, twice[1])


@pytest.mark.parametrize(
    ("wanted", "matched"),
    [
        ({"status": ["SUCCESS"]}, 1),
        ({"status": ["SUCCESS", "FAILED", "SKIPPED_DUPLICATE"]}, 3),
        ({"status": ["PENDING", "RUNNING", "UNKNOWN"]}, 0),
        ({"status": []}, 0),
        ({"eventType": "order_paid"}, 1),
        ({"memberId": "m1"}, 1),
        ({"isForced": True}, 0),
        ({"createdAt": {"from": "2026-01-01T00:00:00Z"}}, 1),
        ({"createdAt": {"to": "2026-01-01T00:00:00Z"}}, 0),
        ({}, 1),
    ],
)
def test_the_filter_is_that_of_the_list(api: Api, store: Store, wanted: dict[str, Any], matched: int) -> None:
    for status in ("success", "pending", "running", "skipped_duplicate", "paused"):
        store.job(status=status)
    job = store.job(event_type="order_paid", member_id="m1")

    answer = retry(api, filter=wanted)

    assert (answer["matched"], answer["count"]) == (matched, matched)
    assert store.value(JOBS) == 6 + matched
    if matched == 1 and "status" not in wanted:
        assert answer["results"][0]["jobId"] == f"job_{job}"
