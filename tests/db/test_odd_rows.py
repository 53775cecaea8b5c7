"""Rows of adopted tables that we would never write: a page shows what it can, and says what it cannot."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from db.migrations.runner import apply_migrations
from tests.api.mutations.test_record_runs import record, report
from tests.api.queries.test_dashboard import DASHBOARD
from tests.support.api import Api
from tests.support.store import Store

ODD_TABLES = """
CREATE SCHEMA biz;
CREATE TABLE biz.ai_run_logs (
    id bigserial PRIMARY KEY, site_id char(12), app_type varchar(20), trigger_type char(10), member_id uuid,
    session_id integer, request_prompt jsonb, response_text varchar(100), tokens_used double precision,
    latency_ms real, status char(20), error_message text, alert_status char(20),
    created_at {time} DEFAULT now(), finished_at {time});
CREATE TABLE biz.ai_trigger_jobs (
    id bigserial PRIMARY KEY, site_id char(12), event_type char(10), connector_type varchar, member_id uuid,
    payload text, app_chain json, is_forced boolean, status char(20), error_message varchar(50),
    started_at {time}, finished_at {time}, created_at {time});
CREATE TABLE biz.ai_cache (
    id serial PRIMARY KEY, site_id char(12), cache_type varchar(20), target_id uuid, status char(20),
    result json, created_at {time}, expires_at {time});
"""
ODD_TIMES = (None, "infinity", "-infinity", "12026-01-01", "9999-06-01", "0001-06-01")
LISTS = {
    "runLogs": (
        "biz.ai_run_logs",
        "id siteId appType triggerType memberId sessionId model tokensUsed promptTokens latencyMs status"
        " statusText errorMessage alertStatus createdAt finishedAt requestPrompt responseText cost",
    ),
    "alerts": (
        "biz.ai_run_logs",
        "id siteId appType memberId runStatus errorMessage alertStatus createdAt runLog { id }",
    ),
    "triggerJobs": (
        "biz.ai_trigger_jobs",
        "id siteId eventType connectorType memberId payload appChain isForced status errorMessage startedAt"
        " finishedAt createdAt attempt",
    ),
    "cacheEntries": (
        "biz.ai_cache",
        "id siteId appType memberId status result createdAt expiresAt",
    ),
}


@pytest.fixture(params=["timestamptz", "timestamp"])
def dsn(request: pytest.FixtureRequest, empty_dsn: str) -> str:
    """A database whose every column may be NULL, of types that we would not have chosen."""
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(ODD_TABLES.format(time=request.param))
        connection.execute(
            "INSERT INTO biz.ai_run_logs (created_at) VALUES (NULL), ('2026-03-01'), ('infinity')"
        )
    asyncio.run(apply_migrations(empty_dsn))
    return empty_dsn


def listed(api: Api, name: str) -> dict[str, Any]:
    fields = LISTS[name][1]
    query = f"{{ {name} {{ edges {{ cursor node {{ {fields} }} }} totalCount {{ count }} undatedCount }} }}"
    return api.data(query)[name]


@pytest.mark.parametrize("name", LISTS)
def test_rows_without_a_usable_time_are_counted_beside_the_page(api: Api, store: Store, name: str) -> None:
    table = LISTS[name][0]
    store.rows(f"DELETE FROM {table}")
    for time in (*ODD_TIMES, "2026-03-01", "2026-03-02"):
        ids = store.add(table, site_id="s", status="failed", created_at=time)
        store.rows(f"UPDATE {table} SET created_at = %s WHERE id = %s", (time, ids))

    shown = listed(api, name)

    assert [edge["node"]["createdAt"][:10] for edge in shown["edges"]] == ["2026-03-02", "2026-03-01"]
    assert (shown["totalCount"]["count"], shown["undatedCount"]) == (2, len(ODD_TIMES))
    assert {edge["node"]["siteId"] for edge in shown["edges"]} == {"s"}


@pytest.mark.parametrize("name", LISTS)
def test_a_row_of_nothing_but_null_is_shown(api: Api, store: Store, name: str) -> None:
    table = LISTS[name][0]
    store.rows(f"DELETE FROM {table}")
    store.rows(f"INSERT INTO {table} (created_at, status) VALUES ('2026-03-01', 'timeout')")
    (edge,) = listed(api, name)["edges"]
    assert edge["node"]["siteId"] == ""
    assert edge["node"]["createdAt"] == "2026-03-01T00:00:00+00:00"


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e300", "-1e300", "9223372036854775807"])
def test_a_number_that_is_none_is_shown_as_unknown(api: Api, store: Store, value: str) -> None:
    latency = value if "e" not in value else value.replace("300", "38")
    store.rows("DELETE FROM biz.ai_run_logs")
    store.rows(
        "INSERT INTO biz.ai_run_logs"
        " (site_id, app_type, status, tokens_used, latency_ms, created_at, finished_at)"
        " VALUES ('s', 'chat', 'success', %s::text::float8, %s::text::float4, now(), 'infinity'),"
        " ('s', 'chat', 'success', 12, 7.6, now(), now())",
        (value, latency),
    )
    odd, good = (
        edge["node"]
        for edge in sorted(listed(api, "runLogs")["edges"], key=lambda e: e["node"]["tokensUsed"])
    )
    assert (odd["tokensUsed"], odd["latencyMs"], odd["finishedAt"]) == (0, None, None)
    assert (good["tokensUsed"], good["latencyMs"]) == (12, 8)
    assert good["finishedAt"]
    assert api.data(DASHBOARD)["dashboard"]["today"]["calls"] == 2


def test_an_undated_row_is_found_by_no_id_and_changed_by_nobody(api: Api, store: Store) -> None:
    run = store.add("biz.ai_run_logs", site_id="s", app_type="chat", status="failed", created_at="infinity")
    job = store.add("biz.ai_trigger_jobs", site_id="s", event_type="e", status="failed")
    row = "SELECT run::text FROM biz.ai_run_logs AS run WHERE id = %s"
    before = store.value(row, (run,))
    ids = f'runLog(id: "run_{run}") {{ id }} alert(id: "alert_{run}") {{ id }} node(id: "job_{job}") {{ id }}'
    query = f"{{ {ids} }}"
    assert api.data(query) == {"runLog": None, "alert": None, "node": None}
    acked = api.data(
        f'mutation {{ ackAlert(input: {{alertId: "alert_{run}"}}) {{ ... on Refusal {{ code }} }} }}'
    )
    assert acked["ackAlert"] == {"code": "NOT_FOUND"}
    assert store.value(row, (run,)) == before


def test_the_dashboard_and_its_alerts_live_with_such_rows(api: Api, store: Store) -> None:
    for time in ODD_TIMES:
        run = store.add("biz.ai_run_logs", site_id="s", app_type="chat", status="failed")
        store.rows("UPDATE biz.ai_run_logs SET created_at = %s WHERE id = %s", (time, run))
    store.add("biz.ai_run_logs", site_id="s", app_type="chat", status="failed", tokens_used=5)
    dashboard = api.data(DASHBOARD)["dashboard"]
    assert dashboard["today"]["calls"] == 1
    assert len(dashboard["recentAlerts"]) == 1


REFUSING = {
    "NOT NULL": ("ALTER trigger_type SET NOT NULL", {}, "triggerType"),
    "CHECK": ("ADD CHECK (latency_ms < 1000)", {"latencyMs": 2000, "triggerType": "t"}, "latencyMs"),
    "UNIQUE": ("ADD UNIQUE (session_id)", {"sessionId": "7"}, "sessionId"),
    "named by others": ("ADD CONSTRAINT good CHECK (site_id <> 's')", {}, None),
}


@pytest.mark.parametrize("case", REFUSING)
def test_a_constraint_of_an_adopted_table_refuses_a_report_by_name(api: Api, store: Store, case: str) -> None:
    change, given, field = REFUSING[case]
    store.rows("DELETE FROM biz.ai_run_logs")
    store.rows("INSERT INTO biz.ai_run_logs (site_id, trigger_type, session_id) VALUES ('x', 'y', 7)")
    store.rows(f"ALTER TABLE biz.ai_run_logs {change}")
    before = store.snapshot()

    refused = record(api, report(siteId="s", **given))

    assert (refused["code"], refused["field"]) == ("INVALID_INPUT", field)
    assert "biz.ai_run_logs" in refused["message"]
    assert store.snapshot() == before


def test_a_constraint_refuses_an_acknowledgement_by_name(api: Api, store: Store) -> None:
    run = store.add("biz.ai_run_logs", site_id="s", app_type="chat", status="failed")
    store.rows("ALTER TABLE biz.ai_run_logs ADD CHECK (alert_status <> 'acknowledged')")
    error = api.error(f'mutation {{ ackAlert(input: {{alertId: "alert_{run}"}}) {{ __typename }} }}')
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "alertStatus")
