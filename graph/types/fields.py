"""Fields that a function resolves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import strawberry
from strawberry.permission import BasePermission


def resolved(
    resolver: Callable[..., Any],
    description: str,
    permissions: Sequence[type[BasePermission]] = (),
) -> Any:
    """A field whose value `resolver` gives.

    Typed as Any because the resolver gives a row of the store where the field names a type of the API.
    """
    return strawberry.field(resolver=resolver, description=description, permission_classes=list(permissions))
