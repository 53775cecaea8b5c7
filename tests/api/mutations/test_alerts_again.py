"""A run that fails again after it had recovered is a new alert, whoever wrote its status."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import psycopg
import pytest

from db.migrations.runner import apply_migrations
from tests.api.mutations.test_record_runs import record, report
from tests.support.api import Api
from tests.support.store import Store

ALERTS = "{ alerts { edges { node { id alertStatus alertChangedBy alertChangedAt } } } }"
PENDING = {"alertStatus": "PENDING", "alertChangedBy": None, "alertChangedAt": None}


def say(api: Api, mutation: str, run_id: str) -> None:
    alert_id = run_id.replace("run", "alert")
    answer = api.data(f'mutation {{ {mutation}(input: {{alertId: "{alert_id}"}}) {{ __typename }} }}')
    assert answer[mutation]["__typename"] == "Alert"


def shown(api: Api) -> list[dict[str, str | None]]:
    nodes = [edge["node"] for edge in api.data(ALERTS)["alerts"]["edges"]]
    return [{name: node[name] for name in PENDING} for node in nodes]


def by_report(api: Api, store: Store, status: str) -> None:
    record(api, report(externalId="x1", status=status.upper()))


def by_statement(api: Api, store: Store, status: str) -> None:
    store.rows("UPDATE biz.ai_run_logs SET status = %s", (status,))


@pytest.mark.parametrize("write", [by_report, by_statement])
@pytest.mark.parametrize("said", ["ackAlert", "ignoreAlert"])
@pytest.mark.parametrize("again", ["failed", "timeout", "circuit_open"])
def test_a_run_that_fails_again_is_pending_again(
    api: Api, store: Store, write: Callable[[Api, Store, str], None], said: str, again: str
) -> None:
    (run_id,) = record(api, report(externalId="x1", status="FAILED"))["runIds"]
    say(api, said, run_id)
    assert shown(api) != [PENDING]

    write(api, store, "success")
    assert shown(api) == []
    assert store.rows("SELECT alert_status, alert_changed_by, alert_changed_at FROM biz.ai_run_logs") == [
        {"alert_status": None, "alert_changed_by": None, "alert_changed_at": None}
    ]
    write(api, store, again)
    assert shown(api) == [PENDING]


def test_what_was_said_stays_while_the_run_is_an_alert(api: Api, store: Store) -> None:
    (run_id,) = record(api, report(externalId="x1", status="FAILED"))["runIds"]
    say(api, "ackAlert", run_id)
    acknowledged = shown(api)
    by_report(api, store, "timeout")
    by_statement(api, store, "failed")
    store.rows("UPDATE biz.ai_run_logs SET tokens_used = 5")
    assert shown(api) == acknowledged


def test_a_service_that_says_it_itself_is_left_to_it(api: Api, store: Store) -> None:
    store.run(status="success", alert_status="ignored")
    store.rows("UPDATE biz.ai_run_logs SET status = 'failed', alert_status = 'acknowledged'")
    assert [alert["alertStatus"] for alert in shown(api)] == ["ACKNOWLEDGED"]


def test_what_was_said_before_a_run_failed_is_not_said_of_the_failure(api: Api, store: Store) -> None:
    store.run(status="success", alert_status="ignored")
    store.rows("UPDATE biz.ai_run_logs SET status = 'failed'")
    assert shown(api) == [PENDING]


@pytest.mark.parametrize(
    ("column", "left"),
    [
        ("text NOT NULL DEFAULT 'pending'", "pending"),
        ("varchar(20)", None),
    ],
)
def test_an_adopted_column_is_written_as_it_allows(empty_dsn: str, column: str, left: str | None) -> None:
    with psycopg.connect(empty_dsn, autocommit=True) as service:
        service.execute("CREATE SCHEMA biz")
        service.execute(
            "CREATE TABLE biz.ai_run_logs (id bigint PRIMARY KEY, site_id text, app_type text, trigger_type"
            " text, member_id text, session_id text, request_prompt text, response_text text, tokens_used"
            " int, latency_ms int, status varchar(30), error_message text, created_at timestamptz DEFAULT"
            " now(),"
            f" finished_at timestamptz, alert_status {column})"
        )
        asyncio.run(apply_migrations(empty_dsn))
        service.execute(
            "INSERT INTO biz.ai_run_logs (id, site_id, status, alert_status)"
            " VALUES (1, 's', 'failed', 'ignored')"
        )
        service.execute("UPDATE biz.ai_run_logs SET status = 'success'")
        service.execute("UPDATE biz.ai_run_logs SET status = 'failed'")
        row = service.execute("SELECT alert_status::text FROM biz.ai_run_logs").fetchone()
    assert row == (left,)
