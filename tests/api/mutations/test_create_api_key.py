"""createApiKey: a key is shown once, and can never do more than whoever made it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.api import Api, Client
from tests.support.store import Store

CREATE = """
mutation ($input: CreateApiKeyInput!) {
  createApiKey(input: $input) {
    __typename
    ... on CreatedApiKey {
      secret
      apiKey {
        id name keyPrefix role siteIds readsTexts state
        expiresAt lastUsedAt createdBy createdAt revokedBy revokedAt
      }
    }
    ... on Refusal { code message }
    ... on InvalidInput { field }
  }
}
"""
WANTED = {"name": "robot", "role": "OPERATOR", "siteIds": ["tokyo", "berlin", "tokyo"]}


def create(client: Client, **wanted: Any) -> dict[str, Any]:
    return client.data(CREATE, {"input": WANTED | wanted})["createApiKey"]


def test_the_key_works_and_is_shown_once(api: Api, store: Store) -> None:
    created = create(api, readsTexts=True)
    key, secret = created["apiKey"], created["secret"]
    number = store.value("SELECT id FROM runglass.api_keys WHERE name = 'robot'")
    assert secret.startswith("rg_")
    assert len(secret) == 46
    assert key.pop("createdAt")
    assert key == {
        "id": f"key_{number}",
        "name": "robot",
        "keyPrefix": secret[:8],
        "role": "OPERATOR",
        "siteIds": ["tokyo", "berlin"],
        "readsTexts": True,
        "state": "ACTIVE",
        "expiresAt": None,
        "lastUsedAt": None,
        "createdBy": "tests",
        "revokedBy": None,
        "revokedAt": None,
    }
    robot = Client(api.runner, api.client, {"authorization": f"Bearer {secret}"})
    assert robot.data("{ viewer { name role siteIds readsTexts } }")["viewer"] == {
        "name": "robot",
        "role": "OPERATOR",
        "siteIds": ["berlin", "tokyo"],
        "readsTexts": True,
    }


def test_a_key_may_see_every_site_when_asked_for(api: Api) -> None:
    assert create(api, siteIds=None, everySite=True)["apiKey"]["siteIds"] is None


def test_an_expiry_without_an_offset_is_in_the_configured_zone(dsn: str) -> None:
    api = Api(dsn, time_zone="Asia/Kolkata")
    try:
        created = create(api, expiresAt="2100-01-01T00:00:00")
        assert created["apiKey"]["expiresAt"] == "2099-12-31T18:30:00+00:00"
    finally:
        api.close()


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "  "}, "name"),
        ({"name": "x" * 101}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"siteIds": None}, "siteIds"),
        ({"siteIds": []}, "siteIds"),
        ({"siteIds": [""]}, "siteIds"),
        ({"siteIds": ["x" * 201]}, "siteIds"),
        ({"everySite": True}, "siteIds"),
        ({"expiresAt": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()}, "expiresAt"),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(
    api: Api, store: Store, wanted: dict[str, Any], field: str
) -> None:
    before = store.snapshot()
    refusal = create(api, **wanted)
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert store.snapshot() == before


def test_an_admin_gives_only_what_it_has(api: Api, store: Store) -> None:
    admin = api.as_key(role="admin", sites=["berlin"])
    before = store.snapshot()
    assert create(admin, siteIds=None, everySite=True)["field"] == "siteIds"
    assert create(admin, siteIds=["berlin"], readsTexts=True)["field"] == "readsTexts"
    for sites in (["tokyo"], ["berlin", "tokyo"], ["nowhere"]):
        assert create(admin, siteIds=sites) == {
            "__typename": "NotFound",
            "code": "NOT_FOUND",
            "message": "There is no such site.",
        }
    assert store.snapshot() == before
    assert create(admin, siteIds=["berlin"], role="ADMIN")["__typename"] == "CreatedApiKey"


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_admins_make_keys(api: Api, store: Store, role: str) -> None:
    client = api.as_key(role=role)
    before = store.snapshot()
    assert client.error(CREATE, {"input": WANTED})["code"] == "FORBIDDEN"
    assert store.snapshot() == before


def test_each_site_of_the_key_has_an_audit_entry_of_its_own(api: Api, store: Store) -> None:
    secret = create(api)["secret"]
    entries = store.rows("SELECT * FROM runglass.audit_log ORDER BY site_id")
    number = store.value("SELECT id FROM runglass.api_keys WHERE name = 'robot'")
    assert [entry["site_id"] for entry in entries] == ["berlin", "tokyo"]
    admin = store.value("SELECT id FROM runglass.api_keys WHERE name = 'tests'")
    for entry in entries:
        assert (entry["actor"], entry["actor_id"], entry["action"]) == (
            "tests",
            f"key_{admin}",
            "createApiKey",
        )
        assert (entry["target_kind"], entry["target_id"]) == ("key", str(number))
        assert entry["after"] == {"name": "robot", "role": "operator", "readsTexts": False, "expiresAt": None}
        assert secret[:8] not in str(entry)
