"""recordRuns on an adopted table that cannot hold what one of many reports says."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from db.migrations.runner import apply_migrations
from tests.api.mutations.test_record_runs import RECORD_RUNS, record, report
from tests.support.api import Api
from tests.support.store import Store

NARROW = """
CREATE SCHEMA biz;
CREATE DOMAIN biz.mood AS text CHECK (VALUE <> 'bad');
CREATE TABLE biz.ai_run_logs (
    id serial PRIMARY KEY, site_id integer, app_type varchar(20), trigger_type biz.mood, member_id text,
    session_id text, request_prompt varchar(30), response_text text, tokens_used smallint,
    prompt_tokens integer, latency_ms smallint, status varchar(20), error_message varchar(10),
    created_at timestamptz, finished_at timestamptz,
    CHECK (latency_ms <> 13), UNIQUE (session_id));
"""
# A report, the field that is named, and what the message says of it.
REFUSED: dict[str, tuple[dict[str, Any], str | None, str]] = {
    "a text that is too long": ({"errorMessage": "e" * 11}, "errorMessage", "too long"),
    "another one": ({"requestPrompt": "p" * 31}, "requestPrompt", "too long"),
    "a number that is too large": ({"tokensUsed": 40_000}, "tokensUsed", "out of range"),
    "a latency": ({"latencyMs": 32_768}, "latencyMs", "out of range"),
    "a part of the tokens": (
        {"promptTokensBig": 2**31, "tokensUsed": 1}, "promptTokens", "out of range",
    ),
    "the sum of the parts": ({"promptTokens": 30_000, "completionTokens": 30_000}, "tokensUsed", "out of"),
    "a domain": ({"triggerType": "bad"}, "triggerType", "mood"),
    "a constraint": ({"latencyMs": 13}, "latencyMs", "ai_run_logs_latency_ms_check"),
    "two reports that exclude each other": ({"sessionId": "s0"}, "sessionId", "session_id"),
}  # fmt: skip


@pytest.fixture
def dsn(empty_dsn: str) -> str:
    """A database whose columns are narrow, adopted."""
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(NARROW)
    asyncio.run(apply_migrations(empty_dsn))
    return empty_dsn


def good(number: int, **given: Any) -> dict[str, Any]:
    return report(siteId="7", externalId=f"x{number}", sessionId=f"s{number}", **given)


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("place", [3, 8])
def test_a_refusal_names_the_report_and_its_field(api: Api, store: Store, case: str, place: int) -> None:
    given, field, reason = REFUSED[case]
    reports = [good(number) for number in range(9)]
    reports[place] |= given
    before = store.snapshot()

    refused = record(api, *reports)

    assert (refused["__typename"], refused["field"]) == ("InvalidInput", field)
    assert refused["message"].startswith(f"runs[{place}].{field} cannot be stored here: ")
    assert reason in refused["message"]
    assert store.snapshot() == before


@pytest.mark.parametrize("case", REFUSED)
def test_a_change_of_a_known_run_is_refused_in_the_same_words(api: Api, store: Store, case: str) -> None:
    given, field, _ = REFUSED[case]
    record(api, *[good(number, status="RUNNING") for number in range(9)])
    before = store.snapshot()

    refused = record(api, good(10), *[good(number) for number in range(8)], good(8) | given)

    assert (refused["__typename"], refused["field"]) == ("InvalidInput", field)
    assert refused["message"].startswith(f"runs[9].{field} cannot be stored here: ")
    assert store.snapshot() == before


def test_the_first_of_several_is_named_and_a_key_is_not_used_up(api: Api, store: Store) -> None:
    mutation = RECORD_RUNS.replace("input: {", 'input: {idempotencyKey: "k", ')
    wrong = [good(0), good(1, errorMessage="e" * 11), good(2, latencyMs=13)]
    before = store.snapshot()
    refused = api.data(mutation, {"runs": wrong})["recordRuns"]
    assert refused["message"].startswith("runs[1].errorMessage ")
    assert store.snapshot() == before
    assert api.data(mutation, {"runs": [good(0)]})["recordRuns"]["added"] == 1
