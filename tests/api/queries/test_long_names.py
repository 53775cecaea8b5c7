"""Names of adopted rows may be of any length: lists show their beginning, and filters still find them."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from psycopg.types.json import Jsonb

from db.migrations.runner import apply_migrations
from tests.db.adopted import VARIANTS
from tests.db.test_odd_rows import LISTS, listed
from tests.support.api import Api
from tests.support.store import Store

# The index of a column would not take what cannot be compressed, so this can.
LONG = "n" * 60_000


@pytest.fixture(params=["text", "jsonb", "varchar[]"])
def dsn(request: pytest.FixtureRequest, empty_dsn: str) -> str:
    """A database whose names may be of any length, with a chain of any type."""
    wide = VARIANTS["texts"]._replace(site="text", member="text", chain=request.param, chain_value="NULL")
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(wide.sql())
        connection.execute("TRUNCATE biz.ai_run_logs, biz.ai_trigger_jobs, biz.ai_cache")
    asyncio.run(apply_migrations(empty_dsn))
    return empty_dsn


def test_lists_show_the_beginning_of_names_and_filters_find_them(api: Api, store: Store, dsn: str) -> None:
    kind = store.value("SELECT data_type FROM information_schema.columns WHERE column_name = 'app_chain'")
    apps = ["chat"] * 50_000
    chain = {"text": ",".join(apps), "jsonb": Jsonb(apps)}.get(kind, apps)
    for number in range(2):
        job = store.add(
            "biz.ai_trigger_jobs", site_id=LONG, event_type=LONG, connector_type=LONG, member_id=LONG,
            status="failed", payload=Jsonb({"a": LONG}), app_chain=chain, error_message=LONG,
        )  # fmt: skip
        store.add(
            "biz.ai_run_logs", site_id=LONG, app_type=LONG, trigger_type=LONG, member_id=LONG,
            session_id=LONG, status="failed", alert_status=LONG if number else None, model=LONG,
            error_message=LONG, external_id=LONG, trigger_job_id=job,
        )  # fmt: skip
        store.add(
            "biz.ai_cache", site_id=LONG, cache_type=LONG, target_id=LONG, status=LONG, result=Jsonb(LONG),
            created_at="2026-05-01",
        )  # fmt: skip
    for name in LISTS:
        page = listed(api, name)
        assert len(page["edges"]) == 2, name
        node = page["edges"][0]["node"]
        assert node["siteId"] == LONG[:200]
        assert len(str(page)) < 40_000, name
    shown = api.data("{ triggerJobs { edges { node { appChain runLogs { edges { node { id } } } } } } }")
    assert shown["triggerJobs"]["edges"][0]["node"]["appChain"] == ["chat"] * 100
    assert len(shown["triggerJobs"]["edges"][0]["node"]["runLogs"]["edges"]) == 1
    dashboard = api.data("{ dashboard { recentAlerts { id siteId appType } appHealth { appType } } }")
    assert len(str(dashboard)) < 10_000
    (row, *_) = store.rows("SELECT id FROM biz.ai_trigger_jobs")
    assert (
        len(api.data(f'{{ triggerJob(id: "job_{row["id"]}") {{ appChain }} }}')["triggerJob"]["appChain"])
        > 100
    )


def test_a_name_of_some_thousand_characters_is_found_by_a_filter(dsn: str, store: Store) -> None:
    api = Api(dsn, max_text=10_000)
    name = "m" * 5_000
    store.add("biz.ai_run_logs", site_id="s", app_type=name, status="success", model=name)
    try:
        query = "query ($f: RunLogFilter) { runLogs(filter: $f) { edges { node { appType } } } }"
        for field in ("appType", "model"):
            (edge,) = api.data(query, {"f": {field: name}})["runLogs"]["edges"]
            assert edge["node"]["appType"] == name[:200]
    finally:
        api.close()


def test_what_no_index_can_hold_is_refused_to_its_writer_by_the_indexs_name(dsn: str, store: Store) -> None:
    """As docs/decisions/index-names-whole.md says: 2,704 bytes after compression."""
    name = "".join(chr(0x4E00 + n * 7919 % 20_000) for n in range(1_200))
    insert = "INSERT INTO biz.ai_run_logs (site_id, app_type, {}) VALUES ('s', 'chat', %s)"
    for column in ("error_message", "request_prompt"):
        store.rows(insert.format(column), (name,))
    with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="run_logs_by_session"):
        store.rows(insert.format("session_id"), (name,))
    store.rows(insert.format("session_id"), (name[:600],))
