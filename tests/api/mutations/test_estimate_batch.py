"""estimateBatch: what many calls would cost, before anything is called."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from bench.estimates import alike
from tests.support.api import Api
from tests.support.store import Store

ESTIMATE_BATCH = """
mutation ($input: EstimateBatchInput!) {
  estimateBatch(input: $input) {
    __typename
    ... on Batch {
      id siteId appTypes memberCount status estimatedCalls estimatedTokens createdBy createdAt expiresAt
      confirmedBy confirmedAt apps { appType calls meanTokens sampleSize isFallback }
      jobs { edges { cursor } }
    }
    ... on Refusal { code message }
    ... on InvalidInput { field }
  }
}
"""


def estimate(api: Api, **given: Any) -> dict[str, Any]:
    values = {"siteId": "berlin", "appTypes": ["chat"], "memberIds": ["m1"], **given}
    return api.data(ESTIMATE_BATCH, {"input": values})["estimateBatch"]


@pytest.fixture
def brief_api(dsn: str) -> Iterator[Api]:
    """An app whose estimates hold for a minute."""
    api = Api(dsn, batch_lifetime=60)
    yield api
    api.close()


def test_an_app_costs_the_mean_of_its_runs_at_the_site(api: Api, store: Store) -> None:
    for tokens in (100, 200, 600):
        store.run(tokens_used=tokens)
    store.run(tokens_used=9, site_id="paris")
    store.run(tokens_used=50, app_type="mail", status="failed")

    batch = estimate(api, appTypes=["chat", "mail"], memberIds=["m1", "m2"])

    assert batch["apps"] == [
        {"appType": "chat", "calls": 2, "meanTokens": 300.0, "sampleSize": 3, "isFallback": False},
        {"appType": "mail", "calls": 2, "meanTokens": 50.0, "sampleSize": 1, "isFallback": False},
    ]
    assert (batch["estimatedCalls"], batch["estimatedTokens"]) == (4, 700)
    assert (batch["status"], batch["createdBy"], batch["confirmedBy"]) == ("ESTIMATED", "tests", None)
    assert batch["jobs"] == {"edges": []}
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs") == 0


def test_only_calls_that_are_over_and_whose_tokens_are_known_count(api: Api, store: Store) -> None:
    # As in an adopted table: nobody has said what some runs used.
    store.rows("ALTER TABLE biz.ai_run_logs ALTER tokens_used DROP NOT NULL")
    for status, tokens in (("success", 900), ("failed", 0), ("timeout", 300)):
        store.run(status=status, tokens_used=tokens)
    for status in ("running", "pending", "circuit_open", "paused"):
        for tokens in (0, 5000):
            store.run(status=status, tokens_used=tokens)
    store.run(tokens_used=None)
    store.run(tokens_used=None, status="failed")
    store.run(app_type="mail", status="circuit_open", tokens_used=0)
    store.run(app_type="mail", tokens_used=None)

    batch = estimate(api, appTypes=["chat", "mail"], memberIds=["m1", "m2"])

    assert batch["apps"] == [
        {"appType": "chat", "calls": 2, "meanTokens": 400.0, "sampleSize": 3, "isFallback": False},
        {"appType": "mail", "calls": 2, "meanTokens": 2000.0, "sampleSize": 0, "isFallback": True},
    ]
    assert batch["estimatedTokens"] == 4800


def test_many_runs_that_do_not_count_hide_no_call(api: Api, store: Store) -> None:
    for _ in range(3):
        store.run(tokens_used=600)
    store.rows(
        "INSERT INTO biz.ai_run_logs (site_id, app_type, status)"
        " SELECT 'berlin', 'chat', CASE WHEN n % 2 = 0 THEN 'running' ELSE 'circuit_open' END"
        " FROM generate_series(1, 3000) AS n"
    )
    (app,) = estimate(api)["apps"]
    assert (app["meanTokens"], app["sampleSize"]) == (600.0, 3)


def test_a_retry_reserves_what_a_call_takes(api: Api, store: Store) -> None:
    store.run(tokens_used=700)
    store.run(tokens_used=0, status="running")
    job = store.job(app_chain=["chat", "chat"])
    api.data(f'mutation {{ retryJob(input: {{jobId: "job_{job}"}}) {{ ... on TriggerJob {{ id }} }} }}')
    assert store.value("SELECT reserved_tokens FROM biz.ai_trigger_jobs WHERE retry_of_id IS NOT NULL") == {
        "chat": 1400
    }


def test_without_history_2000_tokens_are_assumed_and_said_to_be(api: Api, store: Store) -> None:
    batch = estimate(api, memberIds=["m1", "m2", "m3"])
    assert batch["apps"] == [
        {"appType": "chat", "calls": 3, "meanTokens": 2000.0, "sampleSize": 0, "isFallback": True}
    ]
    assert batch["estimatedTokens"] == 6000


def test_runs_older_than_thirty_days_are_no_history(api: Api, store: Store) -> None:
    now = datetime.now(UTC)
    store.run(tokens_used=1, created_at=now - timedelta(days=31))
    assert estimate(api)["apps"][0]["isFallback"]

    store.run(tokens_used=70, created_at=now - timedelta(days=29))
    assert estimate(api)["apps"][0]["meanTokens"] == 70.0


RANGE = """
  estimatedTokens estimatedTokensRange { low high } estimatedCost estimatedCostRange { low high }
  apps { appType p10Tokens p90Tokens recentSampleSize meanCost }
"""
ESTIMATE_RANGE = f"""
mutation ($input: EstimateBatchInput!) {{ estimateBatch(input: $input) {{ ... on Batch {{ id {RANGE} }} }} }}
"""


def estimate_range(api: Api, apps: list[str], members: int) -> dict[str, Any]:
    values = {"siteId": "berlin", "appTypes": apps, "memberIds": [f"m{n}" for n in range(members)]}
    return api.data(ESTIMATE_RANGE, {"input": values})["estimateBatch"]


def add_calls(store: Store, app_type: str, tokens: Iterable[int]) -> None:
    for count in tokens:
        store.run(
            app_type=app_type, tokens_used=count, model="gpt-5", prompt_tokens=0, completion_tokens=count
        )


def test_the_spread_of_calls_gives_the_range_of_their_total(api: Api, store: Store) -> None:
    add_calls(store, "chat", range(0, 1100, 100))
    store.run(tokens_used=10**9, site_id="paris")
    store.rows(
        "INSERT INTO runglass.model_prices (model, prompt_price, completion_price, valid_from, created_by,"
        " updated_by) VALUES ('gpt-5', 1, 2000, '2026-01-01Z', 'tests', 'tests')"
    )

    batch = estimate_range(api, ["chat"], 25)

    # A call deviates by 331.7 of the mean 500, and costs a 500th of its tokens.
    assert batch["apps"] == [
        {"appType": "chat", "p10Tokens": 100, "p90Tokens": 900, "recentSampleSize": 11, "meanCost": "1"}
    ]
    assert batch["estimatedTokens"] == 12_500
    # Student's t of 11 blocks, and the growth that is taken for granted: 25 ** 0.2 and 11 ** 0.2.
    margin = 1.372 * 331.66 * (25 * 25**0.2 + 25**2 * 11**0.2 / 11) ** 0.5
    between = batch["estimatedTokensRange"]
    assert [between["low"], between["high"]] == pytest.approx([12_500 - margin, 12_500 + margin], abs=1)
    cost = batch["estimatedCostRange"]
    assert batch["estimatedCost"] == "25"
    assert [float(cost[end]) for end in ("low", "high")] == pytest.approx(
        [25 - margin / 500, 25 + margin / 500], abs=0.01
    )


def test_one_app_of_which_too_little_is_known_leaves_the_range_unknown(api: Api, store: Store) -> None:
    add_calls(store, "chat", range(100, 120))
    add_calls(store, "mail", range(100, 109))
    store.run(app_type="mail", status="running", tokens_used=0)
    assert estimate_range(api, ["chat"], 3)["estimatedTokensRange"] is not None
    batch = estimate_range(api, ["chat", "mail", "none"], 3)
    assert (batch["estimatedTokensRange"], batch["estimatedCostRange"]) == (None, None)
    assert [(app["p90Tokens"], app["recentSampleSize"]) for app in batch["apps"]] == [
        (117.0, 20),
        (108.0, 9),
        (None, 0),
    ]
    store.run(app_type="mail", tokens_used=100)
    assert estimate_range(api, ["chat", "mail"], 3)["estimatedTokensRange"] is not None


def test_the_range_of_a_few_uneven_calls_does_not_begin_below_nothing(api: Api, store: Store) -> None:
    add_calls(store, "chat", [0] * 19 + [10_000])
    assert estimate_range(api, ["chat"], 1)["estimatedTokensRange"]["low"] == 0


def test_only_the_newest_1000_calls_say_what_a_call_takes(api: Api, store: Store) -> None:
    now = datetime.now(UTC)
    store.rows(
        "INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, created_at)"
        " SELECT 'berlin', 'chat', 'success', CASE WHEN n <= 1000 THEN 50 ELSE 1000 END,"
        " %s - n * interval '1 minute' FROM generate_series(1, 1100) AS n",
        (now,),
    )
    (app,) = estimate_range(api, ["chat"], 1)["apps"]
    assert (app["p10Tokens"], app["p90Tokens"], app["recentSampleSize"]) == (50, 50, 1000)
    (app,) = estimate(api)["apps"]
    assert (app["meanTokens"], app["sampleSize"]) == (50.0, 1000)


def test_the_ranges_that_the_api_shows_hold_the_totals_that_follow(api: Api, store: Store) -> None:
    tokens, calls, inside = alike(500 + 30 * 100, seed=5, memory=0.98), 100, 0
    began = datetime.now(UTC) - timedelta(days=1)

    def add(first: int, last: int) -> None:
        with store.connection.cursor().copy(
            "COPY biz.ai_run_logs (site_id, app_type, status, tokens_used, created_at) FROM STDIN"
        ) as copy:
            for number in range(first, last):
                copy.write_row(
                    ("berlin", "chat", "success", tokens[number], began + timedelta(seconds=number))
                )

    add(0, 500)
    for first in range(500, len(tokens), calls):
        between = estimate_range(api, ["chat"], calls)["estimatedTokensRange"]
        inside += between["low"] <= sum(tokens[first : first + calls]) <= between["high"]
        add(first, first + calls)
    assert 0.75 <= inside / 30 <= 0.9


def test_a_batch_keeps_what_its_estimate_said(api: Api, store: Store) -> None:
    add_calls(store, "chat", range(100, 120))
    said = estimate_range(api, ["chat"], 30)
    add_calls(store, "chat", range(5000, 5040))
    kept = api.data(f"query ($id: ID!) {{ batch(id: $id) {{ id {RANGE} }} }}", {"id": said["id"]})["batch"]
    assert kept == said
    assert estimate_range(api, ["chat"], 30)["estimatedTokensRange"] != said["estimatedTokensRange"]


def test_a_batch_of_before_there_were_ranges_has_none(api: Api, store: Store) -> None:
    add_calls(store, "chat", range(100, 120))
    said = estimate_range(api, ["chat"], 30)
    store.rows(
        "UPDATE runglass.batches SET app_estimates ="
        """ '[{"app_type": "chat", "calls": 1, "mean_tokens": 5, "sample_size": 3}]'"""
    )
    kept = api.data(f"query ($id: ID!) {{ batch(id: $id) {{ id {RANGE} }} }}", {"id": said["id"]})["batch"]
    assert (kept["estimatedTokensRange"], kept["estimatedCost"], kept["estimatedCostRange"]) == (None,) * 3
    assert kept["apps"][0]["p10Tokens"] is None


def test_duplicates_and_blanks_count_once_and_not_at_all(api: Api, store: Store) -> None:
    batch = estimate(api, appTypes=["chat", "chat", "", "mail"], memberIds=["m1", "m1", "  ", "m2 "])
    assert (batch["appTypes"], batch["memberCount"], batch["estimatedCalls"]) == (["chat", "mail"], 2, 4)
    assert store.value("SELECT member_ids FROM runglass.batches") == ["m1", "m2"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"appTypes": []}, "appTypes"),
        ({"memberIds": []}, "memberIds"),
        ({"appTypes": ["", "  "]}, "appTypes"),
        ({"memberIds": ["\t"]}, "memberIds"),
        ({"memberIds": ["m" * 201]}, "memberIds"),
        ({"appTypes": ["a" * 201]}, "appTypes"),
    ],
)
def test_lists_that_name_nothing_usable_are_refused(
    api: Api, store: Store, given: dict[str, Any], field: str
) -> None:
    before = store.snapshot()
    refusal = estimate(api, **given)
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert store.snapshot() == before


def test_at_most_a_hundred_thousand_calls(api: Api, store: Store) -> None:
    apps = [f"app{number}" for number in range(10)]
    members = [f"m{number}" for number in range(10_001)]
    before = store.snapshot()

    refusal = estimate(api, appTypes=apps, memberIds=members)
    assert (refusal["__typename"], refusal["code"]) == ("InvalidInput", "INVALID_INPUT")
    assert "100,000" in refusal["message"]
    assert "100,010" in refusal["message"]
    assert store.snapshot() == before

    assert estimate(api, appTypes=apps, memberIds=members[:10_000])["estimatedCalls"] == 100_000


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800"])
def test_a_text_that_no_column_holds_is_a_coded_error(api: Api, store: Store, text: str) -> None:
    before = store.snapshot()
    values = {"siteId": "berlin", "appTypes": ["chat"], "memberIds": ["m1", text]}
    error = api.error(ESTIMATE_BATCH, {"input": values})
    assert error["code"] in ("BAD_USER_INPUT", "BAD_REQUEST")
    assert store.snapshot() == before


def test_an_estimate_holds_ten_minutes(api: Api, store: Store) -> None:
    batch = estimate(api)
    lifetime = datetime.fromisoformat(batch["expiresAt"]) - datetime.fromisoformat(batch["createdAt"])
    assert lifetime == timedelta(minutes=10)


def test_the_setting_says_how_long_an_estimate_holds(brief_api: Api) -> None:
    batch = estimate(brief_api)
    lifetime = datetime.fromisoformat(batch["expiresAt"]) - datetime.fromisoformat(batch["createdAt"])
    assert lifetime == timedelta(minutes=1)


def test_two_at_once_are_two_estimates(api: Api, store: Store) -> None:
    values = {"siteId": "berlin", "appTypes": ["chat"], "memberIds": ["m1"]}
    answers = api.at_once(ESTIMATE_BATCH, [{"input": values}] * 5)
    assert len({answer["estimateBatch"]["id"] for answer in answers}) == 5
    assert store.value("SELECT count(*) FROM runglass.batches") == 5


def test_the_change_is_audited(api: Api, store: Store) -> None:
    batch = estimate(api)
    (entry,) = store.rows("SELECT * FROM runglass.audit_log")
    assert (entry["action"], entry["site_id"], entry["target_kind"]) == ("estimateBatch", "berlin", "batch")
    assert entry["target_id"].replace("-", "") == batch["id"].removeprefix("batch_")
    assert entry["after"] == {"calls": 1, "tokens": 2000}
