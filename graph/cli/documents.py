"""`runglass documents build`: the manifest of trusted documents, from .graphql files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from graph.cli.stores import CommandError

documents = typer.Typer(help="Trusted documents.", no_args_is_help=True)


@documents.command("build")
def documents_build(
    files: Annotated[list[Path], typer.Argument(help="Files of GraphQL operations.", show_default=False)],
) -> None:
    """Print the manifest of these files' documents, for RUNGLASS_DOCUMENTS_FILE."""
    from graph.documents.store import ManifestError

    try:
        typer.echo(_manifest_of(files), nl=False)
    except ManifestError as error:
        raise CommandError(str(error)) from None


def _manifest_of(files: Sequence[Path]) -> str:
    # Imported late: other commands need not build the schema.
    from graphql import parse, validate

    from graph.documents.store import build_manifest
    from graph.schema import schema

    def fault_of(text: str) -> str | None:
        errors = validate(schema._schema, parse(text))  # pyright: ignore[reportPrivateUsage]
        return errors[0].message if errors else None

    return json.dumps(build_manifest(files, fault_of), indent=2, ensure_ascii=False) + "\n"
