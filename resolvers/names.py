"""Names that callers give: of sites, apps, members, sessions and models."""

from __future__ import annotations

from resolvers.errors import InvalidInput

MAX_NAME = 200
"""Characters of a name. They stand in indexes, whose rows PostgreSQL holds to 2,704 bytes."""


def check_length(value: str | None, field: str, where: str = "") -> None:
    """Raise InvalidInput for a name that is too long to be stored; `where` leads the message."""
    if value is not None and len(value) > MAX_NAME:
        raise InvalidInput(
            f"{where}{field} has {len(value):,} characters; a name has at most {MAX_NAME}.", field
        )


def check_name(value: str, field: str, where: str = "") -> None:
    """Raise InvalidInput for a name that is empty or too long."""
    if not value.strip():
        raise InvalidInput(f"{where}{field} must not be empty.", field)
    check_length(value, field, where)
