"""invalidateCache: a site's cached answers no longer hold."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.api import Api
from tests.support.store import Store

INVALIDATE_CACHE = """
mutation ($input: InvalidateCacheInput!) {
  invalidateCache(input: $input) {
    __typename
    ... on CacheInvalidation { siteId count dryRun }
    ... on Refusal { code message }
    ... on InvalidInput { field }
  }
}
"""

NARROWED: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"a", "b", "c"}),
    ({"appType": "chat"}, {"a", "b"}),
    ({"memberId": "m1"}, {"a", "c"}),
    ({"appType": "chat", "memberId": "m1"}, {"a"}),
    ({"appType": "nothing"}, set()),
    ({"appType": ""}, set()),
    ({"memberId": "%"}, set()),
]


def fill(store: Store) -> dict[str, int]:
    """Three valid entries of the site, one that is not valid, and one of another site."""
    entries = {
        "a": store.cache(),
        "b": store.cache(target_id="m2"),
        "c": store.cache(cache_type="mail"),
    }
    store.cache(status="invalidated")
    store.cache(site_id="paris")
    return entries


def invalidated(store: Store) -> set[int]:
    rows = store.rows("SELECT id FROM biz.ai_cache WHERE status = 'invalidated'")
    return {row["id"] for row in rows}


@pytest.mark.parametrize(("narrowing", "expected"), NARROWED)
def test_exactly_the_matching_valid_entries_are_invalidated(
    api: Api, store: Store, narrowing: dict[str, Any], expected: set[str]
) -> None:
    entries = fill(store)
    already = invalidated(store)

    answer = api.data(INVALIDATE_CACHE, {"input": {"siteId": "berlin", **narrowing}})["invalidateCache"]

    assert answer == {
        "__typename": "CacheInvalidation",
        "siteId": "berlin",
        "count": len(expected),
        "dryRun": False,
    }
    assert invalidated(store) - already == {entries[name] for name in expected}


@pytest.mark.parametrize(("narrowing", "expected"), NARROWED)
def test_a_dry_run_counts_the_same_and_changes_nothing(
    api: Api, store: Store, narrowing: dict[str, Any], expected: set[str]
) -> None:
    fill(store)
    before = store.snapshot()

    answer = api.data(INVALIDATE_CACHE, {"input": {"siteId": "berlin", "dryRun": True, **narrowing}})

    assert (answer["invalidateCache"]["count"], answer["invalidateCache"]["dryRun"]) == (len(expected), True)
    assert store.snapshot() == before


def test_two_at_once_count_each_entry_once(api: Api, store: Store) -> None:
    for number in range(50):
        store.cache(target_id=f"m{number}")

    answers = api.at_once(INVALIDATE_CACHE, [{"input": {"siteId": "berlin"}}] * 8)

    assert sum(answer["invalidateCache"]["count"] for answer in answers) == 50
    assert store.value("SELECT count(*) FROM biz.ai_cache WHERE status = 'valid'") == 0


def test_a_site_is_required(api: Api, store: Store) -> None:
    fill(store)
    before = store.snapshot()
    error = api.error(INVALIDATE_CACHE, {"input": {"appType": "chat"}})
    assert error["code"] == "BAD_USER_INPUT"
    assert store.snapshot() == before


@pytest.mark.parametrize("text", ["\x00", "\ud800", "a\x00b"])
def test_a_text_that_no_column_holds_is_a_coded_error(api: Api, store: Store, text: str) -> None:
    fill(store)
    before = store.snapshot()
    error = api.error(INVALIDATE_CACHE, {"input": {"siteId": "berlin", "memberId": text}})
    assert error["code"] in ("BAD_USER_INPUT", "BAD_REQUEST")
    assert store.snapshot() == before


def test_the_change_is_audited_and_a_dry_run_is_not(api: Api, store: Store) -> None:
    fill(store)
    api.data(INVALIDATE_CACHE, {"input": {"siteId": "berlin", "dryRun": True}})
    api.data(INVALIDATE_CACHE, {"input": {"siteId": "berlin", "appType": "chat"}})
    (entry,) = store.rows("SELECT * FROM runglass.audit_log")
    assert (entry["action"], entry["site_id"], entry["target_kind"]) == ("invalidateCache", "berlin", "site")
    assert entry["after"] == {"appType": "chat", "memberId": None, "invalidated": 2}
