"""batch: one batch by its id."""

from __future__ import annotations

import pytest

from tests.api.mutations.test_confirm_batch import confirm
from tests.api.mutations.test_estimate_batch import estimate
from tests.support.api import Api
from tests.support.store import Store

BATCH = """
query ($id: ID!, $first: Int, $after: String) {
  batch(id: $id) {
    id siteId appTypes memberCount status estimatedCalls estimatedTokens confirmedBy
    apps { appType isFallback }
    jobs(first: $first, after: $after) {
      edges { cursor node { id memberId } } pageInfo { hasNextPage } totalCount { count isExact }
    }
  }
}
"""


def test_an_estimate_then_a_confirmed_batch_with_its_jobs_page_by_page(module_api: Api) -> None:
    batch_id = estimate(module_api, memberIds=["m1", "m2", "m3"])["id"]
    shown = module_api.data(BATCH, {"id": batch_id})["batch"]
    assert shown == {
        "id": batch_id,
        "siteId": "berlin",
        "appTypes": ["chat"],
        "memberCount": 3,
        "status": "ESTIMATED",
        "estimatedCalls": 3,
        "estimatedTokens": 6000,
        "confirmedBy": None,
        "apps": [{"appType": "chat", "isFallback": True}],
        "jobs": {
            "edges": [],
            "pageInfo": {"hasNextPage": False},
            "totalCount": {"count": 0, "isExact": True},
        },
    }

    confirm(module_api, batch_id)

    shown = module_api.data(BATCH, {"id": batch_id, "first": 2})["batch"]
    assert (shown["status"], shown["confirmedBy"]) == ("CONFIRMED", "tests")
    assert shown["jobs"]["totalCount"] == {"count": 3, "isExact": True}
    assert shown["jobs"]["pageInfo"] == {"hasNextPage": True}
    cursor = shown["jobs"]["edges"][1]["cursor"]
    rest = module_api.data(BATCH, {"id": batch_id, "first": 2, "after": cursor})["batch"]
    members = [edge["node"]["memberId"] for edge in shown["jobs"]["edges"] + rest["jobs"]["edges"]]
    assert sorted(members) == ["m1", "m2", "m3"]


def test_an_estimate_whose_time_ran_out_is_expired(module_api: Api, module_store: Store) -> None:
    batch_id = estimate(module_api)["id"]
    module_store.rows("UPDATE runglass.batches SET expires_at = now() WHERE status = 'estimated'")
    assert module_api.data(BATCH, {"id": batch_id})["batch"]["status"] == "EXPIRED"


def test_a_confirmed_batch_does_not_expire(module_api: Api, module_store: Store) -> None:
    batch_id = estimate(module_api)["id"]
    confirm(module_api, batch_id)
    module_store.rows("UPDATE runglass.batches SET expires_at = now() - interval '1 day'")
    assert module_api.data(BATCH, {"id": batch_id})["batch"]["status"] == "CONFIRMED"


def test_an_absent_batch_is_null(module_api: Api) -> None:
    assert module_api.data(BATCH, {"id": "batch_" + "0" * 32}) == {"batch": None}


@pytest.mark.parametrize(
    "wrong", ["job_1", "batch_1", "batch_", "", "batch_" + "A" * 32, "batch_" + "0" * 31]
)
def test_an_id_of_the_wrong_kind_is_a_clear_error(module_api: Api, wrong: str) -> None:
    error = module_api.error(BATCH, {"id": wrong})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "id")
    assert "32 hexadecimal digits" in error["message"]
