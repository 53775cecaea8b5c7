"""graph -> resolvers -> db, never back; each library in its room. The contracts are in pyproject.toml."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FLOORS = ("graph", "resolvers", "db")


def test_the_contracts_are_kept(repository: Path) -> None:
    # Beside the tests' own interpreter, so that the installed packages are those under test.
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    answer = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=100, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "6 kept, 0 broken" in answer.stdout


def test_a_step_back_breaks_each_contract(repository: Path, tmp_path: Path) -> None:
    for floor in FLOORS:
        shutil.copytree(repository / floor, tmp_path / floor, ignore=shutil.ignore_patterns("__pycache__"))
    steps = {
        "db/postgres": "import strawberry\nimport resolvers.errors\nimport db.loaders\n",
        "resolvers/runs": "import psycopg\nimport resolvers.demo.load\n",
        "graph/types": "import graph.cli.main\n",
    }
    for room, text in steps.items():
        (tmp_path / room / "a_step_back.py").write_text(text)
    (tmp_path / "pyproject.toml").write_text((repository / "pyproject.toml").read_text())
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert answer.returncode == 1
    assert "0 kept, 6 broken" in answer.stdout


def _modules(repository: Path) -> list[Path]:
    return [path for floor in FLOORS for path in sorted((repository / floor).rglob("*.py"))]


def test_only_the_settings_read_the_environment(repository: Path) -> None:
    readers = set()
    for path in _modules(repository):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv"):
                readers.add(path.relative_to(repository).as_posix())
    allowed = {"graph/settings/config.py"}
    # What a child process of the embedded server gets is no setting of ours.
    assert readers - allowed <= {"db/embedded/process.py", "db/embedded/place.py"}
    assert allowed <= readers


def test_the_api_takes_only_values_from_the_store(repository: Path) -> None:
    """Rows, filters, pages, loaders and errors: what reads and writes is a use-case of `resolvers`."""
    allowed = re.compile(
        r"\w+(Row|Filter|Page|Request|Key)|Key|Page|Loaders?|Scope|Repeats|EVERY_\w+|StatementTimeout"
    )
    errors = {"Unavailable", "RefusedByTable"}
    found = {
        f"{path.relative_to(repository)}: {name.name}"
        for room in ("auth", "documents", "execution", "http", "operations", "types")
        for path in sorted((repository / "graph" / room).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "db"
        for name in node.names
        if not allowed.fullmatch(name.name) and name.name not in errors
    }
    assert found == set()


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "base"])
def test_no_module_is_named_for_nothing(repository: Path, word: str) -> None:
    assert [path for path in _modules(repository) if path.stem == word or path.parent.name == word] == []


def test_the_store_is_reached_with_a_scope(repository: Path) -> None:
    """A text that names a site-owned table and reads or changes it is a `SiteStatement`, or says why not."""
    known = {
        # Counts rows of every site for whoever runs the server.
        "db/migrations/adopted_columns.py",
        # Asks for privileges, not for rows.
        "db/postgres/checks.py",
        # Commands of whoever runs the server, who sees every site.
        "db/imports/demo.py",
        "db/imports/statements.py",
        "db/imports/load.py",
    }
    plain = set()
    for path in _modules(repository):
        text = path.read_text(encoding="utf-8")
        owned = any(
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and any(f"{verb} biz.ai_" in node.value for verb in ("FROM", "UPDATE", "INTO"))
            for node in ast.walk(ast.parse(text))
        )
        if owned and "SiteStatement(" not in text:
            plain.add(path.relative_to(repository).as_posix())
    assert {path for path in plain if not path.startswith("db/")} == set()
    assert plain <= known


SQL = re.compile(
    r"\b(SELECT\s|INSERT INTO\s|DELETE FROM\s|UPDATE\s+\S+\s+SET\s|ORDER BY\s|FROM (biz|runglass)\.)"
)


def test_no_sql_stands_above_the_database_floor(repository: Path) -> None:
    found = [
        f"{path.relative_to(repository).as_posix()}:{node.lineno}"
        for path in _modules(repository)
        if path.relative_to(repository).parts[0] != "db"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and SQL.search(node.value)
    ]
    assert found == []
