"""`runglass installation`: what a copied database is, for whoever copied it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from graph.key_command import OPERATOR_OF_THE_MACHINE
from graph.migrating import require_migrated
from resolvers import installation as cases

installation = typer.Typer(help="Which installation a copied database is.", no_args_is_help=True)

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the embedded PostgreSQL keeps its data.")
]


@installation.command("show")
def show(data_dir: DataDir = None) -> None:
    """Tell whether the database is the installation's own, and how many jobs wait."""
    typer.echo(_run(data_dir, cases.describe_installation))


@installation.command("confirm")
def confirm(data_dir: DataDir = None) -> None:
    """This database is the installation, moved here or restored: run what waits."""
    typer.echo(_run(data_dir, cases.confirm_installation, OPERATOR_OF_THE_MACHINE))


@installation.command("new")
def new(data_dir: DataDir = None) -> None:
    """This database is a copy beside its original, which goes on: cancel what waits or runs here."""
    typer.echo(_run(data_dir, cases.renew_installation, OPERATOR_OF_THE_MACHINE))


def _run(data_dir: Path | None, use_case: Callable[..., Any], *values: Any) -> Any:
    # Imported late: the command line imports this module.
    from graph.cli import on_database, store
    from graph.config import load_settings

    with store(load_settings(data_dir=data_dir)) as settings:
        require_migrated(settings)
        return asyncio.run(on_database(settings, use_case, *values))
