"""A database that others made and filled keeps every row, and works."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from db.migrations.runner import apply_migrations
from tests.api.mutations.test_ack_alert import ACK_ALERT
from tests.api.mutations.test_cancel_jobs import CANCEL_JOBS
from tests.api.mutations.test_confirm_batch import confirm
from tests.api.mutations.test_estimate_batch import ESTIMATE_BATCH, estimate
from tests.api.mutations.test_invalidate_cache import INVALIDATE_CACHE
from tests.api.mutations.test_record_runs import RECORD_RUNS, record, report
from tests.api.mutations.test_retry_job import RETRY_JOB, ran
from tests.api.mutations.test_retry_jobs import RETRY_JOBS
from tests.api.queries.test_alerts import ALERTS
from tests.api.queries.test_cache_entries import CACHE_ENTRIES
from tests.api.queries.test_dashboard import DASHBOARD
from tests.api.queries.test_lists import both
from tests.db.adopted import VARIANTS
from tests.support.api import Api
from tests.support.store import Store

TABLES = ("biz.ai_run_logs", "biz.ai_trigger_jobs", "biz.ai_cache")
RUNS = """
query ($filter: RunLogFilter, $first: Int, $after: String) {
  runLogs(filter: $filter, first: $first, after: $after) {
    edges { cursor node { id siteId memberId sessionId tokensUsed createdAt requestPrompt } }
    pageInfo { hasNextPage endCursor } totalCount { count }
  }
}
"""
JOBS = """
query ($filter: TriggerJobFilter) {
  triggerJobs(filter: $filter) {
    skippedDuplicatesToday totalCount { count }
    edges { node { id siteId memberId appChain payload isForced attempt retries { totalCount { count } } } }
  }
}
"""


@pytest.fixture(scope="module", params=VARIANTS)
def adopted(request: pytest.FixtureRequest, server_dsn: Callable[[str], str]) -> Iterator[dict[str, Any]]:
    """A database of one variant before and after it was migrated; tests share it, and add to it."""
    name = f"adopted_{request.param}"
    with psycopg.connect(server_dsn("postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            with psycopg.connect(server_dsn(name)) as connection:
                connection.execute(VARIANTS[request.param].sql())
            store = Store(server_dsn(name))
            before = {table: store.rows(f"SELECT * FROM {table} ORDER BY id") for table in TABLES}
            asyncio.run(apply_migrations(server_dsn(name)))
            after = {table: store.rows(f"SELECT * FROM {table} ORDER BY id") for table in TABLES}
            api = Api(server_dsn(name))
            yield {"before": before, "after": after, "store": store, "api": api, "name": request.param}
            api.close()
            store.connection.close()
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def old(adopted: dict[str, Any]) -> Api:
    """The app on the adopted database."""
    return adopted["api"]


@pytest.mark.parametrize(
    "query",
    [
        "{ runLogs(first: 100) { edges { cursor node { id siteId memberId sessionId tokensUsed latencyMs"
        " status statusText createdAt finishedAt } } } }",
        "{ dashboard { recentAlerts { id siteId memberId runStatus alertStatus alertChangedAt } } }",
    ],
)
def test_lists_say_what_the_standard_executor_says(old: Api, query: str) -> None:
    first, later = both(old, query)
    assert first == later
    assert b'"errors"' not in first


@pytest.mark.parametrize(
    ("field", "site", "latency", "shown"), [("siteId", None, 1, ""), ("latencyMs", "1", 2**40, None)]
)
def test_a_value_that_cannot_be_shown_leaves_its_page_readable(
    adopted: dict[str, Any], old: Api, field: str, site: str | None, latency: int, shown: str | None
) -> None:
    if adopted["name"] != "texts":
        pytest.skip("the columns of this variant hold no such value")
    add = "INSERT INTO biz.ai_run_logs (site_id, latency_ms, created_at) VALUES (%s, %s, '2019-01-01')"
    adopted["store"].rows(add, (site, latency))
    query = f"{{ runLogs(last: 5) {{ edges {{ node {{ id {field} }} }} }} }}"
    answers = [old.data(query) for _ in range(3)]
    adopted["store"].rows("DELETE FROM biz.ai_run_logs WHERE created_at = '2019-01-01'")
    for answer in answers:
        assert len(answer["runLogs"]["edges"]) == 5
        assert answer["runLogs"]["edges"][-1]["node"][field] == shown


def test_migrating_keeps_every_row_and_only_adds_columns(adopted: dict[str, Any]) -> None:
    for table in TABLES:
        before, after = adopted["before"][table], adopted["after"][table]
        assert len(before) in (61, 12, 9)
        columns = list(before[0])
        assert [{name: row[name] for name in columns} for row in after] == before
        added = set(after[0]) - set(columns)
        assert all(row[name] is None for row in after for name in added)


def test_the_dashboard_counts_the_rows_that_were_there(adopted: dict[str, Any], old: Api) -> None:
    shown = old.data(DASHBOARD, {"days": 2})["dashboard"]
    total = sum(row["tokens_used"] or 0 for row in adopted["before"]["biz.ai_run_logs"])
    assert sum(day["calls"] for day in shown["trend"]) >= 60
    assert sum(day["tokens"] for day in shown["trend"]) >= total
    assert {app["appType"] for app in shown["appHealth"]} >= {"chat", "mail"}
    assert len(shown["recentAlerts"]) == 10
    one = old.data(DASHBOARD, {"siteId": "1", "days": 2})["dashboard"]
    assert 20 <= sum(day["calls"] for day in one["trend"]) < sum(day["calls"] for day in shown["trend"])


def test_lists_page_by_page(adopted: dict[str, Any], old: Api) -> None:
    seen: list[dict[str, Any]] = []
    info: dict[str, Any] = {"hasNextPage": True, "endCursor": None}
    while info["hasNextPage"]:
        page = old.data(RUNS, {"first": 13, "after": info["endCursor"]})["runLogs"]
        seen += [edge["node"] for edge in page["edges"]]
        info = page["pageInfo"]
    assert len(seen) == len({node["id"] for node in seen}) == page["totalCount"]["count"] >= 61
    assert seen[0]["createdAt"].endswith("+00:00")
    texts = {node["requestPrompt"] for node in seen}
    assert {f"ask {number}" for number in range(60)} <= texts


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({"siteId": "2", "createdAt": {"from": "2020-01-01T00:00:00Z"}}, 20),
        ({"siteId": "1", "createdAt": {"to": "2021-01-01T00:00:00Z"}}, 1),
        ({"memberId": "13", "triggerType": "event"}, 15),
        ({"sessionId": "5", "appType": "mail", "status": ["TIMEOUT"]}, 6),
        ({"status": ["UNKNOWN"], "triggerType": "event"}, 12),
        ({"tokensUsed": {"min": 50, "max": 59}, "latencyMs": {"min": 510}, "triggerType": "event"}, 9),
        ({"siteId": "2", "tokensUsed": {"min": 50, "max": 59}, "triggerType": "event"}, 3),
    ],
)
def test_filters_work_on_these_types(old: Api, wanted: dict[str, Any], count: int) -> None:
    assert old.data(RUNS, {"filter": wanted})["runLogs"]["totalCount"]["count"] == count


def test_a_range_is_looked_for_in_each_site_of_a_caller(old: Api) -> None:
    caller = old.as_key(sites=["1", "2", "77"])
    for name in ("tokensUsed", "latencyMs"):
        wanted = {name: {"min": 0}, "triggerType": "event"}
        every = [
            edge["node"] for edge in old.data(RUNS, {"filter": wanted, "first": 100})["runLogs"]["edges"]
        ]
        found = caller.data(RUNS.replace(" requestPrompt", ""), {"filter": wanted, "first": 100})["runLogs"]
        ids = [edge["node"]["id"] for edge in found["edges"]]
        assert ids == [run["id"] for run in every if run["siteId"] in ("1", "2")]
        assert 0 < len(ids) == found["totalCount"]["count"] < len(every)


def test_jobs_alerts_and_cache_of_a_site(adopted: dict[str, Any], old: Api) -> None:
    jobs = old.data(JOBS, {"filter": {"siteId": "3", "eventType": "order"}})["triggerJobs"]
    assert jobs["totalCount"]["count"] >= 4
    assert jobs["skippedDuplicatesToday"] in (0, 1)
    for edge in jobs["edges"]:
        assert (edge["node"]["siteId"], edge["node"]["appChain"]) == ("3", ["chat", "mail"])
        assert edge["node"]["payload"] == {"n": 1}
    alerts = old.data(ALERTS, {"filter": {"siteId": "3"}})["alerts"]
    assert alerts["totalCount"]["count"] >= 8
    entries = old.data(CACHE_ENTRIES, {"filter": {"siteId": "3", "memberId": "2"}})["cacheEntries"]
    expected = {"integers": "plain", "texts": {"a": 1}, "mixed": [1]}[adopted["name"]]
    assert [edge["node"]["result"] for edge in entries["edges"]] == [expected]


def test_a_job_is_retried(adopted: dict[str, Any], old: Api) -> None:
    job = next(row for row in adopted["before"]["biz.ai_trigger_jobs"] if row["status"] == "failed")
    retry = old.data(RETRY_JOB, {"id": f"job_{job['id']}"})["retryJob"]
    assert (retry["__typename"], retry["attempt"], retry["isForced"]) == ("TriggerJob", 2, True)
    assert (retry["siteId"], retry["memberId"]) == (str(job["site_id"]), str(job["member_id"]))
    assert retry["appChain"] == ["chat", "mail"]
    new = adopted["store"].rows(
        "SELECT * FROM biz.ai_trigger_jobs WHERE id = %s", (retry["id"].split("_")[1],)
    )[0]
    assert (new["app_chain"], new["payload"]) == (job["app_chain"], job["payload"])


def test_jobs_are_retried_and_stopped_together(adopted: dict[str, Any], old: Api) -> None:
    failed = adopted["store"].value("SELECT id FROM biz.ai_trigger_jobs WHERE status = 'success' LIMIT 1")
    ran(adopted["store"], failed, "success", "failed", site_id="2")
    adopted["store"].rows(
        "UPDATE biz.ai_trigger_jobs SET status = 'failed', site_id = '2' WHERE id = %s", (failed,)
    )
    given = {"filter": {"siteId": "2", "status": ["FAILED"]}, "from": "FAILED_APP", "reason": "r"}
    retried = old.data(RETRY_JOBS, {"input": given})["retryJobs"]
    assert retried["matched"] >= retried["count"] == 1
    retry = next(each["job"] for each in retried["results"] if each["jobId"] == f"job_{failed}")
    assert (retry["chainStart"], retry["attempt"]) == (1, 2)
    number = int(retry["id"].removeprefix("job_"))
    queued = "SELECT app_types FROM runglass.job_queue WHERE job_id = %s"
    assert adopted["store"].value(queued, (number,)) == ["mail"]

    stopped = old.data(CANCEL_JOBS, {"input": {"filter": {"siteId": "2"}, "reason": "r"}})["cancelJobs"]

    assert stopped["matched"] == stopped["count"] >= 1
    assert f"job_{number}" in {each["jobId"] for each in stopped["results"]}


def test_an_alert_is_acknowledged(adopted: dict[str, Any], old: Api) -> None:
    run = next(row for row in adopted["before"]["biz.ai_run_logs"] if row["status"] == "failed")
    alert = old.data(ACK_ALERT, {"id": f"alert_{run['id']}"})["ackAlert"]
    assert (alert["alertStatus"], alert["siteId"]) == ("ACKNOWLEDGED", str(run["site_id"]))
    assert old.data(ACK_ALERT, {"id": f"alert_{run['id']}"})["ackAlert"]["__typename"] == "Conflict"


def test_a_sites_cache_is_invalidated(adopted: dict[str, Any], old: Api) -> None:
    given = {"input": {"siteId": "2", "appType": "chat", "memberId": "1"}}
    assert old.data(INVALIDATE_CACHE, given)["invalidateCache"]["count"] == 1
    assert old.data(INVALIDATE_CACHE, {"input": {"siteId": "2"}})["invalidateCache"]["count"] == 2
    assert adopted["store"].value("SELECT count(*) FROM biz.ai_cache WHERE status = 'valid'") == 6


def test_a_batch_is_estimated_and_confirmed(adopted: dict[str, Any], old: Api) -> None:
    batch = estimate(old, siteId="2", appTypes=["chat", "scan"], memberIds=["10", "11"])
    assert [app["isFallback"] for app in batch["apps"]] == [False, True]
    shown = confirm(old, batch["id"])
    assert (shown["status"], shown["jobs"]["totalCount"]["count"]) == ("CONFIRMED", 4)
    made = {
        (node["siteId"], node["memberId"], *node["appChain"])
        for node in (edge["node"] for edge in shown["jobs"]["edges"])
    }
    assert len(made) == 3
    assert made <= {("2", member, app) for member in ("10", "11") for app in ("chat", "scan")}


def test_runs_are_recorded_and_changed(adopted: dict[str, Any], old: Api) -> None:
    first = record(
        old,
        report(siteId="3", externalId="x", status="RUNNING", memberId="77", sessionId="9", promptTokens=3),
        report(siteId="3", memberId="78", tokensUsed=5),
    )
    assert (first["__typename"], first["added"]) == ("RecordedRuns", 2)
    again = record(old, report(siteId="3", externalId="x", status="FAILED", completionTokens=4, latencyMs=8))
    assert (again["runIds"], again["changed"]) == (first["runIds"][:1], 1)
    row = adopted["store"].rows(
        "SELECT * FROM biz.ai_run_logs WHERE id = %s", (first["runIds"][0].split("_")[1],)
    )[0]
    assert (row["tokens_used"], row["latency_ms"], row["status"]) == (7, 8, "failed")
    assert (str(row["member_id"]), str(row["session_id"])) == ("77", "9")


ASKED = {
    "runLogs": '{ runLogs(filter: {siteId: "abc"}) { edges { cursor } totalCount { count } } }',
    "alerts": '{ alerts(filter: {siteId: "abc"}) { edges { cursor } totalCount { count } } }',
    "jobs": '{ triggerJobs(filter: {siteId: "abc"}) { edges { cursor } skippedDuplicatesToday } }',
    "cache": '{ cacheEntries(filter: {siteId: "abc"}) { edges { cursor } } }',
    "dashboard": '{ dashboard(siteId: "abc") { today { calls } trend { calls } appHealth { appType }'
    " recentAlerts { id } budget { daily { used } } } }",
    "budget": '{ budget(siteId: "abc") { daily { used } } }',
    "member": '{ runLogs(filter: {memberId: "abc"}) { edges { cursor } } }',
    "huge": '{ runLogs(filter: {siteId: "99999999999999999999999"}) { edges { cursor } } }',
    "empty": '{ alerts(filter: {siteId: ""}) { edges { cursor } } }',
}


@pytest.mark.parametrize("asked", ASKED)
def test_reading_by_an_id_that_fits_no_column_finds_nothing(old: Api, asked: str) -> None:
    answer = old.execute(ASKED[asked])
    assert "errors" not in answer
    assert "cursor" not in str(answer["data"])


@pytest.mark.parametrize(
    ("mutation", "variables", "refused_field"),
    [
        (RECORD_RUNS, {"runs": [report(siteId="abc", externalId="q")]}, "siteId"),
        (RECORD_RUNS, {"runs": [report(siteId="2"), report(siteId=" 007 ", externalId="q")]}, "siteId"),
        (RECORD_RUNS, {"runs": [report(siteId="2", memberId="m" * 100)]}, "memberId"),
        (RECORD_RUNS, {"runs": [report(siteId="2", appType="a" * 100)]}, "appType"),
        (INVALIDATE_CACHE, {"input": {"siteId": "abc"}}, "siteId"),
        (ESTIMATE_BATCH, {"input": {"siteId": "abc", "appTypes": ["chat"], "memberIds": ["1"]}}, "siteId"),
        (ESTIMATE_BATCH, {"input": {"siteId": "2", "appTypes": ["chat"], "memberIds": ["x"]}}, "memberIds"),
    ],
    ids=["letters", "padded", "long member", "long app", "invalidate", "estimate", "members"],
)
def test_a_change_with_an_id_that_fits_no_column_is_done_or_refused(
    adopted: dict[str, Any], old: Api, mutation: str, variables: dict[str, Any], refused_field: str
) -> None:
    before = adopted["store"].snapshot()
    (payload,) = old.data(mutation, variables).values()
    if payload.get("code"):
        assert (payload["code"], payload["field"]) == ("INVALID_INPUT", refused_field)
        assert adopted["store"].snapshot() == before
    else:
        # Where the columns are texts they hold nearly everything, but never white space around a name.
        assert adopted["name"] != "integers"
        assert " 007 " not in str(variables)
