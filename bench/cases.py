"""What is asked of every contender, as clients send it, and whether two answers say the same."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from bench.store import APP, BATCH_ID, MEMBER, SITE

RUNS = """
query Runs($filter: RunLogFilter, $first: Int) { runLogs(filter: $filter, first: $first) {
  edges { cursor node { id siteId appType model status tokensUsed latencyMs memberId createdAt } }
  pageInfo { hasNextPage endCursor } } }
"""
RUNS_AND_TOTAL = RUNS.replace("pageInfo {", "totalCount { count isExact } pageInfo {")
RUN = """
query Run($id: ID!) { runLog(id: $id) {
  id siteId appType triggerType memberId sessionId model status tokensUsed promptTokens completionTokens
  latencyMs errorMessage createdAt finishedAt requestPrompt responseText } }
"""
ALERT = """id siteId appType triggerType memberId runStatus errorMessage alertStatus alertChangedBy
  alertChangedAt createdAt"""
ALERTS = f"""
query Alerts($filter: AlertFilter, $first: Int) {{ alerts(filter: $filter, first: $first) {{
  edges {{ cursor node {{ {ALERT} }} }} pageInfo {{ hasNextPage endCursor }} }} }}
"""
JOB = "id siteId eventType memberId appChain status statusText attempt createdAt startedAt finishedAt"
JOBS = f"""
query Jobs($filter: TriggerJobFilter, $first: Int) {{ triggerJobs(filter: $filter, first: $first) {{
  edges {{ cursor node {{ {JOB} }} }} pageInfo {{ hasNextPage endCursor }} }} }}
"""
JOBS_AND_RUNS = JOBS.replace(
    JOB,
    JOB
    + """ runLogs(first: 5) { edges { node { id appType status tokensUsed latencyMs createdAt } }
    pageInfo { hasNextPage } }""",
)
BATCH = f"""
query Batch($id: ID!, $first: Int) {{ batch(id: $id) {{
  id siteId status appTypes memberCount estimatedCalls estimatedTokens createdBy createdAt confirmedBy
  confirmedAt startedAt finishedAt progress {{ total pending running succeeded failed tokensUsed }}
  jobs(first: $first) {{ edges {{ cursor node {{ {JOB} }} }} pageInfo {{ hasNextPage endCursor }} }} }} }}
"""
DASHBOARD = f"""
query Dashboard($site: ID) {{ dashboard(siteId: $site) {{
  siteId timeZone
  today {{ calls tokens successRate averageLatencyMs byStatus {{ status statusText calls }}
    latency {{ p50 p95 p99 }} }}
  trend {{ date calls tokens successRate }}
  appDistribution {{ appType count tokens share }}
  appHealth {{ appType lastStatus lastStatusText lastCallAt }}
  budget {{ timeZone daily {{ used limit ratio remaining resetsAt }}
    monthly {{ used limit ratio remaining resetsAt }} }}
  recentAlerts {{ {ALERT} }} }} }}
"""
OVERVIEW = f"""
query Overview($runs: RunLogFilter, $alerts: AlertFilter, $first: Int) {{
  runLogs(filter: $runs, first: $first) {{ edges {{ node {{
    id siteId appType model status tokensUsed latencyMs memberId createdAt }} }} }}
  alerts(filter: $alerts, first: $first) {{ edges {{ node {{ {ALERT} }} }} }} }}
"""
RECORD = """
mutation Record($input: RecordRunsInput!) { recordRuns(input: $input) {
  __typename ... on RecordedRuns { runIds added changed } ... on Refusal { code message } } }
"""
CHANGE_ALERT = f"""
mutation Change($input: AlertInput!) {{ ackAlert(input: $input) {{
  __typename ... on Alert {{ {ALERT} }} ... on Refusal {{ code message }} }} }}
"""
REPORT = {
    "siteId": SITE, "appType": APP, "status": "SUCCESS", "triggerType": "api", "memberId": MEMBER,
    "sessionId": "session_1", "model": "model-1", "promptTokens": 900, "completionTokens": 120,
    "latencyMs": 840,
    "requestPrompt": "Summarise the open orders of the member and say which of them are late.",
    "responseText": "There are 3 open orders; the oldest was placed on Monday and will be sent tomorrow.",
}  # fmt: skip
COUNTER = "@number@"
"""In a body of a writing case it stands for a number that is another one in each request."""

CURSORS = ("cursor", "endCursor")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")


class Case(NamedTuple):
    """One request. `expected` stands in every answer; a case that writes says it, as its answers differ."""

    name: str
    title: str
    query: str
    variables: dict[str, Any]
    expected: str = '{"data":{'
    writes: bool = False

    def bodies(self, unique: str, alerts: Sequence[int]) -> list[str]:
        """The bodies of its requests, sent one after the other, over and over.

        `alerts` are pending at the beginning: all are acknowledged, then all are reopened. `unique` is a text
        that no other call gives.
        """
        if self.name == "ack_alert":
            queries = (self.query, self.query.replace("ackAlert", "reopenAlert"))
            return [
                _body(query, {"input": {"alertId": f"alert_{alert}"}})
                for query in queries
                for alert in alerts
            ]
        return [_body(self.query, self.variables).replace("@unique@", unique)]


def _body(query: str, variables: dict[str, Any]) -> str:
    return json.dumps({"query": query, "variables": variables})


def _page(first: int = 20, **wanted: Any) -> dict[str, Any]:
    return {"filter": wanted or None, "first": first}


CASES = (
    Case("list", "Runs of all sites, 20", RUNS, _page()),
    Case("list_site", "Runs of one site, 20", RUNS, _page(siteId=SITE)),
    Case("list_100", "Runs of one site, 100", RUNS, _page(100, siteId=SITE)),
    Case(
        "list_status",
        "Runs of a site and app, by status",
        RUNS,
        _page(siteId=SITE, appType=APP, status=["FAILED", "TIMEOUT"]),
    ),
    Case("list_total", "Runs of a site and app, with total", RUNS_AND_TOTAL, _page(siteId=SITE, appType=APP)),
    Case("list_member", "Runs of a member", RUNS, _page(memberId=MEMBER)),
    Case("run", "One run with its texts", RUN, {"id": "run_500"}),
    Case("alerts", "Alerts of one site", ALERTS, _page(siteId=SITE)),
    Case("jobs", "Jobs", JOBS, _page()),
    Case("jobs_runs", "Jobs of a site with their runs", JOBS_AND_RUNS, _page(siteId=SITE)),
    Case("batch", "A batch with its jobs", BATCH, {"id": f"batch_{BATCH_ID}", "first": 20}),
    Case("dashboard", "Dashboard of one site", DASHBOARD, {"site": SITE}),
    Case(
        "two_lists",
        "Runs and pending alerts in one request",
        OVERVIEW,
        {"runs": {"siteId": SITE}, "alerts": {"siteId": SITE, "alertStatus": ["PENDING"]}, "first": 10},
    ),
    Case(
        "record",
        "Record 10 runs",
        RECORD,
        {"input": {"runs": [REPORT | {"externalId": f"@unique@-{COUNTER}-{n}"} for n in range(10)]}},
        expected='"added":10',
        writes=True,
    ),
    Case(
        "ack_alert", "Acknowledge or reopen an alert", CHANGE_ALERT, {}, '"__typename":"Alert"', writes=True
    ),
)


class AnswersDiffer(Exception):
    """Two contenders do not say the same, so comparing their speed would mean nothing."""


def check_equal(mine: Any, other: Any, path: str = "data") -> None:
    """Raise AnswersDiffer where two answers differ by more than a cursor's text or a float's last digits."""
    if isinstance(mine, dict) and isinstance(other, dict) and list(mine) == list(other):
        for name in mine:
            if name in CURSORS:
                _check(bool(mine[name]) == bool(other[name]), mine[name], other[name], f"{path}.{name}")
            else:
                check_equal(mine[name], other[name], f"{path}.{name}")
    elif isinstance(mine, list) and isinstance(other, list) and len(mine) == len(other):
        for index, (left, right) in enumerate(zip(mine, other, strict=True)):
            check_equal(left, right, f"{path}[{index}]")
    else:
        numbers = isinstance(mine, float | int) and isinstance(other, float | int)
        same = math.isclose(mine, other, rel_tol=1e-9) if numbers else _moment(mine) == _moment(other)
        _check(same and not isinstance(mine, dict | list), mine, other, path)


def _moment(value: Any) -> Any:
    # PostgreSQL's own text of a time leaves trailing zeros out.
    return datetime.fromisoformat(value) if isinstance(value, str) and _TIME.fullmatch(value) else value


def _check(same: bool, mine: Any, other: Any, path: str) -> None:
    if not same:
        raise AnswersDiffer(f"{path}: {str(mine)[:120]!r} is not {str(other)[:120]!r}")
