"""The same number of statements for one row and for twenty, whatever is selected of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.support.api import Api
from tests.support.store import Store

ROWS = 20
RUN = "id siteId status requestPrompt responseText triggerJob { id eventType retryOf { id } batch { id } }"
JOB = """
id status payload appChain waitsFor { until } reservation { tokens }
retryOf { id } root { id status } batch { id apps { calls } }
runLogs(first: 2) { edges { cursor node { id responseText } } pageInfo { hasNextPage } totalCount { count } }
retries(first: 2) {
  edges { node { id } } pageInfo { hasNextPage } totalCount { count isExact } skippedDuplicatesToday
}
"""
LISTS = {
    "runLogs": RUN,
    "alerts": f"id alertStatus runLog {{ {RUN} }}",
    "triggerJobs": JOB,
    "cacheEntries": "id status result",
}


@pytest.fixture(scope="module", autouse=True)
def rows(module_store: Store) -> None:
    """One row of the site `one` and twenty of the site `many`, with all that may hang on a row."""
    past = datetime(2026, 5, 1, tzinfo=UTC)
    for site, count in (("one", 1), ("many", ROWS)):
        for number in range(count):
            batch = module_store.add(
                "runglass.batches",
                site_id=site,
                app_types=["chat"],
                member_ids=["m1"],
                estimated_calls=1,
                estimated_tokens=1,
                app_estimates='[{"app_type": "chat", "calls": 1, "mean_tokens": 1, "sample_size": 0}]',
                created_by="ann",
                expires_at=past,
            )
            old = module_store.job(site_id="other", created_at=past)
            job = module_store.job(site_id=site, retry_of_id=old, batch_id=batch)
            for retry in range(3):
                module_store.job(site_id="other", retry_of_id=job, created_at=past + timedelta(days=retry))
                module_store.run(site_id="other", trigger_job_id=job, created_at=past)
            module_store.run(
                site_id=site, status="failed", trigger_job_id=job, request_prompt=f"ask {number}"
            )
            module_store.cache(site_id=site)


@pytest.mark.parametrize("name", LISTS)
def test_a_list_with_all_its_relations(module_api: Api, name: str) -> None:
    query = f"""
    query ($site: ID!) {{ {name}(filter: {{siteId: $site}}) {{
      edges {{ cursor node {{ {LISTS[name]} }} }} pageInfo {{ endCursor }} totalCount {{ count isExact }}
    }} }}
    """
    whole = module_api.data(query, {"site": "many"})[name]
    assert len(whole["edges"]) == ROWS
    few = module_api.statements(query, {"site": "one"})
    assert module_api.statements(query, {"site": "many"}) == few
    assert 2 <= few <= 12


def test_a_batch_with_all_its_jobs(module_api: Api, module_store: Store) -> None:
    query = f"""
    query ($id: ID!) {{ batch(id: $id) {{ id jobs(first: 20) {{ edges {{ node {{ {JOB} }} }} }} }} }}
    """
    batches = module_store.rows("SELECT id FROM runglass.batches LIMIT 2")
    few, many = (f"batch_{row['id'].hex}" for row in batches)
    old = module_store.job(site_id="many")
    for _ in range(ROWS):
        job = module_store.job(site_id="many", batch_id=batches[1]["id"], retry_of_id=old)
        module_store.run(trigger_job_id=job)
        module_store.job(retry_of_id=job)
    assert len(module_api.data(query, {"id": many})["batch"]["jobs"]["edges"]) == ROWS
    assert module_api.statements(query, {"id": many}) == module_api.statements(query, {"id": few})


def test_the_alerts_of_the_dashboard_with_their_runs(module_api: Api) -> None:
    query = (
        f"query ($site: ID!) {{ dashboard(siteId: $site) {{ recentAlerts {{ id runLog {{ {RUN} }} }} }} }}"
    )
    assert len(module_api.data(query, {"site": "many"})["dashboard"]["recentAlerts"]) == 10
    few = module_api.statements(query, {"site": "one"})
    assert module_api.statements(query, {"site": "many"}) == few
