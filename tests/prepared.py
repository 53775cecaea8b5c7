"""Statements as PostgreSQL prepares them, to look at their plans."""

from __future__ import annotations

import re

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|%)")


def numbered(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with $1, $2, … for its `%(name)s`, and the names in that order."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        name = match[1]
        return "%" if name is None else f"${names.setdefault(name, len(names) + 1)}"

    return _PLACEHOLDER.sub(number, sql).encode(), tuple(names)
