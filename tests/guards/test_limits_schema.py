"""The cost rule on the real schema: what a console asks is allowed, what only an attacker asks is not."""

from __future__ import annotations

import pytest

from graph.app import make_engine
from graph.errors import RequestRefused
from graph.execution.engine import Engine
from graph.settings.config import load_settings
from graph.types.fields import STATEMENT


@pytest.fixture(scope="module")
def engine() -> Engine:
    return make_engine(load_settings())


def cost(engine: Engine, query: str, **variables: object) -> int:
    prepared = engine.prepare(query)
    return engine.cost(prepared, variables)


DASHBOARD = """
query Console($site: ID, $days: Int! = 90) {
  dashboard(siteId: $site) {
    siteId timeZone
    today {
      calls tokens successRate averageLatencyMs
      byStatus { status statusText calls }
      latency { p50 p95 p99 }
    }
    trend(days: $days) { date calls tokens successRate }
    appDistribution(days: $days) { appType count tokens share }
    appHealth { appType lastStatus lastStatusText lastCallAt }
    budget { timeZone daily { ...Period } monthly { ...Period } }
    recentAlerts {
      id siteId appType triggerType memberId runStatus errorMessage
      alertStatus alertChangedBy alertChangedAt createdAt
      runLog { id tokensUsed latencyMs }
    }
  }
}
fragment Period on PeriodBudget { used limit ratio remaining resetsAt }
"""

RUN = """
id siteId appType triggerType memberId sessionId model tokensUsed promptTokens completionTokens latencyMs
status statusText errorMessage alertStatus externalId createdAt finishedAt requestPrompt responseText
"""

RUNS = f"""
query ($first: Int) {{
  runLogs(first: $first) {{
    edges {{ cursor node {{ {RUN} triggerJob {{
      id eventType connectorType memberId payload appChain isForced status statusText errorMessage attempt
      runLogs {{ edges {{ node {{ id appType status }} }} }}
    }} }} }}
    pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
    totalCount {{ count isExact }}
  }}
}}
"""


def test_a_whole_dashboard_is_allowed_and_counts_its_days(engine: Engine) -> None:
    assert 1_000 < cost(engine, DASHBOARD) < 1_500


def test_a_full_page_of_runs_with_their_jobs_runs_is_allowed(engine: Engine) -> None:
    full = cost(engine, RUNS, first=100)
    assert 8_000 < full < engine.limits.max_cost / 2
    assert cost(engine, RUNS, first=10) < full / 9


def test_the_introspection_of_explorers_is_allowed(engine: Engine) -> None:
    assert (
        engine.prepare("{ __schema { types { name fields { name type { name ofType { name } } } } } }").cost
        < 100
    )


# Days, and not pages: a constant must not hide how many rows a day's block gives.
@pytest.mark.parametrize(("block", "rows"), [("trend", 90), ("recentAlerts", 10)])
def test_a_block_counts_the_rows_that_it_gives(engine: Engine, block: str, rows: int) -> None:
    field = {"trend": "calls", "recentAlerts": "id"}[block]
    assert cost(engine, f"{{ dashboard {{ {block} {{ {field} }} }} }}") == 1 + STATEMENT + rows


CIRCLES = {
    "runs of jobs of runs": "{ runLogs(first: 100) { edges { node { triggerJob { runLogs(first: 100) { edges"
    " { node { triggerJob { runLogs(first: 100) { edges { node { id } } } } } } } } } } } }",
    "by default sizes": "{triggerJobs{edges{node{runLogs{edges{node{triggerJob{runLogs{edges{node{triggerJob"
    "{runLogs{edges{node{id}}}}}}}}}}}}}}}",
    "retries of retries": "{ triggerJobs(first: 100) { edges { node { retries(first: 100) { edges"
    " { node { retries(first: 100) { edges { node { id } } } } } } } } } }",
    "batches of jobs": "{ triggerJobs(first: 100) { edges { node { batch { jobs(first: 100) { edges"
    " { node { batch { jobs(first: 100) { edges { node { id } } } } } } } } } } } }",
    "totals of nested lists": "{ triggerJobs(first: 100) { edges { node { "
    + " ".join(f"r{n}: runLogs(first: 1) {{ totalCount {{ count }} }}" for n in range(10))
    + " } } } }",
    "many dashboards": "{ "
    + " ".join(
        f"d{n}: dashboard {{ today {{ latency {{ p50 }} }} appHealth {{ appType lastStatus lastCallAt }}"
        f" trend(days: 90) {{ date calls tokens successRate }}"
        f" appDistribution {{ appType count tokens share }} }}"
        for n in range(50)
    )
    + " }",
}


@pytest.mark.parametrize("name", CIRCLES)
def test_amplification_is_refused_before_it_runs(engine: Engine, name: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        engine.prepare(CIRCLES[name])
    assert caught.value.errors[0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"
