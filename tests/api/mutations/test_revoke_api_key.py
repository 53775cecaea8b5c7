"""revokeApiKey: a key is worthless from the next request on."""

from __future__ import annotations

import pytest

from tests.support.api import Api
from tests.support.store import Store

REVOKE = """
mutation ($id: ID!) {
  revokeApiKey(input: {keyId: $id}) {
    __typename
    ... on ApiKey { id state revokedBy revokedAt }
    ... on Refusal { code message }
  }
}
"""


def number(store: Store, name: str = "another") -> int:
    return store.value("SELECT id FROM runglass.api_keys WHERE name = %s", (name,))


def test_a_revoked_key_is_refused(api: Api, store: Store) -> None:
    key = api.as_key()
    assert key.data("{ viewer { name } }")

    revoked = api.data(REVOKE, {"id": f"key_{number(store)}"})["revokeApiKey"]

    assert revoked.pop("revokedAt")
    assert revoked == {
        "__typename": "ApiKey",
        "id": f"key_{number(store)}",
        "state": "REVOKED",
        "revokedBy": "tests",
    }
    assert key.error("{ viewer { name } }")["code"] == "UNAUTHENTICATED"
    entry = store.rows("SELECT * FROM runglass.audit_log")[0]
    assert (entry["action"], entry["target_kind"], entry["target_id"], entry["site_id"]) == (
        "revokeApiKey",
        "key",
        str(number(store)),
        None,
    )
    assert (entry["before"], entry["after"]) == ({"revoked": False}, {"revoked": True})


def test_a_key_is_revoked_once(api: Api, store: Store) -> None:
    api.as_key()
    variables = {"id": f"key_{number(store)}"}
    answers = api.at_once(REVOKE, [variables] * 10)
    kinds = sorted(answer["revokeApiKey"]["__typename"] for answer in answers)
    assert kinds == ["ApiKey"] + ["Conflict"] * 9
    assert len(store.rows("SELECT * FROM runglass.audit_log")) == 1


@pytest.mark.parametrize("sites", [["tokyo"], ["berlin", "tokyo"], None])
def test_a_key_that_reaches_further_is_as_absent_as_none(
    api: Api, store: Store, sites: list[str] | None
) -> None:
    api.as_key(sites=sites)
    admin = api.as_key(role="admin", sites=["berlin"], name="berlin")
    before = store.snapshot()
    foreign = admin.execute(REVOKE, {"id": f"key_{number(store)}"})
    absent = admin.execute(REVOKE, {"id": "key_999999"})
    assert foreign == absent
    assert foreign["data"]["revokeApiKey"]["code"] == "NOT_FOUND"
    assert store.snapshot() == before


def test_an_admin_may_revoke_its_own_key(api: Api, store: Store) -> None:
    admin = api.as_key(role="admin", sites=["berlin", "tokyo"], name="own")
    assert admin.data(REVOKE, {"id": f"key_{number(store, 'own')}"})["revokeApiKey"]["state"] == "REVOKED"
    assert admin.error("{ viewer { name } }")["code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_admins_revoke(api: Api, store: Store, role: str) -> None:
    client = api.as_key(role=role)
    before = store.snapshot()
    assert client.error(REVOKE, {"id": f"key_{number(store)}"})["code"] == "FORBIDDEN"
    assert store.snapshot() == before


@pytest.mark.parametrize("wrong", ["job_1", "key_", "key_x", "3", "key_0"])
def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, wrong: str) -> None:
    error = api.error(REVOKE, {"id": wrong})
    assert error["code"] == "BAD_USER_INPUT"
    assert "key_42" in error["message"]
