"""`runglass installation`: what a copied database is, for whoever copied it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from graph.cli.keys import OPERATOR_OF_THE_MACHINE
from graph.cli.stores import DataDir, run_on_database, store
from graph.processes.migrating import require_migrated
from graph.settings.config import load_settings
from resolvers.worker import installation as cases

installation = typer.Typer(help="Which installation a copied database is.", no_args_is_help=True)


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
    with store(load_settings(data_dir=data_dir)) as settings:
        require_migrated(settings)
        return run_on_database(settings, use_case, *values)
