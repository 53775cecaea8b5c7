"""The command line. Exit codes: 0 done, 1 failed, 2 wrong usage; errors are one line, without a traceback."""

from __future__ import annotations

import asyncio
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from db.embedded.server import EmbeddedServerError, exit_on_termination
from db.migrations.runner import MigrationError
from db.postgres.errors import InvalidValue, StatementTimeout, Unavailable
from graph.cli.documents import documents
from graph.cli.imports import import_
from graph.cli.installation import installation
from graph.cli.keys import keys
from graph.cli.stores import CommandError, DataDir, MayMigrate, run_on_database, store
from graph.processes.migrating import migrate_store
from graph.settings.config import SettingsError, load_settings, unknown_variables, with_demo_budget
from resolvers.imports.errors import ImportUsageError

app = typer.Typer(
    name="runglass",
    help="The GraphQL server behind an AI-operations console.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

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


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"runglass {version('runglass')}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """What every command takes."""


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
    from graph.processes.server import run_server

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
    from graph.processes.worker import run_worker

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
    from resolvers.worker.checks import check_store

    settings = load_settings(data_dir=data_dir)
    unknown = unknown_variables(settings.apps_file)
    lines = [f"wrong: {line}" for line in unknown] or ["ok: settings"]
    with store(settings) as ready:
        lines += asyncio.run(check_store(ready.dsn, ready.pool, unmoved_seconds=ready.reservation_lifetime))
    for line in lines:
        typer.echo(line)
    if any(line.startswith("wrong") for line in lines):
        raise CommandError("something above is wrong")


rollup = typer.Typer(help="The roll-ups that the dashboard reads.", no_args_is_help=True)
app.add_typer(rollup, name="rollup")
app.command("import")(import_)
app.add_typer(documents, name="documents")
app.add_typer(keys, name="key")
app.add_typer(installation, name="installation")


@rollup.command("rebuild")
def rollup_rebuild(data_dir: DataDir = None) -> None:
    """Recompute the roll-ups from the run log, while the server runs."""
    from resolvers.worker.maintenance import rebuild_rollups

    with store(load_settings(data_dir=data_dir)) as settings:
        count = run_on_database(settings, rebuild_rollups)
    typer.echo(f"rebuilt from {count:,} runs")
