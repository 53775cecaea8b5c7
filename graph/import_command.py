"""`runglass import`: loading run logs from a file, with a progress bar on a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from db.errors import Unavailable
from resolvers.import_errors import ImportFailed, ImportUsageError
from resolvers.imports import ImportReport, import_run_logs

DONE, FAILED, WRONG_USAGE = 0, 1, 2


def split_pairs(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """The NAME=VALUE arguments of an option. Raises ImportUsageError where one is none, or a name repeats."""
    split: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ImportUsageError(f"{option} {pair}: expected NAME=VALUE")
        if name in split:
            raise ImportUsageError(f"{option} names {name} twice")
        split[name] = value
    return split


def import_runs(
    database_dsn: str,
    file: str,
    columns: Mapping[str, str],
    constants: Mapping[str, str],
    shift_to_now: bool,
    skip_bad: bool,
    console: Console,
) -> int:
    """Import a file and tell on the console how it went; gives the command's exit code.

    0: loaded. 1: nothing was loaded. 2: the command was wrong, and nothing was loaded.
    """
    started = time.monotonic()
    try:
        with _bar(console) as bar:
            task = bar.add_task("reading", total=None)
            report = import_run_logs(
                database_dsn,
                file,
                columns=columns,
                constants=constants,
                shift_to_now=shift_to_now,
                skip_bad=skip_bad,
                progress=lambda stage, done, total: bar.update(
                    task, description=stage, completed=done, total=total
                ),
            )
    except ImportUsageError as error:
        return _stop(console, str(error), WRONG_USAGE)
    except (ImportFailed, Unavailable) as error:
        return _stop(console, str(error), FAILED)
    except KeyboardInterrupt:
        return _stop(console, "interrupted: nothing was loaded", FAILED)
    _tell(console, report, file, skip_bad, time.monotonic() - started)
    return DONE if report.rows else FAILED


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _stop(console: Console, reason: str, code: int) -> int:
    _print(console, f"runglass import: {reason}")
    return code


def _print(console: Console, line: str) -> None:
    console.print(escape(line), soft_wrap=True, highlight=False)


def _tell(console: Console, report: ImportReport, file: str, skip_bad: bool, seconds: float) -> None:
    for row in report.bad:
        # Line 0: the server refused the rows without saying which one it was.
        _print(console, f"line {row.line}: {row.reason}" if row.line else row.reason)
    if report.bad_rows > len(report.bad):
        _print(console, f"… and {report.bad_rows - len(report.bad):,} more bad rows")
    if report.ignored_columns:
        _print(console, f"not loaded: the file's columns {', '.join(report.ignored_columns)}")
    if not report.rows:
        bad = f"{report.bad_rows:,} bad rows" if report.bad_rows else "the file holds no rows"
        hint = "" if skip_bad or not report.bad_rows else " (--skip-bad loads the others)"
        _print(console, f"runglass import: {bad}, nothing was loaded{hint}")
        return
    skipped = f", {report.bad_rows:,} bad rows skipped" if report.bad_rows else ""
    rate = report.rows / max(seconds, 0.001)
    _print(
        console,
        f"{report.rows:,} rows in {seconds:.1f} s ({rate:,.0f} rows/s){skipped}: "
        f"{report.first_created_at:%Y-%m-%d %H:%M} to {report.last_created_at:%Y-%m-%d %H:%M} UTC, "
        f"{report.tokens:,} tokens",
    )
    what = "this" if file == "-" else file
    _print(console, f"Importing {what} again would load its rows again, unless they have external ids.")
