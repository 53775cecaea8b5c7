"""Fields that a function resolves."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, LiteralString

import strawberry
from strawberry.permission import BasePermission

from db.json_text import prefixed
from graph.ids import Kind, id_prefix

STATEMENT = 50
"""What a statement weighs: some 0.4 ms, in which 50 fields are resolved."""


def resolved(
    resolver: Callable[..., Any],
    description: str,
    permissions: Sequence[type[BasePermission]] = (),
    rows: int | None = None,
    weight: int = 1,
    columns: Mapping[str, LiteralString] | None = None,
    text: LiteralString | None = None,
    row: bool = False,
) -> Any:
    """A field whose value `resolver` gives.

    For its cost: `rows` is the most that a list without pages holds, and `weight` how many plain fields the
    field itself is worth; `STATEMENT` where it runs a statement of its own.

    So that the store can write rows as text (`compiled_texts`): `columns` is what the attributes of a list's
    rows are read from, `text` is how the store writes this field of a row, and `row` says that the field's
    object is the row itself.

    Typed as Any because the resolver gives a row of the store where the field names a type of the API.
    """
    metadata = {"weight": weight, "list_size": rows, "columns": columns, "text": text, "row": row or None}
    return strawberry.field(
        resolver=resolver,
        description=description,
        permission_classes=list(permissions),
        metadata={name: value for name, value in metadata.items() if value is not None},
    )


def numbered_id(kind: Kind, description: str) -> Any:
    """The field of a typed id, from a row whose `id` is a number."""
    prefix = id_prefix(kind)

    def resolve(root: strawberry.Parent[Any]) -> Any:
        return f"{prefix}{root.id}"

    return resolved(resolve, description, text=prefixed("id", prefix))
