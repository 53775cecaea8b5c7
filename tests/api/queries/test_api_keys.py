"""apiKeys: an admin sees the keys that reach no further than itself."""

from __future__ import annotations

import pytest

from tests.support.api import Api, Client
from tests.support.store import Store

KEYS = """
query ($first: Int, $after: String, $last: Int, $before: String) {
  apiKeys(first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id name state siteIds } }
    pageInfo { hasNextPage hasPreviousPage endCursor }
    totalCount { count isExact }
  }
}
"""


def names(client: Client) -> list[str]:
    return [edge["node"]["name"] for edge in client.data(KEYS)["apiKeys"]["edges"]]


def test_keys_come_newest_first_page_by_page(api: Api) -> None:
    for index in range(5):
        api.as_key(name=f"key {index}")
    seen: list[str] = []
    after = None
    while True:
        page = api.data(KEYS, {"first": 2, "after": after})["apiKeys"]
        seen += [edge["node"]["name"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert seen == ["key 4", "key 3", "key 2", "key 1", "key 0", "tests"]
    assert page["totalCount"] == {"count": 6, "isExact": True}
    assert names(api) == seen


def test_an_admin_of_some_sites_sees_keys_of_these_sites_only(api: Api) -> None:
    api.as_key(sites=["berlin"], name="b")
    api.as_key(sites=["berlin", "tokyo"], name="bt")
    api.as_key(sites=["tokyo"], name="t")
    api.as_key(name="all")
    berlin = api.as_key(role="admin", sites=["berlin"], name="admin b")
    both = api.as_key(role="admin", sites=["berlin", "tokyo"], name="admin bt")
    assert names(berlin) == ["admin b", "b"]
    assert names(both) == ["admin bt", "admin b", "t", "bt", "b"]
    assert len(names(api)) == 7
    assert berlin.data(KEYS)["apiKeys"]["totalCount"]["count"] == 2


def test_what_became_of_a_key_is_told(api: Api, store: Store) -> None:
    for name in ("active", "expired", "revoked"):
        api.as_key(name=name)
    store.rows("UPDATE runglass.api_keys SET expires_at = now() WHERE name = 'expired'")
    store.rows("UPDATE runglass.api_keys SET revoked_at = now() WHERE name = 'revoked'")
    statees = {edge["node"]["name"]: edge["node"]["state"] for edge in api.data(KEYS)["apiKeys"]["edges"]}
    assert statees == {"active": "ACTIVE", "expired": "EXPIRED", "revoked": "REVOKED", "tests": "ACTIVE"}


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_admins_see_keys(api: Api, role: str) -> None:
    assert api.as_key(role=role).error(KEYS)["code"] == "FORBIDDEN"


def test_many_keys_cost_no_more_statements_than_one(api: Api) -> None:
    query = "{ apiKeys { edges { node { id role siteIds state createdBy } } } }"
    one = api.statements(query)
    for index in range(20):
        api.as_key(name=f"key {index}")
    assert api.statements(query) == one == 1


@pytest.mark.parametrize("kind", ["key", "audit"])
def test_a_node_of_admins_is_absent_to_others(api: Api, store: Store, kind: str) -> None:
    api.data('mutation { invalidateCache(input: {siteId: "berlin"}) { __typename } }')
    query = "query ($id: ID!) { node(id: $id) { __typename id } }"
    variables = {"id": f"{kind}_1"}
    found = {"key": "ApiKey", "audit": "AuditEntry"}[kind]
    assert api.data(query, variables)["node"] == {"__typename": found, "id": f"{kind}_1"}
    for role in ("viewer", "operator"):
        assert api.as_key(role=role).data(query, variables) == {"node": None}
