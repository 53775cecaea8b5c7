"""Conditions of a list, composed from literal fragments.

Only the filters that are present become SQL. The usual `(%(x)s IS NULL OR column = %(x)s)` would make the
prepared statement of a pooled connection turn to a plan that fits no filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

DATED: LiteralString = "created_at >= '0002-01-01' AND created_at < '9999-01-01'"
"""A row with a time of creation that has a place in a list. An adopted table may hold others, or none."""

UNDATED: LiteralString = "(created_at IS NULL OR created_at < '0002-01-01' OR created_at >= '9999-01-01')"

CREATED_RANGE: dict[str, LiteralString] = {
    "created_from": "created_at >= %(created_from)s",
    "created_to": "created_at < %(created_to)s",
}


def has_place(dated: bool) -> LiteralString:
    """The condition that a row has a place in a list, or that it has none."""
    return DATED if dated else UNDATED


def equal(column: LiteralString) -> LiteralString:
    """A column that equals the value of its own name, in words that have an index of the column be taken.

    Where all rows of a partition have the same value, PostgreSQL believes that a statement prepared for any
    values finds its rows in the order of time as soon as by that index; and reads the whole log where none of
    them has the value. What says nothing new makes it expect a third of them.
    """
    return f"{column} = %({column})s AND {column} >= %({column})s"


def present(wanted: object, fragments: Mapping[str, LiteralString]) -> tuple[LiteralString, dict[str, Any]]:
    """The fragments whose attribute of `wanted` is not None, each led by AND, and their values."""
    sql: LiteralString = ""
    values: dict[str, Any] = {}
    for name, fragment in fragments.items():
        value = getattr(wanted, name)
        if value is not None:
            sql += " AND " + fragment
            values[name] = value
    return sql, values


def status_among(
    statuses: Sequence[str] | None, words: Mapping[str, LiteralString], column: LiteralString = "status"
) -> LiteralString:
    """A condition of literal words, so that a partial index can serve it; 'unknown' is any other word.

    Each word stands in it once and in the order of `words`, however often and in which order they were asked.
    """
    if statuses is None:
        return ""
    asked = frozenset(statuses)
    known: LiteralString = ", ".join([literal for word, literal in words.items() if word in asked])
    alternatives: list[LiteralString] = []
    if known:
        alternatives.append(f"{column} IN ({known})")
    if "unknown" in asked:
        every: LiteralString = ", ".join(words.values())
        alternatives.append(f"coalesce({column}, '') NOT IN ({every})")
    return " AND (" + " OR ".join(alternatives or ["FALSE"]) + ")"


def contains(text: str) -> str:
    """A LIKE pattern for rows that contain the text, its own wildcards taken as they are."""
    escaped = text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"
