"""The real trace: what the API says of it equals what its file says."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from resolvers.imports.load import import_run_logs
from resolvers.imports.options import ImportOptions
from tests.support.api import Api

DASHBOARD = """
{
  dashboard(siteId: "acme", timeZone: "UTC") {
    trend(days: 2) { calls tokens successRate }
    appDistribution(days: 2) { appType count tokens share }
    appHealth { appType lastStatus }
  }
  runLogs(filter: {siteId: "acme"}, first: 1) {
    totalCount { count isExact }
    edges { node { promptTokens completionTokens tokensUsed status } }
  }
}
"""


def test_totals_through_the_api_are_those_of_the_file(api: Api, dsn: str, repository: Path) -> None:
    trace = repository.parent / "shared" / "data" / "AzureLLMInferenceTrace_code.csv"
    if not trace.exists():
        pytest.skip("the trace lies beside the project only where it is developed")
    with trace.open(newline="", encoding="utf-8") as file:
        rows = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]

    import_run_logs(
        dsn,
        str(trace),
        ImportOptions(
            columns={
                "created_at": "TIMESTAMP",
                "prompt_tokens": "ContextTokens",
                "completion_tokens": "GeneratedTokens",
            },
            constants={"site_id": "acme", "app_type": "code_assistant", "status": "success"},
            shift_to_now=True,
        ),
    )

    shown = api.data(DASHBOARD)
    days = shown["dashboard"]["trend"]
    tokens = sum(prompt + completion for prompt, completion in rows)
    assert sum(day["calls"] for day in days) == len(rows) == 8819
    assert sum(day["tokens"] for day in days) == tokens
    assert shown["dashboard"]["appDistribution"] == [
        {"appType": "code_assistant", "count": len(rows), "tokens": tokens, "share": 1.0}
    ]
    assert shown["dashboard"]["appHealth"] == [{"appType": "code_assistant", "lastStatus": "SUCCESS"}]
    assert shown["runLogs"]["totalCount"] == {"count": len(rows), "isExact": True}
    newest = shown["runLogs"]["edges"][0]["node"]
    assert (newest["promptTokens"], newest["completionTokens"]) == rows[-1]
    assert newest["tokensUsed"] == sum(rows[-1])
