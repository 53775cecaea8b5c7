"""README's first query and mutation run as they stand there."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.conftest import Api, Store


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
    assert budget["setBudget"]["standing"]["limit"] == 500_000
    assert batch["estimateBatch"]["estimatedTokens"] == 6_000
