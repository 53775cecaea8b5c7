"""idempotencyKey: every mutation changes things once per caller and key, and gives the first result again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from graphql import get_named_type, is_input_object_type

from db.access.idempotency import purge_keys
from db.postgres.pool import Database
from graph.schema import schema
from tests.support.api import Api
from tests.support.store import Store

Prepare = Callable[[Api, Store], tuple[dict[str, Any], dict[str, Any]]]


class Case(NamedTuple):
    """How to try one mutation: what it gives, and two inputs that would both succeed."""

    selection: str
    prepare: Prepare


def _jobs(_api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"jobId": f"job_{store.job()}"}, {"jobId": f"job_{store.job()}"}


def _many_jobs(status: str) -> Prepare:
    def prepare(_api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
        jobs = [f"job_{store.job(status=status)}" for _ in range(3)]
        return {"jobIds": jobs[:2], "reason": "r"}, {"jobIds": jobs[2:], "reason": "r"}

    return prepare


RESULTS = "results { jobId job { id status } refusal { message } }"


def _alerts(alert_status: str | None) -> Prepare:
    def prepare(_api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
        one, other = (store.run(status="failed", alert_status=alert_status) for _ in range(2))
        return {"alertId": f"alert_{one}"}, {"alertId": f"alert_{other}"}

    return prepare


def _many_alerts(alert_status: str | None) -> Prepare:
    def prepare(_api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
        alerts = [f"alert_{store.run(status='failed', alert_status=alert_status)}" for _ in range(3)]
        return {"alertIds": alerts[:2], "reason": "r"}, {"alertIds": alerts[2:], "reason": "r"}

    return prepare


def _cache(_api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    store.cache()
    store.cache(cache_type="mail")
    return {"siteId": "berlin", "appType": "chat"}, {"siteId": "berlin"}


def _estimates(_api: Api, _store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    one = {"siteId": "berlin", "appTypes": ["chat"], "memberIds": ["m1", "m2"]}
    return one, one | {"memberIds": ["m2", "m1"]}


def _batches(api: Api, _store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    given = {"siteId": "berlin", "appTypes": ["chat"], "memberIds": ["m1"]}
    one, other = (send(api, "estimateBatch", given)["id"] for _ in range(2))
    return {"batchId": one}, {"batchId": other}


def _runs(_api: Api, _store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    run = {"siteId": "berlin", "appType": "chat", "status": "SUCCESS", "createdAt": "2026-11-01T10:00:00Z"}
    return {"runs": [run, run]}, {"runs": [run | {"createdAt": "2026-11-01T10:00:01Z"}]}


def _budgets(_api: Api, _store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    one = {"siteId": "berlin", "period": "DAILY", "hardLimit": 1_000}
    return one, one | {"hardLimit": 2_000}


def _removals(api: Api, _store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    given = {"period": "DAILY", "hardLimit": 1_000}
    one, other = (send(api, "setBudget", given | {"siteId": site})["id"] for site in ("berlin", "paris"))
    return {"budgetId": one}, {"budgetId": other}


def _new_keys(_api: Api, _store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    one = {"name": "one", "role": "VIEWER", "siteIds": ["berlin"]}
    return one, one | {"name": "other"}


def _revocations(api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    one, other = (api.as_key(name=name) and store.value(NEWEST_KEY) for name in ("one", "other"))
    return {"keyId": f"key_{one}"}, {"keyId": f"key_{other}"}


NEWEST_KEY = "SELECT max(id) FROM runglass.api_keys"


def _prices(_api: Api, _store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    one = {"model": "m", "promptPrice": "1", "completionPrice": "2", "validFrom": "2026-01-01T00:00:00Z"}
    return one, one | {"promptPrice": "1.5"}


def _removed_prices(api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    for given in _prices(api, store)[0], {**_prices(api, store)[0], "model": "n"}:
        send(api, "setModelPrice", given)
    one, other = store.rows("SELECT id FROM runglass.model_prices")
    return {"priceId": f"price_{one['id']}"}, {"priceId": f"price_{other['id']}"}


def _waiting_jobs(_api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    one, other = (store.job(status="pending") for _ in range(2))
    return {"jobId": f"job_{one}"}, {"jobId": f"job_{other}"}


def _confirmed(api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    one, other = _batches(api, store)
    for given in (one, other):
        send(api, "confirmBatch", given)
    return one, other


def _ended(api: Api, store: Store) -> tuple[dict[str, Any], dict[str, Any]]:
    one, other = _confirmed(api, store)
    store.rows("UPDATE biz.ai_trigger_jobs SET status = 'failed', finished_at = now()")
    store.rows("UPDATE runglass.batches SET status = 'completed_with_failures', finished_at = now()")
    return one, other


CHANGED_ALERTS = (
    "... on ChangedAlerts { matched count results { alertId alert { alertStatus } refusal { message } } }"
)
CASES: dict[str, Case] = {
    "retryJob": Case("... on TriggerJob { id status attempt }", _jobs),
    "retryJobs": Case(
        f"... on RetriedJobs {{ matched count {RESULTS} sample {{ id }} }}", _many_jobs("failed")
    ),
    "failJobs": Case(f"... on FailedJobs {{ matched count {RESULTS} }}", _many_jobs("running")),
    "cancelJobs": Case(f"... on CancelledJobs {{ matched count {RESULTS} }}", _many_jobs("pending")),
    "ackAlert": Case("... on Alert { id alertStatus }", _alerts(None)),
    "ignoreAlert": Case("... on Alert { id alertStatus }", _alerts(None)),
    "reopenAlert": Case("... on Alert { id alertStatus }", _alerts("ignored")),
    "ackAlerts": Case(CHANGED_ALERTS, _many_alerts(None)),
    "ignoreAlerts": Case(CHANGED_ALERTS, _many_alerts(None)),
    "reopenAlerts": Case(CHANGED_ALERTS, _many_alerts("ignored")),
    "invalidateCache": Case("... on CacheInvalidation { siteId count dryRun }", _cache),
    "estimateBatch": Case("... on Batch { id status estimatedTokens }", _estimates),
    "confirmBatch": Case("... on Batch { id status confirmedAt }", _batches),
    "recordRuns": Case("... on RecordedRuns { runIds added changed }", _runs),
    "setBudget": Case("... on BudgetLimit { id hardLimit }", _budgets),
    "removeBudget": Case("... on RemovedBudget { budgetId }", _removals),
    "setModelPrice": Case("... on ModelPrice { id promptPrice }", _prices),
    "removeModelPrice": Case("... on RemovedModelPrice { priceId }", _removed_prices),
    "cancelJob": Case("... on TriggerJob { id status }", _waiting_jobs),
    "cancelBatch": Case("... on Batch { id status cancelledBy }", _confirmed),
    "retryBatch": Case("... on Batch { id status retryOf { id } }", _ended),
    "createApiKey": Case("... on CreatedApiKey { secret apiKey { id } }", _new_keys),
    "revokeApiKey": Case("... on ApiKey { id revokedAt }", _revocations),
}
# Its result holds a secret, which is kept nowhere.
SHOWN_ONCE = "createApiKey"
MUTATIONS = sorted(schema._schema.mutation_type.fields)


def operation(name: str) -> str:
    kind = get_named_type(schema._schema.mutation_type.fields[name].args["input"].type)
    return (
        f"mutation ($input: {kind}!) {{ {name}(input: $input) {{"
        f" __typename {CASES[name].selection} ... on Refusal {{ code message }} }} }}"
    )


def send(api: Api, name: str, given: dict[str, Any]) -> dict[str, Any]:
    return api.data(operation(name), {"input": given})[name]


def effects(store: Store, name: str) -> int:
    return store.value("SELECT count(*) FROM runglass.audit_log WHERE action = %s", (name,))


def is_refusal(answer: dict[str, Any]) -> bool:
    return "code" in answer


@pytest.mark.parametrize("name", MUTATIONS)
def test_every_mutation_takes_a_key_and_is_tried_here(name: str) -> None:
    input_type = get_named_type(schema._schema.mutation_type.fields[name].args["input"].type)
    assert is_input_object_type(input_type)
    assert str(input_type.fields["idempotencyKey"].type) == "String"
    assert "Conflict" in {member.name for member in get_named_type(_output(name)).types}
    assert name in CASES


def _output(name: str) -> Any:
    return schema._schema.mutation_type.fields[name].type


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_same_request_again_changes_nothing_and_gets_the_first_result(
    api: Api, store: Store, name: str
) -> None:
    given, _ = CASES[name].prepare(api, store)
    keyed = given | {"idempotencyKey": "k1"}
    before = effects(store, name)

    first = send(api, name, keyed)
    after_first = store.snapshot()
    again = send(api, name, keyed)

    assert not is_refusal(first)
    assert again == first or (name == SHOWN_ONCE and again["code"] == "CONFLICT")
    assert effects(store, name) == before + 1
    assert store.snapshot() == after_first


@pytest.mark.parametrize("name", MUTATIONS)
def test_fifty_at_once_make_one_change(api: Api, store: Store, name: str) -> None:
    given, _ = CASES[name].prepare(api, store)
    keyed = {"input": given | {"idempotencyKey": "k1"}}
    before = effects(store, name)

    answers = [answer[name] for answer in api.at_once(operation(name), [keyed] * 50)]

    done = [answer for answer in answers if not is_refusal(answer)]
    assert all(answer == done[0] for answer in done)
    assert len(done) == (1 if name == SHOWN_ONCE else 50)
    assert effects(store, name) == before + 1


@pytest.mark.parametrize("name", MUTATIONS)
def test_another_input_under_the_key_is_a_conflict(api: Api, store: Store, name: str) -> None:
    given, other = CASES[name].prepare(api, store)
    send(api, name, given | {"idempotencyKey": "k1"})
    before = store.snapshot()

    refusal = send(api, name, other | {"idempotencyKey": "k1"})

    assert (refusal["__typename"], refusal["code"]) == ("Conflict", "CONFLICT")
    assert "idempotencyKey" in refusal["message"]
    assert store.snapshot() == before
    assert not is_refusal(send(api, name, other | {"idempotencyKey": "k2"}))


def test_another_caller_may_use_the_same_key(api: Api, store: Store) -> None:
    given, other = _jobs(api, store)
    keyed = {"input": other | {"idempotencyKey": "k1"}}
    send(api, "retryJob", given | {"idempotencyKey": "k1"})

    colleague = api.as_key(role="operator", name="tests")
    answer = colleague.data(operation("retryJob"), keyed)["retryJob"]

    assert answer["__typename"] == "TriggerJob"
    assert effects(store, "retryJob") == 2


def test_a_secret_is_neither_kept_nor_given_again(api: Api, store: Store) -> None:
    given, _ = _new_keys(api, store)
    keyed = given | {"idempotencyKey": "k1"}
    secret = send(api, "createApiKey", keyed)["secret"]

    again = send(api, "createApiKey", keyed)

    assert (again["__typename"], secret in str(again)) == ("Conflict", False)
    assert store.value("SELECT result FROM runglass.idempotency_keys") == {}


def test_a_key_revoked_under_an_idempotency_key_is_worthless_at_once(api: Api, store: Store) -> None:
    colleague = api.as_key(name="one")
    assert colleague.data("{ viewer { name } }")
    key_id = store.value(NEWEST_KEY)

    send(api, "revokeApiKey", {"keyId": f"key_{key_id}", "idempotencyKey": "k1"})

    assert colleague.error("{ viewer { name } }")["code"] == "UNAUTHENTICATED"


def test_another_mutation_under_the_key_is_a_conflict(api: Api, store: Store) -> None:
    given, _ = _alerts(None)(api, store)
    send(api, "ackAlert", given | {"idempotencyKey": "k1"})
    before = store.snapshot()

    assert send(api, "ignoreAlert", given | {"idempotencyKey": "k1"})["code"] == "CONFLICT"
    assert store.snapshot() == before


@pytest.mark.parametrize("name", ["estimateBatch", "recordRuns"])
def test_an_expired_key_is_a_new_one(api: Api, store: Store, name: str) -> None:
    given, _ = CASES[name].prepare(api, store)
    keyed = given | {"idempotencyKey": "k1"}
    first = send(api, name, keyed)
    store.rows("UPDATE runglass.idempotency_keys SET expires_at = now()")

    second = send(api, name, keyed)

    assert second != first
    assert effects(store, name) == 2
    assert send(api, name, keyed) == second


def test_a_refusal_leaves_no_key(api: Api, store: Store) -> None:
    job = store.job(status="running")
    keyed = {"jobId": f"job_{job}", "idempotencyKey": "k1"}
    assert send(api, "retryJob", keyed)["code"] == "CONFLICT"
    assert store.value("SELECT count(*) FROM runglass.idempotency_keys") == 0

    store.rows("UPDATE biz.ai_trigger_jobs SET status = 'failed'")

    assert send(api, "retryJob", keyed)["__typename"] == "TriggerJob"


def test_what_is_gone_meanwhile_is_not_found(api: Api, store: Store) -> None:
    keyed = {"jobId": f"job_{store.job()}", "idempotencyKey": "k1"}
    retry = send(api, "retryJob", keyed)
    store.rows("DELETE FROM biz.ai_trigger_jobs WHERE id = %s", (int(retry["id"][4:]),))

    assert send(api, "retryJob", keyed)["code"] == "NOT_FOUND"


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "a\0b", "a\x7f"])
def test_a_key_that_cannot_be_kept_is_a_clear_error(api: Api, store: Store, key: str) -> None:
    before = store.snapshot()
    error = api.error(operation("retryJob"), {"input": {"jobId": "job_1", "idempotencyKey": key}})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "idempotencyKey")
    assert store.snapshot() == before


def test_only_expired_keys_are_purged(api: Api, store: Store) -> None:
    for key in ("old", "new"):
        send(api, "retryJob", {"jobId": f"job_{store.job()}", "idempotencyKey": key})
    store.rows("UPDATE runglass.idempotency_keys SET expires_at = now() WHERE key = 'old'")

    async def purge() -> int:
        database: Database = api.app.state.database
        async with database.connection() as connection:
            return await purge_keys(connection)

    assert api.runner.run(purge()) == 1
    assert store.rows("SELECT key FROM runglass.idempotency_keys") == [{"key": "new"}]


def test_keys_are_kept_for_the_configured_time(dsn: str, store: Store) -> None:
    api = Api(dsn, idempotency_lifetime=90)
    try:
        send(api, "retryJob", {"jobId": f"job_{store.job()}", "idempotencyKey": "k1"})
    finally:
        api.close()
    kept = store.value("SELECT extract(epoch FROM expires_at - created_at) FROM runglass.idempotency_keys")
    assert kept == 90
