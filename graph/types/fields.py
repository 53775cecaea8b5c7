"""Fields that a function resolves."""

from collections.abc import Callable, Sequence
from typing import Any

import strawberry
from strawberry.permission import BasePermission
from strawberry.types.nodes import SelectedField

from graph.context import Info
from graph.types.ids import Kind, id_prefix

STATEMENT = 50
"""What a statement weighs: some 0.4 ms, in which 50 fields are resolved."""


def resolved(
    resolver: Callable[..., Any],
    description: str,
    permissions: Sequence[type[BasePermission]] = (),
    rows: int | None = None,
    weight: int = 1,
) -> Any:
    """A field whose value `resolver` gives.

    For its cost: `rows` is the most that a list without pages holds, and `weight` how many plain fields the
    field itself is worth; `STATEMENT` where it runs a statement of its own.

    Typed as Any because the resolver gives a row of the store where the field names a type of the API.
    """
    metadata = {"weight": weight, "list_size": rows}
    return strawberry.field(
        resolver=resolver,
        description=description,
        permission_classes=list(permissions),
        metadata={name: value for name, value in metadata.items() if value is not None},
    )


def selects(info: Info, name: str) -> bool:
    """Whether a field is selected below the one that is resolved, whatever the variables are.

    So a statement that it will run can be sent with another one. False where a directive may leave it out.
    """
    below = [each for field in info.selected_fields for each in field.selections]
    while below:
        selection = below.pop()
        if selection.directives:
            continue
        if isinstance(selection, SelectedField):
            if selection.name == name:
                return True
        else:
            below += selection.selections
    return False


def numbered_id(kind: Kind, description: str) -> Any:
    """The field of a typed id, from a row whose `id` is a number."""
    prefix = id_prefix(kind)

    def resolve(root: strawberry.Parent[Any]) -> Any:
        return f"{prefix}{root.id}"

    return resolved(resolve, description)
