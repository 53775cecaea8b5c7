"""`runglass import`: its options, and how they are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import typer

from graph.cli.stores import DataDir, run_on_database, store
from graph.processes.migrating import prepare_store
from graph.settings.config import load_settings
from resolvers.imports.errors import ImportUsageError
from resolvers.imports.escapes import printable

Pairs = list[str] | None


def import_(
    file: Annotated[
        str, typer.Argument(help="CSV, NDJSON or a JSON array, also packed by gzip; - reads standard input.")
    ],
    column: Annotated[
        Pairs,
        typer.Option(
            metavar="NAME=SOURCE",
            help="Take a column from this title, key or dotted path of the file; NAME= leaves it out.",
        ),
    ] = None,
    constants: Annotated[
        Pairs, typer.Option("--set", metavar="NAME=VALUE", help="Give every row this value.")
    ] = None,
    words: Annotated[
        Pairs,
        typer.Option(
            "--map",
            metavar="NAME:WORD=VALUE",
            help="Load a word as another, as in status:failure=failed; NAME:WORD= loads no value.",
        ),
    ] = None,
    unit: Annotated[
        Pairs,
        typer.Option(
            metavar="NAME=UNIT", help="What latency_ms or a time is counted in: s, ms, us, ns, min."
        ),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="The zone of times without one; else RUNGLASS_TIME_ZONE.")
    ] = None,
    time_format: Annotated[
        str | None,
        typer.Option(help="How times are written, as in '%d.%m.%Y %H:%M'; or spreadsheet, for day numbers."),
    ] = None,
    ambiguous: Annotated[
        Literal["earlier", "later"] | None,
        typer.Option(help="Which one a time is that the zone has twice, as clocks go back."),
    ] = None,
    before_2000: Annotated[bool, typer.Option("--before-2000", help="Allow times before 2000.")] = False,
    created_now: Annotated[
        bool, typer.Option("--created-now", help="Give every row the time of loading, where there is none.")
    ] = False,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move all times so that the newest row is of now.")
    ] = False,
    delimiter: Annotated[str | None, typer.Option(help="The character between cells, or tab.")] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="As in latin-1; else what the file's mark says, or UTF-8."),
    ] = None,
    decimal: Annotated[str | None, typer.Option(help="The decimal point of numbers: . or ,")] = None,
    thousands: Annotated[
        str | None, typer.Option(help="What stands between thousands: . , ' or a blank.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Load the other rows where some are bad.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Change the runs whose external ids were loaded before.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the first rows and the totals, and change nothing.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Load run logs from a file: all of its rows, or none. docs/import.md has recipes."""
    from rich.console import Console

    from graph.cli.import_report import import_runs
    from resolvers.imports.options import ImportOptions
    from resolvers.worker.maintenance import fold_rollups

    settings = load_settings(data_dir=data_dir)
    options = ImportOptions(
        columns=split_pairs("--column", column or ()),
        constants=split_pairs("--set", constants or ()),
        words=split_words(words or ()),
        units=split_pairs("--unit", unit or ()),
        time_zone=time_zone or settings.time_zone,
        time_format=time_format,
        ambiguous=ambiguous,
        before_2000=before_2000,
        created_now=created_now,
        shift_to_now=shift_to_now,
        delimiter=delimiter,
        encoding=encoding,
        decimal=decimal,
        thousands=thousands,
        skip_bad=skip_bad,
        update=update,
        dry_run=dry_run,
    )
    with store(settings) as ready:
        prepare_store(ready, may_migrate=not dry_run)
        code = import_runs(ready.dsn, file, options, Console(stderr=True))
        if code == 0 and not dry_run:
            run_on_database(ready, fold_rollups)
    raise typer.Exit(code)


def split_pairs(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """The NAME=VALUE arguments of an option. Raises ImportUsageError where one is none, or a name repeats."""
    split: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ImportUsageError(f"{option} {printable(pair)}: expected NAME=VALUE")
        if name in split:
            raise ImportUsageError(f"{option} names {printable(name)} twice")
        split[name] = value
    return split


def split_words(pairs: Iterable[str]) -> dict[str, dict[str, str]]:
    """The COLUMN:WORD=VALUE arguments of --map, by column. The last equals sign ends the word."""
    split: dict[str, dict[str, str]] = {}
    for pair in pairs:
        column, colon, rest = pair.partition(":")
        word, equals, value = rest.rpartition("=")
        if not column or not colon or not equals or not word:
            raise ImportUsageError(
                f"--map {printable(pair)}: expected COLUMN:WORD=VALUE, as in status:ok=success"
            )
        words = split.setdefault(column, {})
        if word in words:
            raise ImportUsageError(f"--map {printable(column)} names {printable(word)} twice")
        words[word] = value
    return split
