"""What README and the pages of docs/ show runs as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.support.api import Api
from tests.support.store import Store


def test_the_first_query_runs_as_pasted(api: Api, store: Store, repository: Path) -> None:
    store.run()
    readme = (repository / "README.md").read_text(encoding="utf-8")
    bodies = re.findall(r"-d '(\{.*?\})'", readme)
    assert len(bodies) == 1
    data = api.data(json.loads(bodies[0])["query"])
    assert data["dashboard"]["today"] == {"calls": 1, "successRate": 1.0, "tokens": 100}


def test_the_first_mutation_runs_as_pasted(api: Api, repository: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    mutation = re.findall(r"```graphql\n(.*?)```", readme, re.DOTALL)[0]
    assert api.data(mutation)["ackAlert"] == {"code": "NOT_FOUND", "message": "There is no such alert."}


def test_the_operations_of_the_guide_to_budgets_run_as_pasted(api: Api, repository: Path) -> None:
    guide = (repository / "docs" / "budgets.md").read_text(encoding="utf-8")
    budget, batch = (api.data(block) for block in re.findall(r"```graphql\n(.*?)```", guide, re.DOTALL))
    assert budget["setBudget"]["status"]["limit"] == 500_000
    assert batch["estimateBatch"]["estimatedTokens"] == 6_000


def test_what_the_page_on_retrying_shows_runs_as_pasted(api: Api, store: Store, repository: Path) -> None:
    store.job(created_at="2026-11-24T09:00:00Z")
    page = (repository / "docs/retrying-and-cancelling.md").read_text(encoding="utf-8")
    store.job(status="running")
    store.run(status="failed", app_type="mail", created_at="2026-11-24T09:00:00Z")
    blocks = re.findall(r"```graphql\n(.*?)```", page, re.DOTALL)
    one, many, failing, alerts = (api.data(block) for block in blocks)
    assert one["retryJob"]["code"] == "NOT_FOUND"
    assert (many["retryJobs"]["matched"], many["retryJobs"]["count"]) == (1, 0)
    assert (failing["failJobs"]["matched"], failing["failJobs"]["count"]) == (1, 1)
    assert (alerts["ackAlerts"]["matched"], alerts["ackAlerts"]["count"]) == (1, 1)
