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
    from graphql import GraphQLError, parse, validate

    from graph.documents.store import ManifestError, build_manifest
    from graph.schema import schema

    for file in files:
        try:
            document = parse(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, GraphQLError):
            continue  # build_manifest names the fault.
        errors = validate(schema._schema, document)  # pyright: ignore[reportPrivateUsage]
        if errors:
            at = f":{errors[0].locations[0].line}" if errors[0].locations else ""
            raise ManifestError(f"{file}{at}: {errors[0].message}")
    return json.dumps(build_manifest(files), indent=2, ensure_ascii=False) + "\n"
