"""Adopted tables whose columns are absent, or of types that nobody could serve."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest

from db.migrations.runner import MigrationError, apply_migrations
from db.postgres.pool import PoolSettings
from resolvers.worker.checks import check_store
from tests.api.mutations.test_confirm_batch import confirm
from tests.api.mutations.test_estimate_batch import estimate
from tests.api.mutations.test_invalidate_cache import INVALIDATE_CACHE
from tests.api.mutations.test_record_runs import record, report
from tests.support.api import Api
from tests.support.store import Store

SMALL_TABLES = """
CREATE SCHEMA biz;
CREATE TABLE biz.ai_run_logs (
    id serial PRIMARY KEY, site_id text, app_type text, status text, created_at timestamptz DEFAULT now());
CREATE TABLE biz.ai_trigger_jobs (
    id serial PRIMARY KEY, site_id text, event_type text, status text, created_at timestamptz DEFAULT now());
CREATE TABLE biz.ai_cache (site_id text, cache_type text, target_id text, status text);
INSERT INTO biz.ai_run_logs (site_id, app_type, status) VALUES ('s', 'chat', 'failed');
INSERT INTO biz.ai_trigger_jobs (site_id, event_type, status) VALUES ('s', 'order', 'failed');
INSERT INTO biz.ai_cache SELECT 's', 'chat', n::text, 'valid' FROM generate_series(1, 12000) AS n;
"""
CACHE = """
query ($after: String) {
  cacheEntries(first: 100, after: $after) {
    totalCount { count isExact } undatedCount edges { node { id createdAt result expiresAt } }
    pageInfo { endCursor hasNextPage }
  }
}
"""


@pytest.fixture
def small(empty_dsn: str) -> str:
    """A database that holds nothing but what the first version's code named."""
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(SMALL_TABLES)
    asyncio.run(apply_migrations(empty_dsn))
    asyncio.run(apply_migrations(empty_dsn))
    return empty_dsn


@pytest.fixture
def old(small: str) -> Iterator[Api]:
    """The app on it."""
    api = Api(small)
    yield api
    api.close()


def test_what_is_absent_is_added_and_everything_works(small: str, old: Api) -> None:
    store = Store(small)
    ids: set[str] = set()
    after = None
    for _ in range(3):
        page = old.data(CACHE, {"after": after})["cacheEntries"]
        ids |= {edge["node"]["id"] for edge in page["edges"]}
        after = page["pageInfo"]["endCursor"]
    assert len(ids) == 300
    assert page["undatedCount"] == 0
    # As its service writes it, which knows no id.
    store.rows("INSERT INTO biz.ai_cache VALUES ('s', 'chat', 'new', 'valid')")
    assert store.value("SELECT count(DISTINCT id) FROM biz.ai_cache") == 12_001
    given = {"input": {"siteId": "s", "memberId": "new"}}
    assert old.data(INVALIDATE_CACHE, given)["invalidateCache"]["count"] == 1

    assert record(old, report(siteId="s", memberId="m", tokensUsed=4, latencyMs=2))["added"] == 1
    batch = estimate(old, siteId="s", appTypes=["chat"], memberIds=["m"])
    assert confirm(old, batch["id"])["status"] == "CONFIRMED"
    store.connection.close()


IN_THE_WAY = {
    "ALTER TABLE biz.ai_run_logs ALTER created_at TYPE date": "biz.ai_run_logs.created_at is of type date",
    "ALTER TABLE biz.ai_trigger_jobs ADD is_forced int": "biz.ai_trigger_jobs.is_forced is of type integer",
    "ALTER TABLE biz.ai_run_logs ADD latency_ms interval": "biz.ai_run_logs.latency_ms is of type interval",
    "ALTER TABLE biz.ai_run_logs ADD tokens_used text": "biz.ai_run_logs.tokens_used is of type text",
    "ALTER TABLE biz.ai_run_logs ADD latency_ms varchar(9)": (
        r"biz.ai_run_logs.latency_ms is of type character varying\(9\)"
    ),
    "ALTER TABLE biz.ai_trigger_jobs ADD member_id numeric(6,2)": (
        r"biz.ai_trigger_jobs.member_id is of type numeric\(6,2\)"
    ),
    "CREATE DOMAIN biz.money AS numeric(6,2); ALTER TABLE biz.ai_run_logs ADD session_id biz.money": (
        "biz.ai_run_logs.session_id is of type biz.money"
    ),
    "ALTER TABLE biz.ai_cache DROP site_id": "biz.ai_cache has no site_id",
}


@pytest.mark.parametrize("change", IN_THE_WAY)
def test_a_column_that_cannot_be_served_is_refused_before_anything_changes(
    empty_dsn: str, change: str
) -> None:
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(SMALL_TABLES)
        connection.execute(change)
    with pytest.raises(MigrationError, match=IN_THE_WAY[change]) as refused:
        asyncio.run(apply_migrations(empty_dsn))
    assert "\n" not in str(refused.value)
    with psycopg.connect(empty_dsn) as connection:
        found = connection.execute(
            "SELECT to_regnamespace('runglass'), count(*) FROM biz.ai_cache"
        ).fetchone()
    assert found == (None, 12_000)


def test_ids_are_numbers_without_decimals_and_counts_may_have_some(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(SMALL_TABLES.replace("site_id text", "site_id numeric(9)").replace("'s'", "7"))
        connection.execute("ALTER TABLE biz.ai_run_logs ADD tokens_used numeric(9,2), ADD latency_ms real")
    asyncio.run(apply_migrations(empty_dsn))
    with closing(Api(empty_dsn)) as api:
        given = report(siteId="007", externalId="x", status="RUNNING", tokensUsed=4)
        assert record(api, given)["added"] == 1
        record(api, given | {"status": "SUCCESS", "tokensUsed": 5, "latencyMs": 3})
        page = api.data(
            '{ runLogs(filter: {siteId: "7", tokensUsed: {min: 5}, latencyMs: {max: 3}})'
            " { edges { node { siteId tokensUsed latencyMs } } } }"
        )
    assert [edge["node"] for edge in page["runLogs"]["edges"]] == [
        {"siteId": "7", "tokensUsed": 5, "latencyMs": 3}
    ]


def test_check_counts_the_rows_that_no_list_shows(small: str) -> None:
    with psycopg.connect(small) as connection:
        connection.execute("UPDATE biz.ai_run_logs SET created_at = 'infinity'")
        connection.execute("UPDATE biz.ai_cache SET created_at = NULL WHERE target_id IN ('1', '2')")
    lines = asyncio.run(check_store(small, PoolSettings()))
    assert [line for line in lines if "no usable" in line] == [
        "ok: 1 runs, 0 jobs and 2 cached answers have no usable time of creation: no list or sum has them"
    ]
