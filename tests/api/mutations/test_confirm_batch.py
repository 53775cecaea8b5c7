"""confirmBatch: an estimated batch starts, exactly once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.mutations.test_estimate_batch import estimate
from tests.support.api import Api
from tests.support.store import Store

CONFIRM_BATCH = """
mutation ($id: ID!) {
  confirmBatch(input: {batchId: $id}) {
    __typename
    ... on Batch { id status confirmedBy confirmedAt memberCount jobs(first: 3) {
      totalCount { count isExact } edges { node { status siteId memberId appChain batch { id } } } } }
    ... on Refusal { code message }
  }
}
"""


def confirm(api: Api, batch_id: str) -> dict[str, Any]:
    return api.data(CONFIRM_BATCH, {"id": batch_id})["confirmBatch"]


def test_one_pending_job_for_each_app_and_member_is_linked_to_it(api: Api, store: Store) -> None:
    batch_id = estimate(api, appTypes=["chat", "mail"], memberIds=["m1", "m2", "m3"])["id"]

    batch = confirm(api, batch_id)

    assert (batch["__typename"], batch["status"], batch["confirmedBy"]) == ("Batch", "CONFIRMED", "tests")
    assert batch["jobs"]["totalCount"] == {"count": 6, "isExact": True}
    assert all(edge["node"]["batch"] == {"id": batch_id} for edge in batch["jobs"]["edges"])
    jobs = store.rows("SELECT * FROM biz.ai_trigger_jobs")
    assert {(job["member_id"], *job["app_chain"]) for job in jobs} == {
        (member, app) for member in ("m1", "m2", "m3") for app in ("chat", "mail")
    }
    assert {(job["site_id"], job["status"], job["attempt"]) for job in jobs} == {("berlin", "pending", 1)}
    assert {job["batch_id"].hex for job in jobs} == {batch_id.removeprefix("batch_")}


def test_twenty_confirmations_at_once_start_it_once(api: Api, store: Store) -> None:
    batch_id = estimate(api, memberIds=["m1", "m2"])["id"]

    answers = api.at_once(CONFIRM_BATCH, [{"id": batch_id}] * 20)

    kinds = sorted(answer["confirmBatch"]["__typename"] for answer in answers)
    assert kinds == ["Batch"] + ["Conflict"] * 19
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs") == 2
    assert store.value("SELECT count(*) FROM runglass.audit_log WHERE action = 'confirmBatch'") == 1


def test_the_second_time_is_a_conflict(api: Api, store: Store) -> None:
    batch_id = estimate(api)["id"]
    confirm(api, batch_id)
    before = store.snapshot()

    refusal = confirm(api, batch_id)

    assert refusal["message"] == "This batch is already confirmed."
    assert refusal["__typename"] == "Conflict"
    assert store.snapshot() == before


def test_an_expired_estimate_is_refused(api: Api, store: Store) -> None:
    batch_id = estimate(api)["id"]
    store.rows("UPDATE runglass.batches SET expires_at = now()")
    before = store.snapshot()

    refusal = confirm(api, batch_id)

    assert (refusal["__typename"], refusal["code"]) == ("Expired", "EXPIRED")
    assert store.snapshot() == before


def test_an_absent_batch_is_not_found(api: Api, store: Store) -> None:
    estimate(api)
    before = store.snapshot()
    assert confirm(api, "batch_" + "0" * 32)["__typename"] == "NotFound"
    assert store.snapshot() == before


@pytest.mark.parametrize(
    "wrong", ["job_1", "batch_1", "batch_", "", "batch_" + "G" * 32, "batch_" + "0" * 33]
)
def test_an_id_of_the_wrong_kind_is_a_clear_error(api: Api, store: Store, wrong: str) -> None:
    estimate(api)
    before = store.snapshot()
    error = api.error(CONFIRM_BATCH, {"id": wrong})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "batchId")
    assert "32 hexadecimal digits" in error["message"]
    assert store.snapshot() == before


def test_a_hundred_thousand_calls_are_one_transaction_within_the_statement_timeout(
    api: Api, store: Store
) -> None:
    members = [f"m{number}" for number in range(50_000)]
    batch_id = estimate(api, appTypes=["chat", "mail"], memberIds=members)["id"]

    batch = confirm(api, batch_id)

    assert batch["jobs"]["totalCount"] == {"count": 10_000, "isExact": False}
    assert store.rows(
        "SELECT count(*) AS jobs, count(DISTINCT member_id) AS members FROM biz.ai_trigger_jobs"
    ) == [{"jobs": 100_000, "members": 50_000}]


def test_a_fault_in_the_middle_leaves_the_estimate_as_it_was(api: Api, store: Store) -> None:
    batch_id = estimate(api, memberIds=["m1", "m2", "bad", "m3"])["id"]
    store.rows(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
            IF NEW.member_id = 'bad' THEN PERFORM FROM no_such_table; END IF;
            RETURN NEW;
        END $$"""
    )
    store.rows(
        "CREATE TRIGGER refuse BEFORE INSERT ON biz.ai_trigger_jobs FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    before = store.snapshot()

    error = api.error(CONFIRM_BATCH, {"id": batch_id})

    assert error["code"] == "INTERNAL_SERVER_ERROR"
    assert "fire" not in error["message"]
    assert store.snapshot() == before
    assert store.value("SELECT status FROM runglass.batches") == "estimated"

    store.rows("DROP TRIGGER refuse ON biz.ai_trigger_jobs")
    assert confirm(api, batch_id)["status"] == "CONFIRMED"


def test_the_change_is_audited(api: Api, store: Store) -> None:
    batch_id = estimate(api)["id"]
    confirm(api, batch_id)
    entry = store.rows("SELECT * FROM runglass.audit_log WHERE action = 'confirmBatch'")[0]
    assert entry["target_id"].replace("-", "") == batch_id.removeprefix("batch_")
    assert entry["before"] == {"status": "estimated"}
    assert entry["after"] == {"status": "confirmed", "jobs": 1}
