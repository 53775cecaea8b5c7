"""Every example of docs/import.md, and README's, runs as it stands there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner

from graph.cli.main import app

STORED = {
    "usage.csv": [
        ("acme", "answer_question", 1540, None, "success", "2025-12-01 00:00:00"),
        ("acme", "answer_question", 895, None, "failed", "2025-12-01 00:01:00"),
    ],
    "calls.ndjson": [
        ("acme", "summarise", 512, 1250, "success", "2025-12-01 10:00:00"),
        ("acme", "summarise", 90, 400, "success", "2025-12-01 10:00:03"),
    ],
    "aufrufe.csv": [
        ("acme", "answer_question", 1200, 353, "success", "2025-12-01 10:00:00"),
        ("acme", "answer_question", 800, 1200, "success", "2025-12-01 10:00:05"),
    ],
    "events.csv": [
        ("acme", "translate", 64, None, "success", "2025-12-01 00:00:00.123"),
        ("acme", "translate", 72, None, "success", "2025-12-01 00:00:01.456"),
    ],
}


def stored(dsn: str) -> list[tuple[Any, ...]]:
    columns = "site_id, app_type, tokens_used, latency_ms, status, (created_at AT TIME ZONE 'UTC')::text"
    with psycopg.connect(dsn) as connection:
        return connection.execute(f"SELECT {columns} FROM biz.ai_run_logs ORDER BY created_at, id").fetchall()


def recipes(repository: Path) -> dict[str, tuple[str, list[str]]]:
    """Each file of the guide with its content and the arguments that load it."""
    guide = (repository / "docs" / "import.md").read_text(encoding="utf-8")
    found = re.findall(r"<!-- file: (.*?) -->\n```\w+\n(.*?)```.*?```sh\n(.*?)```", guide, re.DOTALL)
    return {name: (content, shlex.split(command.replace("\\\n", ""))) for name, content, command in found}


@pytest.mark.parametrize("name", STORED)
def test_a_recipe_loads_what_it_shows(
    name: str, dsn: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert set(recipes(repository)) == set(STORED)
    content, command = recipes(repository)[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", dsn)
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert command[:3] == ["runglass", "import", name]
    for dry_run in ([], ["--dry-run"])[::-1]:
        answer = CliRunner().invoke(app, [*command[1:], *dry_run])
        assert answer.exit_code == 0, answer.output
        assert stored(dsn) == ([] if dry_run else STORED[name])


def test_the_readmes_example_runs_as_pasted(
    dsn: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"\.venv/bin/runglass (import .*)", readme)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", dsn)
    (tmp_path / "runs.csv").write_text("TIMESTAMP,tokens_used\n2023-11-16 18:17:03.9799600,4818\n")
    answer = CliRunner().invoke(app, shlex.split(command))
    assert answer.exit_code == 0, answer.output
    assert [row[:3] for row in stored(dsn)] == [("acme", "chat", 4818)]
