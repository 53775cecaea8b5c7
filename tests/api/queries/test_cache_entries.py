"""cacheEntries: cached answers, and the answers themselves only where they are selected."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.api import Api
from tests.support.store import Store

CACHE_ENTRIES = """
query ($filter: CacheEntryFilter, $sort: CreatedSort! = CREATED_AT_DESC, $first: Int, $after: String,
       $last: Int, $before: String) {
  cacheEntries(filter: $filter, sort: $sort, first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id siteId appType memberId status statusText isExpired createdAt
      expiresAt result } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    totalCount { count isExact }
  }
}
"""
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

# Each entry has a name in its answer.
ENTRIES: dict[str, dict[str, Any]] = {
    "a": {},
    "b": {"status": "invalidated"},
    "c": {"status": "stale", "cache_type": "mail"},
    "d": {"site_id": "paris", "expires_at": datetime(2026, 5, 2, tzinfo=UTC)},
    "e": {"target_id": None, "expires_at": datetime(2999, 1, 1, tzinfo=UTC)},
}


@pytest.fixture(scope="module", autouse=True)
def entries(module_store: Store) -> dict[str, int]:
    """The entries above, an hour apart from noon on, by name."""
    return {
        name: module_store.cache(created_at=NOON + timedelta(hours=hour), **{"result": Jsonb(name), **values})
        for hour, (name, values) in enumerate(ENTRIES.items())
    }


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, "abcde"),
        ({}, "abcde"),
        ({"siteId": "paris"}, "d"),
        ({"siteId": "nowhere"}, ""),
        ({"appType": "mail"}, "c"),
        ({"memberId": "m1"}, "abcd"),
        ({"status": ["VALID"]}, "ade"),
        ({"status": ["INVALIDATED"]}, "b"),
        ({"status": ["UNKNOWN"]}, "c"),
        ({"status": []}, ""),
        ({"createdAt": {"from": "2026-05-01T13:00:00Z", "to": "2026-05-01T15:00:00Z"}}, "bc"),
        ({"siteId": "berlin", "appType": "chat", "memberId": "m1", "status": ["VALID"]}, "a"),
    ],
)
def test_only_entries_that_match_every_filter_are_listed(
    module_api: Api, wanted: dict[str, Any] | None, expected: str
) -> None:
    for sort, order in (("CREATED_AT_DESC", expected[::-1]), ("CREATED_AT_ASC", expected)):
        page = module_api.data(CACHE_ENTRIES, {"filter": wanted, "sort": sort})["cacheEntries"]
        assert "".join(edge["node"]["result"] for edge in page["edges"]) == order
        assert page["totalCount"] == {"count": len(expected), "isExact": True}


def test_the_values_of_an_entry(module_api: Api, entries: dict[str, int]) -> None:
    edges = module_api.data(CACHE_ENTRIES)["cacheEntries"]["edges"]
    shown = {edge["node"]["result"]: edge["node"] for edge in edges}
    assert shown["d"] == {
        "id": f"cache_{entries['d']}",
        "siteId": "paris",
        "appType": "chat",
        "memberId": "m1",
        "status": "VALID",
        "statusText": "valid",
        "isExpired": True,
        "createdAt": "2026-05-01T15:00:00+00:00",
        "expiresAt": "2026-05-02T00:00:00+00:00",
        "result": "d",
    }
    assert (shown["c"]["status"], shown["c"]["statusText"]) == ("UNKNOWN", "stale")
    assert (shown["e"]["memberId"], shown["e"]["isExpired"], shown["a"]["isExpired"]) == (None, False, False)


def test_answers_are_read_by_one_statement_more_and_only_when_selected(module_api: Api) -> None:
    assert module_api.statements("{ cacheEntries { edges { node { id status isExpired } } } }") == 1
    assert module_api.statements("{ cacheEntries { edges { node { id result } } } }") == 2


@pytest.mark.parametrize(
    ("size", "argument", "end", "more"),
    [("first", "after", "endCursor", "hasNextPage"), ("last", "before", "startCursor", "hasPreviousPage")],
)
def test_walking_either_way_meets_every_entry_once(
    module_api: Api, size: str, argument: str, end: str, more: str
) -> None:
    seen, info = [], {more: True, end: None}
    while info[more]:
        page = module_api.data(CACHE_ENTRIES, {size: 2, argument: info[end]})["cacheEntries"]
        names = [edge["node"]["result"] for edge in page["edges"]]
        seen = [*seen, *names] if size == "first" else [*names, *seen]
        info = page["pageInfo"]
    assert "".join(seen) == "edcba"


def test_bad_pages_are_coded_errors(module_api: Api, module_store: Store) -> None:
    module_store.run()
    cursor = module_api.data("{ runLogs(first: 1) { edges { cursor } } }")["runLogs"]["edges"][0]["cursor"]
    for wrong in ({"first": 0}, {"last": 101}, {"first": 1, "last": 1}, {"after": cursor}, {"before": "x"}):
        assert module_api.error(CACHE_ENTRIES, wrong)["code"] == "BAD_USER_INPUT"
