"""A run whose tokens nobody has told: none are known, 0 are shown and summed, and no estimate counts it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from db.migrations.runner import apply_migrations
from resolvers.imports.load import import_run_logs
from resolvers.imports.options import ImportOptions
from tests.api.mutations.test_estimate_batch import estimate
from tests.api.mutations.test_record_runs import DASHBOARD, record, report
from tests.support.api import Api
from tests.support.store import Store

TOKENS = "SELECT tokens_used FROM biz.ai_run_logs ORDER BY id"
SHOWN = '{ runLogs(filter: {siteId: "berlin"}) { edges { node { tokensUsed } } } }'


def stored(store: Store) -> list[int | None]:
    return [row["tokens_used"] for row in store.rows(TOKENS)]


def test_unknown_tokens_are_shown_and_summed_as_none_and_no_estimate_counts_them(
    api: Api, store: Store
) -> None:
    for number in range(10):
        record(api, report(tokensUsed=100 + number), report(), report(latencyMs=7))
    record(api, report(tokensUsed=0))
    assert stored(store).count(None) == 20

    shown = api.data(SHOWN)["runLogs"]["edges"]
    assert {edge["node"]["tokensUsed"] for edge in shown[:4]} == {0, 109}
    dashboard = api.data(DASHBOARD)
    assert dashboard["dashboard"]["today"]["calls"] == 31
    assert dashboard["dashboard"]["today"]["tokens"] == 1045 == dashboard["budget"]["daily"]["used"]
    # A zero that was told is known.
    batch = estimate(api, siteId="berlin", appTypes=["chat"], memberIds=["m"])
    assert batch["estimatedTokens"] == round(1045 / 11)


def test_a_run_in_flight_gets_its_tokens_later(api: Api, store: Store) -> None:
    record(api, report(externalId="a", status="RUNNING"), report(externalId="b", status="RUNNING"))
    record(api, report(externalId="c", status="RUNNING"))
    assert stored(store) == [None, None, None]
    record(api, report(externalId="a", tokensUsed=7), report(externalId="b", completionTokens=5))
    record(api, report(externalId="c"))
    assert stored(store) == [7, 5, None]
    # News that comes late adds what is missing.
    record(api, report(externalId="c", status="RUNNING", tokensUsed=9))
    assert stored(store) == [7, 5, 9]
    assert api.data(DASHBOARD)["dashboard"]["today"]["tokens"] == 21


def test_an_import_without_tokens_leaves_them_unknown(dsn: str, store: Store, tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(
        "site_id,app_type,created_at,prompt_tokens,completion_tokens\n"
        "a,chat,2026-05-01T00:00Z,,\na,chat,2026-05-01T00:00Z,3,\na,chat,2026-05-01T00:00Z,3,4\n"
    )
    imported = import_run_logs(dsn, str(path), ImportOptions())
    assert (imported.rows, imported.tokens) == (3, 10)
    assert stored(store) == [None, 3, 7]


@pytest.mark.parametrize("kind", ["integer NOT NULL", "integer NOT NULL DEFAULT 0", "biz.count"])
def test_an_adopted_column_that_takes_no_null_holds_0(empty_dsn: str, kind: str, tmp_path: Path) -> None:
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(
            "CREATE SCHEMA biz; CREATE DOMAIN biz.count AS integer NOT NULL;"
            " CREATE TABLE biz.ai_run_logs (id serial PRIMARY KEY, site_id text, app_type text, status text,"
            f" tokens_used {kind}, created_at timestamptz)"
        )
    asyncio.run(apply_migrations(empty_dsn))
    path = tmp_path / "runs.csv"
    path.write_text("site_id,app_type,created_at\nberlin,chat,2026-05-01T00:00Z\n")
    assert import_run_logs(empty_dsn, str(path), ImportOptions()).rows == 1
    api, store = Api(empty_dsn), Store(empty_dsn)
    try:
        if "NOT NULL" in kind:
            assert record(api, report(externalId="x", status="RUNNING"))["added"] == 1
            assert stored(store) == [0, 0]
            assert record(api, report(externalId="x", tokensUsed=4))["changed"] == 1
            assert stored(store) == [0, 4]
    finally:
        api.close()
        store.connection.close()


def test_a_job_without_calls_that_is_ended_has_used_none(api: Api, store: Store) -> None:
    job = store.job(status="running")
    store.run(trigger_job_id=job, status="success", tokens_used=None)
    api.data(f'mutation {{ failJobs(input: {{jobIds: ["job_{job}"], reason: "gone"}}) {{ __typename }} }}')
    assert store.value("SELECT tokens_used FROM biz.ai_trigger_jobs") == 0
