"""Statements over site-owned tables cannot run without a scope."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from db.access.api_keys import KeyStatement
from db.sql.scope import EVERY_SITE, Scope, SiteStatement
from tests.support.store import Store

SITE_OWNED = re.compile(
    r"\b(biz\.ai_(run_logs|trigger_jobs|cache)|"
    r"runglass\.(batches|budgets|budget_events|job_queue|site_turns|audit_log|run_external_ids|api_keys|run_usage|run_latency|run_totals|run_log_deltas|"
    r"model_usage|batch_usage))\b"
)
STATEMENTS = {"SiteStatement", "KeyStatement", "RollUpStatement"}

_DEMO = "fills an empty store, for the command line"
_IMPORT = "loads a file for the command line, which holds the database itself"

_WORK = "the workers' own, who run the jobs of every site"

# Every other text of db/ that names such a table, and why it may.
ALLOWED = {
    ("runs/run_logs.py", "_INSERT"): "a part of statements, which bring their {scope} along",
    ("sql/audit_entries.py", "insert_audit_entry"): "writes what the caller has just done within its scope",
    ("budgets/reservations.py", "_MOVING"): "a part of statements, which brings its {scope} along",
    ("budgets/reservations.py", "_UNMOVED"): "a part of statements, which brings its {scope} along",
    (
        "migrations/adopted_columns.py",
        "_ODD_SITES",
    ): "counts for the command line, which holds the database itself",
    (
        "migrations/adopted_columns.py",
        "_ODD_ROWS",
    ): "counts for the command line, which holds the database itself",
    ("access/api_keys.py", "FIND_KEY"): "finds out who calls, by a secret",
    ("access/api_keys.py", "MARK_KEYS_USED"): "by the ids of keys that have just been used",
    ("access/api_keys.py", "LIST_EVERY_API_KEY"): "for the command line, which holds the database itself",
    ("jobs/batch_retries.py", "_FAILED_JOBS"): "a part of statements, which brings its {scope} along",
    (
        "budgets/budget_events.py",
        "INSERT_EVENTS",
    ): "the upkeep's own, which looks at the budgets of every site",
    ("worker/circuits.py", "CHECK_CIRCUIT"): "gives only whether the job of the execution that asks may wait",
    ("worker/circuits.py", "PARK_PLACE"): "of the job that the execution holds",
    ("postgres/checks.py", "MISSING_OWNERSHIPS"): "names tables and reads no row",
    ("imports/demo.py", "ADVANCE_JOB_IDS"): _DEMO,
    ("imports/demo.py", "COPY_DEMO_CACHE"): _DEMO,
    ("imports/demo.py", "COPY_DEMO_RUNS"): _DEMO,
    ("imports/demo.py", "INSERT_DEMO_JOBS"): _DEMO,
    ("imports/demo.py", "STORE_IS_EMPTY"): _DEMO,
    ("imports/demo.py", "insert_demo"): _DEMO,
    ("imports/statements.py", "ARE_NEW"): _IMPORT,
    ("imports/statements.py", "CHANGE_KNOWN"): _IMPORT,
    ("imports/statements.py", "INSERT"): _IMPORT,
    ("imports/statements.py", "INSERT_AND_CLAIM"): _IMPORT,
    ("imports/statements.py", "LOCK_KNOWN"): _IMPORT,
    ("imports/statements.py", "TRY_VALUE"): "makes a row of a report's values and reads none",
    ("runs/refused_runs.py", "TRY_VALUE"): "makes a row of a report's values and reads none",
    ("sql/token_counts.py", "UNKNOWN_TOKENS"): "asks how a column is declared and reads no row",
    ("imports/load.py", "FIND_REPEATED"): _IMPORT,
    ("worker/installation.py", "_OURS"): "a part of statements, which brings its {scope} along",
    ("imports/load.py", "FORGET_ORPHANS"): _IMPORT,
    ("imports/load.py", "MISSING_MONTHS"): _IMPORT,
    ("imports/load.py", "TARGET_COLUMNS"): _IMPORT,
    ("usage/model_usage.py", "_SUM_MODELS"): "a template: every statement made of it is a RollUpStatement",
    ("worker/queue.py", "COUNT_ADMITTED_BY_APP"): _WORK,
    ("worker/queue.py", "GIVE_TO_ENGINE"): _WORK,
    ("worker/queue.py", "LEAVE_QUEUE"): "after the job itself has been locked within the scope",
    ("worker/queue.py", "LIST_WAITING"): _WORK,
    ("worker/queue.py", "MARK_ADMITTED"): _WORK,
    ("worker/rescues.py", "DELETE_ORPHANS"): _WORK,
    ("worker/rescues.py", "LEASE_UNBEGUN"): _WORK,
    ("worker/rescues.py", "READMIT_LOST"): _WORK,
    ("worker/rescues.py", "TAKE_STALLED"): _WORK,
    ("usage/rollups.py", "APPS_OF_EVERY_SITE"): "a part of the statement of the newest runs of every site",
    ("usage/rollups.py", "APPS_OF_SITES"): "a part of the statement of the newest runs",
    ("usage/rollups.py", "SUM"): "a template: every statement made of it is a RollUpStatement",
    ("usage/rollups.py", "_SUM_USAGE"): "a template: every statement made of it is a RollUpStatement",
    ("usage/rollups.py", "fold"): "VACUUM reads no row for anybody",
    (
        "runs/run_logs.py",
        "CLAIM_EXTERNAL_IDS",
    ): "the use-case has checked each report's site against the scope",
    (
        "runs/run_logs.py",
        "LOCK_EXTERNAL_IDS",
    ): "the use-case has checked each report's site against the scope",
    (
        "jobs/trigger_jobs.py",
        "_FRAGMENTS",
    ): "a part of statements with a scope; a retry is of its job's own site",
    ("worker/work.py", "CHECK_LEASE"): "by the secret of the execution that holds the job",
    ("worker/work.py", "RENEW_LEASE"): "of the job that the execution holds",
}


def mentions(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Each text that names a site-owned table: what it is within, and whether a statement takes it."""
    for top in tree.body:
        name = _name(top)
        inside = {
            id(part)
            for call in ast.walk(top)
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") in STATEMENTS
            for part in ast.walk(call)
        }
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(top)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(top):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in docstrings else None
            if isinstance(text, str) and SITE_OWNED.search(text):
                yield name, id(node) in inside


def _name(top: ast.stmt) -> str:
    if isinstance(top, ast.Assign):
        return ast.unparse(top.targets[0])
    if isinstance(top, ast.AnnAssign):
        return ast.unparse(top.target)
    return getattr(top, "name", "module")


def found(repository: Path) -> list[tuple[str, str, bool]]:
    files = sorted((repository / "db").rglob("*.py"))
    return [
        (file.relative_to(repository / "db").as_posix(), name, inside)
        for file in files
        for name, inside in mentions(ast.parse(file.read_text(), file.name))
        if name != "module"
    ]


def test_every_text_that_names_a_sites_table_is_a_statement_with_a_scope(repository: Path) -> None:
    outside = {(file, name) for file, name, inside in found(repository) if not inside}
    assert outside - set(ALLOWED) == set()
    assert set(ALLOWED) - outside == set(), "these are no longer there"
    assert sum(inside for *_, inside in found(repository)) > 30


def test_the_guard_sees_a_statement_without_a_scope() -> None:
    text = 'BAD = "SELECT biz.ai_cache"\ndef f():\n    "biz.ai_cache"\n    return f"{1} biz.ai_cache"'
    assert list(mentions(ast.parse(text))) == [("BAD", False), ("f", False)]


def test_the_guard_knows_every_table_of_a_site(store: Store) -> None:
    """Columns of what is migrated: a table that a later migration adds is asked for here."""
    tables = store.rows(
        "SELECT DISTINCT n.nspname || '.' || c.relname AS name FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE n.nspname IN ('biz', 'runglass') AND a.attname IN ('site_id', 'sites')"
        " AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
    )
    names = {table["name"] for table in tables}
    assert len(names) > 8
    unguarded = {name for name in names if not SITE_OWNED.fullmatch(name)}
    assert unguarded == {
        # A browser's session is found by its secret alone, like a key.
        "runglass.sessions",
        "runglass.sign_in_tokens",
    }


def test_a_statement_without_a_place_for_the_scope_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="scope"):
        SiteStatement("SELECT id FROM biz.ai_cache")


def _several(sites: str) -> dict[str, str]:
    return {"scope_sites": sites, "own_scope_sites": sites}


@pytest.mark.parametrize(
    ("scope", "condition", "parameters"),
    [
        (EVERY_SITE, "TRUE", {}),
        (
            Scope.of("a"),
            "site_id = %(scope_site)s AND site_id >= %(scope_site)s",
            {"scope_site": "a", "own_scope_site": "a"},
        ),
        (Scope.of("b", 'a"\\'), "site_id = ANY(%(scope_sites)s)", _several('{"a\\"\\\\","b"}')),
        (Scope.of(), "site_id = ANY(%(scope_sites)s)", _several("{}")),
    ],
)
def test_a_scope_becomes_a_condition(scope: Scope, condition: str, parameters: dict[str, str]) -> None:
    assert SiteStatement("WHERE {scope}").sql(scope) == f"WHERE {condition}"
    assert scope.parameters() == parameters


def test_a_scope_of_no_site_sees_no_key() -> None:
    assert "TRUE" not in KeyStatement("WHERE {scope}").sql(Scope.of())


def test_narrowing_never_widens() -> None:
    assert Scope.of("a", "b").narrow("a") == Scope.of("a")
    assert Scope.of("a").narrow("b") == Scope.of()
    assert Scope.of("a").narrow(None) == Scope.of("a")
    assert EVERY_SITE.narrow("a") == Scope.of("a")
    assert Scope.of().narrow("a") == Scope.of()


def test_a_scope_covers_what_lies_within_it() -> None:
    assert EVERY_SITE.covers(EVERY_SITE)
    assert EVERY_SITE.covers(Scope.of("a"))
    assert Scope.of("a", "b").covers(Scope.of("b"))
    assert not Scope.of("a").covers(Scope.of("a", "b"))
    assert not Scope.of("a").covers(EVERY_SITE)


def test_what_only_the_command_line_may_run_is_not_within_reach_of_a_request(repository: Path) -> None:
    reach = re.compile(r"(?:from|import) (?:db|resolvers)\.(?:demo|imports)\b|list_every_api_key")
    files = [file for file in (repository / "graph").rglob("*.py") if reach.search(file.read_text())]
    assert {file.parent.name for file in files} == {"cli", "processes"}
