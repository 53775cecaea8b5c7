"""What `runglass import` prints, and its exit codes."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from graph.import_command import import_runs, split_pairs
from resolvers.import_errors import ImportUsageError

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(dsn: str, tmp_path: Path) -> Run:
    """Runs the command on a file of this text; gives its exit code and what it printed."""

    def run(text: str, *, terminal: bool = False, skip_bad: bool = False, **columns: str) -> tuple[int, str]:
        path = tmp_path / "runs.csv"
        path.write_text(text)
        output = io.StringIO()
        console = Console(file=output, width=80, force_terminal=terminal)
        code = import_runs(dsn, str(path), columns, {"app_type": "chat"}, False, skip_bad, console)
        return code, output.getvalue()

    return run


def test_it_tells_rows_period_and_tokens(run: Run) -> None:
    code, output = run("site_id,created_at,tokens_used\na,2026-05-01 10:00,1200\nb,2026-05-02 11:30,34\n")
    assert code == 0
    assert output.startswith("2 rows in ")
    assert "2026-05-01 10:00 to 2026-05-02 11:30 UTC, 1,234 tokens\n" in output
    assert "again would load its rows again" in output


def test_bad_rows_are_listed_and_the_rest_counted(run: Run) -> None:
    text = "site_id,tokens_used\n" + "a,[x]\n" * 23 + "a,1\n"
    code, output = run(text)
    assert code == 1
    assert "line 2: tokens_used is no whole number: '[x]'\n" in output
    assert "line 21: " in output
    assert "line 22: " not in output
    assert "… and 3 more bad rows\n" in output
    assert output.endswith("runglass import: 23 bad rows, nothing was loaded (--skip-bad loads the others)\n")
    code, output = run(text, skip_bad=True)
    assert code == 0
    assert ", 23 bad rows skipped: " in output


def test_wrong_usage_is_one_line_and_exit_code_2(run: Run) -> None:
    code, output = run("site_id\na\n", model="engine")
    assert code == 2
    assert output.count("\n") == 1
    assert "it has site_id" in output


def test_a_file_without_rows_is_told(run: Run) -> None:
    assert run("site_id\n") == (1, "runglass import: the file holds no rows, nothing was loaded\n")
    code, output = run("")
    assert (code, output.count("\n")) == (1, 1)
    assert "is empty" in output


def test_the_bar_is_for_terminals_only(run: Run) -> None:
    assert "\x1b" not in run("site_id\na\n")[1]
    assert "loading" in run("site_id\na\n", terminal=True)[1]


def test_a_database_that_is_gone_is_one_line(tmp_path: Path) -> None:
    output = io.StringIO()
    path = tmp_path / "runs.csv"
    path.write_text("site_id\na\n")
    dsn = f"postgresql://nobody@/none?host={tmp_path}"
    code = import_runs(dsn, str(path), {}, {}, False, False, Console(file=output, width=80))
    assert (code, output.getvalue().count("\n")) == (1, 1)


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    assert split_pairs("--set", ["model=a=b", "status="]) == {"model": "a=b", "status": ""}
    for pairs in (["model"], ["=x"], ["a=1", "a=2"]):
        with pytest.raises(ImportUsageError):
            split_pairs("--set", pairs)
