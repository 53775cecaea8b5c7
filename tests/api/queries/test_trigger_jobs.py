"""triggerJobs: filters, pages, and what hangs on a job."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.store import Store

TRIGGER_JOBS = """
query ($filter: TriggerJobFilter, $sort: CreatedSort! = CREATED_AT_DESC, $first: Int, $after: String,
       $last: Int, $before: String) {
  triggerJobs(filter: $filter, sort: $sort, first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id errorMessage } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount { count isExact }
  }
}
"""
SKIPPED = "query ($filter: TriggerJobFilter) { triggerJobs(filter: $filter) { skippedDuplicatesToday } }"
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

# Each job has a name in its error message.
JOBS: dict[str, dict[str, Any]] = {
    "a": {"status": "pending", "member_id": "m1"},
    "b": {"status": "running", "event_type": "order_paid"},
    "c": {"status": "success", "is_forced": True, "member_id": "m1"},
    "d": {"status": "failed", "site_id": "paris"},
    "e": {"status": "skipped_duplicate", "is_forced": True},
    "f": {"status": "cancelled", "event_type": "order_paid", "site_id": "paris"},
    "g": {"status": "paused", "member_id": "m2"},
}


@pytest.fixture(scope="module", autouse=True)
def jobs(module_store: Store) -> dict[str, int]:
    """The jobs above, an hour apart from noon on, by name."""
    return {
        name: module_store.job(error_message=name, created_at=NOON + timedelta(hours=hour), **values)
        for hour, (name, values) in enumerate(JOBS.items())
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, "abcdefg"),
        ({}, "abcdefg"),
        ({"siteId": "paris"}, "df"),
        ({"siteId": "nowhere"}, ""),
        ({"eventType": "order_paid"}, "bf"),
        ({"status": ["PENDING", "RUNNING"]}, "ab"),
        ({"status": ["SUCCESS", "FAILED", "SKIPPED_DUPLICATE", "CANCELLED"]}, "cdef"),
        ({"status": ["UNKNOWN"]}, "g"),
        ({"status": []}, ""),
        ({"memberId": "m1"}, "ac"),
        ({"isForced": True}, "ce"),
        ({"isForced": False}, "abdfg"),
        ({"isForced": None}, "abcdefg"),
        ({"createdAt": {"from": "2026-05-01T14:00:00Z", "to": "2026-05-01T16:00:00Z"}}, "cd"),
        ({"siteId": "paris", "eventType": "order_paid", "status": ["CANCELLED"], "isForced": False}, "f"),
        ({"memberId": "m1", "isForced": True, "createdAt": {"from": "2026-05-01T12:00:01Z"}}, "c"),
    ],
)
def test_only_jobs_that_match_every_filter_are_listed(
    module_api: Api, wanted: dict[str, Any] | None, expected: str
) -> None:
    for sort, order in (("CREATED_AT_DESC", expected[::-1]), ("CREATED_AT_ASC", expected)):
        page = module_api.data(TRIGGER_JOBS, {"filter": wanted, "sort": sort})["triggerJobs"]
        assert "".join(edge["node"]["errorMessage"] for edge in page["edges"]) == order
        assert page["totalCount"] == {"count": len(expected), "isExact": True}


@pytest.mark.parametrize(
    ("size", "argument", "end", "more"),
    [("first", "after", "endCursor", "hasNextPage"), ("last", "before", "startCursor", "hasPreviousPage")],
)
def test_walking_either_way_meets_every_job_once(
    module_api: Api, size: str, argument: str, end: str, more: str
) -> None:
    seen, info = [], {more: True, end: None}
    while info[more]:
        page = module_api.data(TRIGGER_JOBS, {size: 2, argument: info[end]})["triggerJobs"]
        names = [edge["node"]["errorMessage"] for edge in page["edges"]]
        seen = [*seen, *names] if size == "first" else [*names, *seen]
        info = page["pageInfo"]
    assert "".join(seen) == "gfedcba"


@pytest.mark.parametrize("sizes", [{"first": 0}, {"first": 101}, {"last": -1}, {"first": 1, "last": 1}])
def test_page_sizes_out_of_range_are_coded_errors(module_api: Api, sizes: dict[str, int]) -> None:
    assert module_api.error(TRIGGER_JOBS, sizes)["code"] == "BAD_USER_INPUT"


def test_the_cursor_of_another_list_is_refused(module_api: Api, module_store: Store) -> None:
    module_store.run(status="failed")
    for other in ("runLogs", "alerts"):
        cursor = module_api.data(f"{{ {other}(first: 1) {{ edges {{ cursor }} }} }}")[other]["edges"][0][
            "cursor"
        ]
        assert module_api.error(TRIGGER_JOBS, {"after": cursor})["argument"] == "after"


@pytest.mark.parametrize("text", ["\x00", "\ud800"])
def test_a_text_that_no_column_holds_is_a_coded_error(module_api: Api, text: str) -> None:
    error = module_api.error(TRIGGER_JOBS, {"filter": {"eventType": text}})
    assert error["code"] in ("BAD_USER_INPUT", "BAD_REQUEST")


def test_skipped_duplicates_are_those_of_today_and_of_these_sites(api: Api, store: Store) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    store.job(status="skipped_duplicate", created_at=midnight)
    store.job(status="skipped_duplicate", created_at=midnight - timedelta(microseconds=1))
    store.job(status="skipped_duplicate", site_id="paris", created_at=midnight)
    store.job(status="failed", created_at=midnight)

    assert api.data(SKIPPED)["triggerJobs"] == {"skippedDuplicatesToday": 2}
    # The sites narrow it, other conditions do not.
    paris = {"filter": {"siteId": "paris", "status": ["FAILED"]}}
    assert api.data(SKIPPED, paris)["triggerJobs"] == {"skippedDuplicatesToday": 1}
    assert api.data(SKIPPED, {"filter": {"siteId": "nowhere"}})["triggerJobs"] == {
        "skippedDuplicatesToday": 0
    }


def test_today_begins_in_the_configured_zone(dsn: str, store: Store) -> None:
    zone = "Pacific/Kiritimati"
    midnight = store.value(f"SELECT date_trunc('day', now() AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'")
    store.job(status="skipped_duplicate", created_at=midnight)
    store.job(status="skipped_duplicate", created_at=midnight - timedelta(seconds=1))
    api = Api(dsn, time_zone=zone)
    try:
        assert api.data(SKIPPED)["triggerJobs"] == {"skippedDuplicatesToday": 1}
    finally:
        api.close()


NESTED = """
query ($filter: TriggerJobFilter, $first: Int, $after: String, $last: Int, $before: String) {
  triggerJobs(filter: $filter) { edges { node {
    errorMessage
    retryOf { id }
    batch { id }
    runLogs(first: $first, after: $after, last: $last, before: $before) {
      edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage } totalCount { count isExact }
    }
    retries(first: 2) {
      edges { node { id attempt } } totalCount { count } pageInfo { hasNextPage } skippedDuplicatesToday
    }
  } } }
}
"""


def test_runs_retries_and_batch_of_each_job(api: Api, store: Store) -> None:
    batch = store.add(
        "runglass.batches",
        site_id="berlin",
        app_types=["chat"],
        member_ids=["m1"],
        estimated_calls=1,
        estimated_tokens=1,
        app_estimates="[]",
        created_by="ann",
        expires_at=NOON,
    )
    first = store.job(error_message="first", event_type="wanted", created_at=NOON)
    second = store.job(
        error_message="second", event_type="wanted", created_at=NOON + timedelta(hours=1), batch_id=batch
    )
    runs = [store.run(trigger_job_id=first, created_at=NOON + timedelta(seconds=n)) for n in range(4)]
    store.run(trigger_job_id=second)
    retries = [
        store.job(retry_of_id=first, attempt=n + 2, created_at=NOON + timedelta(days=n)) for n in range(3)
    ]
    wanted = {"filter": {"eventType": "wanted"}}

    edges = api.data(NESTED, {**wanted, "first": 3})["triggerJobs"]["edges"]
    assert [edge["node"]["errorMessage"] for edge in edges] == ["second", "first"]
    assert edges[0]["node"]["batch"] == {"id": f"batch_{str(batch).replace('-', '')}"}
    assert edges[0]["node"]["retries"] == {
        "edges": [],
        "totalCount": {"count": 0},
        "pageInfo": {"hasNextPage": False},
        "skippedDuplicatesToday": 0,
    }
    old = edges[1]["node"]
    assert (old["batch"], old["retryOf"]) == (None, None)
    assert [edge["node"]["id"] for edge in old["runLogs"]["edges"]] == [f"run_{run}" for run in runs[:0:-1]]
    assert old["runLogs"]["pageInfo"] == {"hasNextPage": True, "hasPreviousPage": False}
    assert old["runLogs"]["totalCount"] == {"count": 4, "isExact": True}
    assert [edge["node"] for edge in old["retries"]["edges"]] == [
        {"id": f"job_{retries[2]}", "attempt": 4},
        {"id": f"job_{retries[1]}", "attempt": 3},
    ]
    assert (old["retries"]["totalCount"], old["retries"]["pageInfo"]) == ({"count": 3}, {"hasNextPage": True})

    cursor = old["runLogs"]["edges"][-1]["cursor"]
    rest = api.data(NESTED, {**wanted, "first": 3, "after": cursor})["triggerJobs"]["edges"][1]["node"]
    assert [edge["node"]["id"] for edge in rest["runLogs"]["edges"]] == [f"run_{runs[0]}"]
    assert rest["runLogs"]["pageInfo"] == {"hasNextPage": False, "hasPreviousPage": True}

    back = api.data(NESTED, {**wanted, "last": 2, "before": cursor})["triggerJobs"]["edges"][1]["node"]
    assert [edge["node"]["id"] for edge in back["runLogs"]["edges"]] == [f"run_{runs[3]}", f"run_{runs[2]}"]


@pytest.mark.parametrize(
    "variables", [{"first": 0}, {"last": 101}, {"after": "garbage"}, {"first": 1, "last": 1}]
)
def test_bad_pages_of_a_relation_are_coded_errors(module_api: Api, variables: dict[str, Any]) -> None:
    answer = module_api.execute(NESTED, variables)
    assert {error["extensions"]["code"] for error in answer["errors"]} == {"BAD_USER_INPUT"}
