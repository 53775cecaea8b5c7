"""`runglass documents build`: the manifest of trusted documents, from .graphql files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from graphql import GraphQLError, parse, validate

from graph.documents import ManifestError, build_manifest
from graph.schema import schema


def manifest_of(files: Sequence[Path]) -> str:
    """The manifest as JSON text: each document's SHA-256 and its text.

    Raises `ManifestError` for a file that cannot be read, or whose operations this schema cannot run.
    """
    for file in files:
        _check(file)
    return json.dumps(build_manifest(files), indent=2, ensure_ascii=False) + "\n"


def _check(file: Path) -> None:
    try:
        document = parse(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, GraphQLError):
        return  # build_manifest names the fault.
    errors = validate(schema._schema, document)  # pyright: ignore[reportPrivateUsage]
    if errors:
        at = f":{errors[0].locations[0].line}" if errors[0].locations else ""
        raise ManifestError(f"{file}{at}: {errors[0].message}")
