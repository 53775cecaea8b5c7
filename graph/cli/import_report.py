"""How an import goes, on a terminal: a progress bar, then what was loaded and what was not."""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from db.postgres.errors import Unavailable
from resolvers.imports.errors import ImportFailed, ImportUsageError
from resolvers.imports.escapes import cut, listed, printable
from resolvers.imports.load import ROWS_SHOWN, ImportReport, import_run_logs
from resolvers.imports.options import ImportOptions

DONE, FAILED, WRONG_USAGE = 0, 1, 2


def import_runs(database_dsn: str, file: str, options: ImportOptions, console: Console) -> int:
    """Import a file and tell on the console how it went; gives the command's exit code.

    0: loaded, or shown by a dry run. 1: nothing was loaded. 2: the command was wrong, and nothing was loaded.
    """
    started = time.monotonic()
    try:
        with _bar(console) as bar:
            task = bar.add_task("reading", total=None)
            report = import_run_logs(
                database_dsn,
                file,
                options,
                progress=lambda stage, done, total: bar.update(
                    task, description=stage, completed=done, total=total or None
                ),
                say=lambda line: _print(console, line),
            )
    except ImportUsageError as error:
        return _stop(console, str(error), WRONG_USAGE)
    except (ImportFailed, Unavailable) as error:
        return _stop(console, str(error), FAILED)
    except KeyboardInterrupt:
        return _stop(console, "interrupted: nothing was loaded", FAILED)
    return _tell(console, report, file, options, time.monotonic() - started)


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
    # Whatever a file or a server put into the line, the terminal gets one line without commands.
    console.print(escape(printable(line)), soft_wrap=True, highlight=False)


def _tell(console: Console, report: ImportReport, file: str, options: ImportOptions, seconds: float) -> int:
    name = "standard input" if file == "-" else file
    for row in report.bad:
        # Line 0: the server refused the rows without saying which one it was.
        _print(console, f"{name} line {row.line}: {row.reason}" if row.line else f"{name}: {row.reason}")
    if report.bad_rows > len(report.bad):
        _print(console, f"… and {_rows(report.bad_rows - len(report.bad), 'more bad ')}")
    if report.not_loaded:
        _print(console, f"not loaded: {listed(report.not_loaded)}")
    for remark in report.remarks:
        _print(console, remark)
    if not report.rows:
        bad = _rows(report.bad_rows, "bad ") if report.bad_rows else "the file holds no rows"
        hint = "" if options.skip_bad or not report.bad_rows else " (--skip-bad loads the others)"
        return _stop(console, f"{bad}, nothing was loaded{hint}", FAILED)
    if options.dry_run:
        _show(console, report)
        _print(console, f"{_totals(report)}; nothing was changed, because this was a dry run")
        return DONE
    rate = report.rows / max(seconds, 0.001)
    _print(console, f"{_totals(report)}; it took {seconds:.1f} s ({rate:,.0f} rows/s)")
    if not options.update:
        again = f"Importing {name} again would load its rows again, unless they have external ids."
        _print(console, again)
    return DONE


def _show(console: Console, report: ImportReport) -> None:
    for row in report.shown:
        values = {column: value for column, value in row.items() if column != "line" and value is not None}
        cells = ", ".join(f"{column}={cut(str(value))}" for column, value in values.items())
        _print(console, f"line {row['line']}: {cells}")
    if report.rows > ROWS_SHOWN:
        _print(console, f"… and {_rows(report.rows - ROWS_SHOWN, 'more ')}")


def _totals(report: ImportReport) -> str:
    skipped = f", {_rows(report.bad_rows, 'bad ')} skipped" if report.bad_rows else ""
    changed = f" ({report.changed:,} of them changed runs that were there)" if report.changed else ""
    return (
        f"{_rows(report.rows)}{changed}{skipped}: "
        f"{report.first_created_at:%Y-%m-%d %H:%M} to {report.last_created_at:%Y-%m-%d %H:%M} UTC, "
        f"{report.tokens:,} tokens"
    )


def _rows(count: int, kind: str = "") -> str:
    return f"{count:,} {kind}row{'' if count == 1 else 's'}"
