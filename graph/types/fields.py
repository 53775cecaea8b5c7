"""Fields that a function resolves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import strawberry
from strawberry.permission import BasePermission

from graph.ids import Kind, id_prefix


def resolved(
    resolver: Callable[..., Any],
    description: str,
    permissions: Sequence[type[BasePermission]] = (),
) -> Any:
    """A field whose value `resolver` gives.

    Typed as Any because the resolver gives a row of the store where the field names a type of the API.
    """
    return strawberry.field(resolver=resolver, description=description, permission_classes=list(permissions))


def numbered_id(kind: Kind, description: str) -> Any:
    """The field of a typed id, from a row whose `id` is a number."""
    prefix = id_prefix(kind)

    def resolve(root: strawberry.Parent[Any]) -> Any:
        return f"{prefix}{root.id}"

    return resolved(resolve, description)
