"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage; errors are one line, without a traceback."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from db.embedded import EmbeddedServerError, exit_on_termination
from db.errors import InvalidValue, StatementTimeout, Unavailable
from db.migrate import MigrationError
from graph.config import Settings, SettingsError, load_settings, unknown_variables, with_demo_budget
from graph.installation_command import installation
from graph.key_command import keys
from graph.migrating import migrate_store, prepare_store
from resolvers.imports.errors import ImportUsageError

app = typer.Typer(
    name="runglass",
    help="The GraphQL server behind an AI-operations console.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

MayMigrate = Annotated[
    bool,
    typer.Option("--migrate/--no-migrate", help="Apply migrations first, or only see that none is missing."),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the embedded PostgreSQL keeps its data.")
]


class CommandError(Exception):
    """A command cannot go on; its message is one line."""


_FAILURES = (
    CommandError,
    EmbeddedServerError,
    InvalidValue,
    MigrationError,
    SettingsError,
    StatementTimeout,
    Unavailable,
)


def main() -> None:
    """Run the command line."""
    exit_on_termination()
    try:
        app()
    except ImportUsageError as error:
        sys.stderr.write(f"runglass: {error}\n")
        sys.exit(2)
    except _FAILURES as error:
        sys.stderr.write(f"runglass: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def store(settings: Settings) -> Generator[Settings, None, None]:
    """The settings with a database that can be reached: the configured one, or the embedded one, started."""
    if settings.database_url:
        yield settings
        return
    # Imported late: a command on a configured database need not find the wheel.
    from db import embedded

    with embedded.start(settings.data_dir) as server:
        yield settings.model_copy(update={"database_url": server.dsn()})


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = None,
    data_dir: DataDir = None,
    demo: Annotated[bool, typer.Option("--demo", help="Load demo data once.")] = False,
    workers: Annotated[int, typer.Option(min=1, max=64, help="How many processes answer.")] = 1,
    may_migrate: MayMigrate = True,
) -> None:
    """Start the server."""
    from graph.server import run_server

    settings = load_settings(host=host, port=port, data_dir=data_dir)
    if demo:
        settings = with_demo_budget(settings)
    with store(settings) as ready:
        run_server(ready, demo=demo, workers=workers, may_migrate=may_migrate)


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Apply the migrations that are missing."""
    with store(load_settings(data_dir=data_dir)) as settings:
        applied = migrate_store(settings, refuse_newer=True)
    for name in applied:
        typer.echo(f"applied {name}")
    if not applied:
        typer.echo("nothing to apply")


@app.command()
def worker(
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How many jobs run at once in this process.")
    ] = None,
    data_dir: DataDir = None,
    may_migrate: MayMigrate = True,
    with_parent: Annotated[bool, typer.Option(hidden=True, help="End when standard input closes.")] = False,
) -> None:
    """Run jobs: call the apps of RUNGLASS_APPS_FILE for whatever waits."""
    from graph.worker_command import run_worker

    settings = load_settings(worker_concurrency=concurrency, data_dir=data_dir)
    with store(settings) as ready:
        run_worker(ready, with_parent=with_parent, may_migrate=may_migrate)


@app.command("export-schema")
def export_schema() -> None:
    """Print the GraphQL schema."""
    from graph.schema import print_sdl

    typer.echo(print_sdl(), nl=False)


@app.command()
def check(data_dir: DataDir = None) -> None:
    """Tell whether settings, database, migrations and permissions are right."""
    from resolvers.checks import check_store

    settings = load_settings(data_dir=data_dir)
    unknown = unknown_variables(settings.apps_file)
    lines = [f"wrong: {line}" for line in unknown] or ["ok: settings"]
    with store(settings) as ready:
        lines += asyncio.run(check_store(ready.dsn, ready.pool))
    for line in lines:
        typer.echo(line)
    if any(line.startswith("wrong") for line in lines):
        raise CommandError("something above is wrong")


Pairs = list[str] | None


@app.command("import")
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

    from graph.import_command import import_runs, split_pairs, split_words
    from resolvers.imports.options import ImportOptions
    from resolvers.maintenance import fold_rollups

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
            asyncio.run(on_database(ready, fold_rollups))
    raise typer.Exit(code)


documents = typer.Typer(help="Trusted documents.", no_args_is_help=True)
app.add_typer(documents, name="documents")


@documents.command("build")
def documents_build(
    files: Annotated[list[Path], typer.Argument(help="Files of GraphQL operations.", show_default=False)],
) -> None:
    """Print the manifest of these files' documents, for RUNGLASS_DOCUMENTS_FILE."""
    from graph.documents import ManifestError
    from graph.documents_command import manifest_of

    try:
        typer.echo(manifest_of(files), nl=False)
    except ManifestError as error:
        raise CommandError(str(error)) from None


rollup = typer.Typer(help="The roll-ups that the dashboard reads.", no_args_is_help=True)
app.add_typer(rollup, name="rollup")
app.add_typer(keys, name="key")
app.add_typer(installation, name="installation")


@rollup.command("rebuild")
def rollup_rebuild(data_dir: DataDir = None) -> None:
    """Recompute the roll-ups from the run log, while the server runs."""
    from resolvers.maintenance import rebuild_rollups

    with store(load_settings(data_dir=data_dir)) as settings:
        count = asyncio.run(on_database(settings, rebuild_rollups))
    typer.echo(f"rebuilt from {count:,} runs")


async def on_database(settings: Settings, use_case: Callable[..., Any], *values: Any) -> Any:
    """Run a use-case that takes a database first, on a pool of its own."""
    from db.pool import Database

    database = Database(settings.dsn, settings.pool)
    await database.open()
    try:
        return await use_case(database, *values)
    finally:
        await database.close()
