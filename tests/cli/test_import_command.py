"""What `runglass import` prints, its exit codes, and what is left where its process is killed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from rich.console import Console

from graph.cli.import_report import import_runs
from graph.cli.imports import split_pairs, split_words
from resolvers.imports.errors import ImportUsageError
from resolvers.imports.options import ImportOptions

Run = Callable[..., tuple[int, str]]
ROOT = Path(__file__).parent.parent.parent
HEADER = "site_id,app_type,created_at\n"


@pytest.fixture
def run(dsn: str, tmp_path: Path) -> Run:
    """Runs the command on a file of this text; gives its exit code and what it printed."""

    def run(text: str, *, terminal: bool = False, **options: Any) -> tuple[int, str]:
        path = tmp_path / "runs.csv"
        path.write_text(text)
        output = io.StringIO()
        console = Console(file=output, width=80, force_terminal=terminal)
        options = {"constants": {"app_type": "chat"}, "created_now": "created_at" not in text} | options
        code = import_runs(dsn, str(path), ImportOptions(**options), console)
        return code, output.getvalue().replace(str(path), "FILE")

    return run


def test_it_tells_what_it_reads_rows_period_and_tokens(run: Run) -> None:
    code, output = run("site_id,created_at,tokens_used\na,2026-05-01 10:00,1200\nb,2026-05-02 11:30,34\n")
    assert code == 0
    lines = output.splitlines()
    assert lines[0] == "reading FILE as CSV with ',' between cells, utf-8, times without a zone in UTC"
    assert lines[1].startswith("2 rows: 2026-05-01 10:00 to 2026-05-02 11:30 UTC, 1,234 tokens; it took ")
    assert lines[2] == "Importing FILE again would load its rows again, unless they have external ids."


def test_bad_rows_are_listed_and_the_rest_counted(run: Run) -> None:
    text = "site_id,Tokens\n" + "a,[x]\n" * 23 + "a,1\n"
    columns = {"tokens_used": "Tokens"}
    code, output = run(text, columns=columns)
    assert code == 1
    assert "FILE line 2: tokens_used (Tokens) is no whole number: '[x]'\n" in output
    assert "line 21: " in output
    assert "line 22: " not in output
    assert "… and 3 more bad rows\n" in output
    assert output.endswith("runglass import: 23 bad rows, nothing was loaded (--skip-bad loads the others)\n")
    code, output = run(text, columns=columns, skip_bad=True)
    assert code == 0
    assert "\n1 row, 23 bad rows skipped: " in output


def test_a_dry_run_shows_the_first_rows(run: Run) -> None:
    code, output = run(
        "site_id,created_at,model,error_message\n" + "a,2026-05-01,m\x1b[2Jm,\n" * 7, dry_run=True
    )
    assert code == 0
    rows = [line for line in output.splitlines() if line.startswith("line ")]
    expected = r"site_id=a, app_type=chat, created_at=2026-05-01 00:00:00+00:00, model=m\x1b[2Jm"
    assert rows[0] == f"line 2: {expected}, status=success"
    assert len(rows) == 5
    assert "\n… and 2 more rows\n7 rows: " in output
    assert output.endswith("0 tokens; nothing was changed, because this was a dry run\n")


@pytest.mark.parametrize(
    "text",
    [
        "site_id\n\x1b]0;title\x07\x9b2Ja\u202e,x\n",
        "\x1b[2Jsite,created_at\na,2026-05-01\n",
        "site_id,created_at\n\x1b[2Ja,\x1b[2J\n",
        '{"\x1b[2J": 1}\n',
        '{"\x1b[2J": 1\n',
        '[{"\x1b[2J": 1}, \x1b[2J]\n',
        '"site_id\n\x1b[2J"x,created_at\n',
        "PK\x03\x04\x1b[2J",
        "site_id,created_at,status,x\x1b[2J\na,2026-05-01,\x1b[2J,\n",
    ],
)
def test_nothing_of_a_file_commands_the_terminal(run: Run, text: str) -> None:
    code, output = run(text, created_now=False, columns={"session_id": "\x1b[2J"} if "{" in text else {})
    assert code in (1, 2)
    assert output.count("\n") >= 1
    assert all(line.isprintable() for line in output.splitlines())
    assert "\x1b" not in output


def test_nor_does_the_name_of_a_file(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2J\n.csv"
    path.write_text("site_id,app_type,created_at\na,b,2026-05-01\n,,\n")
    output = io.StringIO()
    assert import_runs(dsn, str(path), ImportOptions(skip_bad=True), Console(file=output, width=80)) == 0
    assert len(output.getvalue().splitlines()) == 4
    assert all(line.isprintable() for line in output.getvalue().splitlines())


def test_wrong_usage_is_one_line_and_exit_code_2(run: Run) -> None:
    code, output = run("site_id\na\n", columns={"model": "engine"})
    assert code == 2
    assert output.count("\n") == 2
    assert output.endswith(
        "runglass import: --column model=engine: the file has no such column; it has site_id\n"
    )


def test_a_file_without_rows_is_told(run: Run) -> None:
    code, output = run("site_id\n")
    assert (code, output.splitlines()[1]) == (
        1,
        "runglass import: the file holds no rows, nothing was loaded",
    )
    code, output = run("")
    assert (code, output) == (1, "runglass import: FILE is empty: there is nothing to load\n")


def test_keys_that_were_not_loaded_are_told(run: Run) -> None:
    row = '{"site_id": "a", "created_at": "2026-05-01", "cost": 1, "usage": {"total": 3, "cached": 1}}\n'
    output = run(row, columns={"tokens_used": "usage.total"})[1]
    assert "\nnot loaded: cost, usage.cached\n" in output


def test_the_bar_is_for_terminals_only(run: Run) -> None:
    assert "\x1b" not in run("site_id\na\n")[1]
    assert "loading" in run("site_id\na\n", terminal=True)[1]


def test_a_database_that_is_gone_is_one_line(tmp_path: Path) -> None:
    output = io.StringIO()
    path = tmp_path / "runs.csv"
    path.write_text("site_id\na\n")
    dsn = f"postgresql://nobody@/none?host={tmp_path}"
    code = import_runs(dsn, str(path), ImportOptions(), Console(file=output, width=80))
    assert (code, output.getvalue().count("\n")) == (1, 1)


def test_pairs_are_split_at_the_first_equals_sign_and_words_at_the_last() -> None:
    assert split_pairs("--set", ["model=a=b", "status="]) == {"model": "a=b", "status": ""}
    for pairs in (["model"], ["=x"], ["a=1", "a=2"]):
        with pytest.raises(ImportUsageError):
            split_pairs("--set", pairs)
    words = ["status:a=b=failed", "status:x:y=", "model:m=n"]
    assert split_words(words) == {"status": {"a=b": "failed", "x:y": ""}, "model": {"m": "n"}}
    for words in (["status"], ["status:x"], ["status:=x"], [":x=y"], ["a:x=1", "a:x=2"]):
        with pytest.raises(ImportUsageError, match="--map"):
            split_words(words)


@contextmanager
def process(dsn: str, *arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """`runglass import` of standard input, in a process of its own."""
    environment = {**os.environ, "DATABASE_URL": dsn, **settings}
    command = [sys.executable, "-m", "graph", "import", "-", *arguments]
    pipe = subprocess.PIPE
    importing = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    try:
        yield importing
    finally:
        importing.kill()
        importing.communicate(timeout=20)


def test_the_machines_time_zone_never_matters(dsn: str) -> None:
    text = HEADER + "a,b,2026-01-01 12:00Z\na,b,2026-01-01 12:00\na,b,2026-07-01\n"
    with process(dsn, TZ="Pacific/Apia", PGTZ="Asia/Tokyo", RUNGLASS_TIME_ZONE="Europe/Berlin") as importing:
        output, errors = importing.communicate(text, timeout=60)
    assert (importing.returncode, output) == (0, "")
    assert "2026-01-01 11:00 to 2026-06-30 22:00 UTC" in errors
    assert errors.startswith(
        "reading standard input as CSV with ',' between cells, utf-8, times without a zone in Eur"
    )
    with psycopg.connect(dsn) as connection:
        times = connection.execute(
            "SELECT to_char(created_at AT TIME ZONE 'UTC', 'MM-DD HH24') FROM biz.ai_run_logs ORDER BY 1"
        ).fetchall()
    assert times == [("01-01 11",), ("01-01 12",), ("06-30 22",)]


def _until(connection: psycopg.Connection, question: str) -> None:
    while connection.execute(question).fetchone() != (True,):
        pass


_IMPORTS = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'runglass import'"


@pytest.mark.parametrize("stage", ["reading", "loading"])
def test_killed_in_the_middle_it_leaves_nothing_and_can_be_tried_again(dsn: str, stage: str) -> None:
    # More than what is looked at before anything is read.
    rows = f"a,b,{datetime.now(UTC).isoformat()}\n" * 50_000
    with psycopg.connect(dsn, autocommit=True) as watcher, psycopg.connect(dsn) as blocker:
        with process(dsn) as importing:
            assert importing.stdin is not None
            importing.stdin.write(HEADER + rows)
            importing.stdin.flush()
            if stage == "reading":
                _until(
                    watcher, "SELECT EXISTS (SELECT FROM pg_stat_progress_copy WHERE tuples_processed > 0)"
                )
            else:
                blocker.execute("LOCK TABLE biz.ai_run_logs IN SHARE MODE")
                importing.stdin.close()
                importing.stdin = None
                _until(watcher, f"SELECT EXISTS (SELECT {_IMPORTS} AND wait_event_type = 'Lock')")
            importing.send_signal(signal.SIGKILL)
            importing.wait(timeout=20)
            # The server notices it although a lock keeps it waiting.
            _until(watcher, f"SELECT NOT EXISTS (SELECT {_IMPORTS})")
        blocker.rollback()
        assert watcher.execute("SELECT count(*) FROM biz.ai_run_logs").fetchone() == (0,)
        with process(dsn) as importing:
            importing.communicate(HEADER + rows, timeout=60)
        assert importing.returncode == 0
        assert watcher.execute("SELECT count(*) FROM biz.ai_run_logs").fetchone() == (50_000,)


# What a process says of itself: the system's own count of a child begins with the size of its parent.
_IMPORT_AND_TELL_MEMORY = """
import atexit, graph.cli.main
atexit.register(lambda: print(open('/proc/self/status').read()))
graph.cli.main.main()
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="only Linux tells a process's largest size"
)
def test_memory_does_not_grow_with_the_file(dsn: str, tmp_path: Path) -> None:
    """External ids too are not kept; bench/imports.py shows it for ten million rows."""
    largest: list[int] = []
    for count in (1_000, 150_000):
        path = tmp_path / "runs.csv"
        rows = (f"a,b,2026-05-01 10:00:00,{number:032}\n" for number in range(count))
        path.write_text(HEADER.replace("\n", ",external_id\n") + "".join(rows))
        command = [sys.executable, "-c", _IMPORT_AND_TELL_MEMORY, "import", str(path), "--dry-run"]
        environment = {**os.environ, "DATABASE_URL": dsn}
        answer = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        largest.append(int(answer.stdout.split("VmHWM:")[1].split()[0]) // 1024)
    assert largest[1] < largest[0] + 20, largest


def test_a_dry_run_migrates_nothing(empty_dsn: str) -> None:
    with process(empty_dsn, "--dry-run") as importing:
        _, errors = importing.communicate(HEADER + "a,b,2026-05-01\n", timeout=60)
    assert importing.returncode == 1
    assert errors.count("\n") == 1
    assert "run `runglass migrate`" in errors
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("SELECT to_regclass('biz.ai_run_logs')").fetchone() == (None,)
