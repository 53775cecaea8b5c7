"""Hard limits refuse confirmBatch and retryJob, soft ones warn; what is confirmed is reserved meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.api.mutations.test_set_budget import set_budget
from tests.support.api import Api
from tests.support.store import Store

STATUS = "budgetId siteId appType period used reserved requested limit isHard state resetsAt"
VERDICT = f"budgetVerdict {{ state budgets {{ {STATUS} }} }}"
REFUSAL = """
  ... on Refusal { code message }
  ... on BudgetExceeded {
    used reserved requested limit resetsAt budgetId budgetSiteId budgetAppType budgetPeriod
  }
"""
ESTIMATE = f"""
mutation ($input: EstimateBatchInput!) {{
  estimateBatch(input: $input) {{ __typename ... on Batch {{ id status estimatedTokens {VERDICT} }} }}
}}
"""
CONFIRM = f"""
mutation ($input: ConfirmBatchInput!) {{
  confirmBatch(input: $input) {{ __typename ... on Batch {{ id status {VERDICT} }} {REFUSAL} }}
}}
"""
RETRY = f"""
mutation ($input: RetryJobInput!) {{
  retryJob(input: $input) {{ __typename ... on TriggerJob {{ id budgetState }} {REFUSAL} }}
}}
"""
RETRY_BATCH = f"""
mutation ($input: RetryBatchInput!) {{
  retryBatch(input: $input) {{ __typename ... on Batch {{ id {VERDICT} }} {REFUSAL} }}
}}
"""
USED_THIS_MONTH = """
SELECT coalesce(sum(tokens_used), 0)::int FROM biz.ai_run_logs WHERE created_at >= date_trunc('month', now())
"""
BATCH = f"query ($id: ID!) {{ batch(id: $id) {{ status {VERDICT} }} }}"


@pytest.fixture
def history(store: Store) -> Store:
    """A store in which a call of chat uses 100 tokens and one of mail 10, both of them long before today.

    That is in another month, but for the last days of a long one.
    """
    long_ago = datetime.now(UTC) - timedelta(days=29)
    for app, tokens in (("chat", 100), ("mail", 10)):
        store.run(app_type=app, tokens_used=tokens, created_at=long_ago)
    return store


def estimate(api: Api, members: int = 5, apps: tuple[str, ...] = ("chat",)) -> dict[str, Any]:
    given = {
        "siteId": "berlin",
        "appTypes": list(apps),
        "memberIds": [f"m{number}" for number in range(members)],
    }
    return api.data(ESTIMATE, {"input": given})["estimateBatch"]


def confirm(api: Api, batch: dict[str, Any], **more: Any) -> dict[str, Any]:
    return api.data(CONFIRM, {"input": {"batchId": batch["id"], **more}})["confirmBatch"]


def retry(api: Api, job_id: int, **more: Any) -> dict[str, Any]:
    return api.data(RETRY, {"input": {"jobId": f"job_{job_id}", **more}})["retryJob"]


def stored_only(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    return [budget for budget in verdict["budgets"] if budget["budgetId"]]


def test_a_batch_that_fits_exactly_is_confirmed_and_one_token_more_is_not(api: Api, history: Store) -> None:
    history.run(tokens_used=100)
    budget = set_budget(api, hardLimit=599)
    batch = estimate(api, members=5)
    before = history.snapshot()

    refusal = confirm(api, batch)

    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    status = {
        "budgetId": budget["id"],
        "siteId": "berlin",
        "appType": None,
        "period": "DAILY",
        "used": 100,
        "reserved": 0,
        "requested": 500,
        "limit": 599,
        "isHard": True,
        "state": "EXCEEDED",
        "resetsAt": midnight.isoformat(),
    }
    assert stored_only(batch["budgetVerdict"]) == [status]
    assert batch["budgetVerdict"]["state"] == "EXCEEDED"
    assert refusal == {
        "__typename": "BudgetExceeded",
        "code": "BUDGET_EXCEEDED",
        "message": "This needs 500 tokens, which would pass the daily hard limit of 599 tokens"
        " of site berlin.",
        "used": 100,
        "reserved": 0,
        "requested": 500,
        "limit": 599,
        "resetsAt": midnight.isoformat(),
        "budgetId": budget["id"],
        "budgetSiteId": "berlin",
        "budgetAppType": None,
        "budgetPeriod": "DAILY",
    }
    assert history.snapshot() == before

    set_budget(api, hardLimit=600)
    assert confirm(api, batch)["__typename"] == "Batch"


def test_a_hundred_confirmations_at_once_never_overrun_the_limit(api: Api, history: Store) -> None:
    set_budget(api, hardLimit=3_750)
    batches = [estimate(api, members=5) for _ in range(100)]

    answers = api.at_once(CONFIRM, [{"input": {"batchId": batch["id"]}} for batch in batches])

    kinds = [answer["confirmBatch"]["__typename"] for answer in answers]
    assert (kinds.count("Batch"), kinds.count("BudgetExceeded")) == (7, 93)
    assert history.value("SELECT count(*) FROM biz.ai_trigger_jobs") == 35


@pytest.mark.parametrize("status", ["success", "failed", "cancelled"])
def test_what_is_confirmed_is_reserved_until_its_jobs_end(api: Api, history: Store, status: str) -> None:
    set_budget(api, hardLimit=1_000)
    set_budget(api, appType="mail", hardLimit=1_000)
    batch = confirm(api, estimate(api, members=5, apps=("chat", "mail")))
    reserved = {each["appType"]: each["reserved"] for each in stored_only(batch["budgetVerdict"])}
    assert reserved == {None: 550, "mail": 50}
    assert {each["requested"] for each in batch["budgetVerdict"]["budgets"]} == {0}

    history.rows("UPDATE biz.ai_trigger_jobs SET status = %s WHERE member_id IN ('m0', 'm1')", (status,))
    history.rows("UPDATE biz.ai_trigger_jobs SET status = 'running' WHERE member_id = 'm2'")

    after = api.data(BATCH, {"id": batch["id"]})["batch"]["budgetVerdict"]
    assert {each["appType"]: each["reserved"] for each in stored_only(after)} == {None: 330, "mail": 30}
    assert confirm(api, estimate(api, members=7))["reserved"] == 330
    assert confirm(api, estimate(api, members=6))["__typename"] == "Batch"


def test_an_estimate_reserves_nothing(api: Api, history: Store) -> None:
    set_budget(api, hardLimit=500)
    estimate(api, members=5)
    assert confirm(api, estimate(api, members=5))["__typename"] == "Batch"


@pytest.mark.parametrize(
    ("budget", "refused"),
    [
        ({"siteId": None}, True),
        ({"siteId": None, "appType": "chat"}, True),
        ({"appType": "chat"}, True),
        ({"period": "MONTHLY"}, True),
        ({"siteId": "paris"}, False),
        ({"appType": "mail"}, False),
        ({"siteId": "paris", "appType": "chat"}, False),
        ({"hardLimit": None, "softLimit": 499}, False),
    ],
)
def test_each_budget_binds_what_it_counts(
    api: Api, history: Store, budget: dict[str, Any], refused: bool
) -> None:
    set_budget(api, **{"hardLimit": 499, **budget})
    answer = confirm(api, estimate(api, members=5))
    assert answer["__typename"] == ("BudgetExceeded" if refused else "Batch")


def test_a_soft_limit_warns_before_and_after(api: Api, history: Store) -> None:
    set_budget(api, softLimit=499, hardLimit=1_000)
    batch = estimate(api, members=5)
    confirmed = confirm(api, batch)
    for verdict in (batch["budgetVerdict"], confirmed["budgetVerdict"]):
        assert verdict["state"] == "WARNING"
        assert [each["state"] for each in stored_only(verdict)] == ["WARNING"]
    assert confirm(api, estimate(api, members=6))["__typename"] == "BudgetExceeded"


def test_the_limits_of_the_settings_warn_and_never_refuse(dsn: str, history: Store) -> None:
    fits_the_month = 500 + history.value(USED_THIS_MONTH)
    api = Api(dsn, daily_tokens=499, monthly_tokens=fits_the_month)
    try:
        batch = confirm(api, estimate(api, members=5))
    finally:
        api.close()
    assert batch["budgetVerdict"]["state"] == "WARNING"
    assert [
        (each["budgetId"], each["period"], each["limit"], each["isHard"], each["state"])
        for each in batch["budgetVerdict"]["budgets"]
    ] == [(None, "DAILY", 499, False, "WARNING"), (None, "MONTHLY", fits_the_month, False, "OK")]


def test_an_admin_overrides_with_a_reason_that_is_audited(api: Api, history: Store) -> None:
    budget = set_budget(api, hardLimit=499)
    answer = confirm(api, estimate(api, members=5), override={"reason": " the launch "})
    assert answer["__typename"] == "Batch"
    assert answer["budgetVerdict"]["state"] == "EXCEEDED"
    entry = history.rows("SELECT after FROM runglass.audit_log WHERE action = 'confirmBatch'")[0]["after"]
    assert (entry["override"], entry["exceededBudgets"]) == ("the launch", [int(budget["id"][7:])])


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "a\0"])
def test_an_override_needs_a_reason(api: Api, history: Store, reason: str) -> None:
    batch = estimate(api)
    before = history.snapshot()
    error = api.error(CONFIRM, {"input": {"batchId": batch["id"], "override": {"reason": reason}}})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "override")
    assert history.snapshot() == before


def test_a_retry_reserves_what_its_chain_needs(api: Api, history: Store) -> None:
    set_budget(api, softLimit=200, hardLimit=260)
    first, second = (history.job(app_chain=["chat", "mail"]) for _ in range(2))
    third = history.job(app_chain=["chat"])

    assert retry(api, first)["budgetState"] == "OK"
    assert retry(api, second)["budgetState"] == "WARNING"
    before = history.snapshot()
    refusal = retry(api, third)
    assert (refusal["__typename"], refusal["reserved"], refusal["requested"]) == ("BudgetExceeded", 220, 100)
    assert history.snapshot() == before

    history.rows("UPDATE biz.ai_trigger_jobs SET status = 'failed' WHERE retry_of_id = %s", (first,))
    assert retry(api, third)["__typename"] == "TriggerJob"


def test_retries_at_once_never_overrun_the_limit(api: Api, history: Store) -> None:
    set_budget(api, siteId=None, hardLimit=750)
    jobs = [history.job() for _ in range(20)]
    answers = api.at_once(RETRY, [{"input": {"jobId": f"job_{job}"}} for job in jobs])
    kinds = [answer["retryJob"]["__typename"] for answer in answers]
    assert (kinds.count("TriggerJob"), kinds.count("BudgetExceeded")) == (7, 13)


def test_a_retry_may_be_overridden_too(api: Api, history: Store) -> None:
    set_budget(api, hardLimit=0)
    job = history.job()
    assert retry(api, job)["__typename"] == "BudgetExceeded"
    assert retry(api, job, override={"reason": "urgent"})["__typename"] == "TriggerJob"
    entry = history.rows("SELECT after FROM runglass.audit_log WHERE action = 'retryJob'")[0]["after"]
    assert entry["override"] == "urgent"


def test_the_failed_part_of_a_batch_reserves_what_it_needs(api: Api, history: Store) -> None:
    set_budget(api, hardLimit=550)
    batch = confirm(api, estimate(api, members=5, apps=("chat", "mail")))
    history.rows("UPDATE biz.ai_trigger_jobs SET status = 'success'")
    history.rows("UPDATE biz.ai_trigger_jobs SET status = 'failed' WHERE member_id < 'm2'")
    history.rows("UPDATE runglass.batches SET status = 'completed_with_failures', finished_at = now()")
    given = {"batchId": batch["id"]}
    set_budget(api, hardLimit=219)
    before = history.snapshot()

    refusal = api.data(RETRY_BATCH, {"input": given})["retryBatch"]

    assert (refusal["__typename"], refusal["reserved"], refusal["requested"]) == ("BudgetExceeded", 0, 220)
    assert history.snapshot() == before
    set_budget(api, hardLimit=220)
    retried = api.data(RETRY_BATCH, {"input": given})["retryBatch"]
    assert [each["reserved"] for each in stored_only(retried["budgetVerdict"])] == [220]
    entry = history.rows("SELECT after FROM runglass.audit_log WHERE action = 'retryBatch'")[0]["after"]
    assert entry["calls"] == 4
