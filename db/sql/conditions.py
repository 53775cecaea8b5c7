"""Conditions of a list, composed from literal fragments.

Only the filters that are present become SQL. The usual `(%(x)s IS NULL OR column = %(x)s)` would make the
plan of the prepared statement fit no filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
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


def equal(column: LiteralString, value: LiteralString) -> LiteralString:
    """The condition that a column equals the named value, such that an index of the column is used.

    A prepared statement has one plan for all values. Where all rows of a partition have the same value,
    PostgreSQL takes the index by time for as good as the index of the column, and would read the whole
    partition for a value that none of them has. The second condition does not change the result; it makes
    PostgreSQL expect a third of the rows, so that the index of the column is the cheaper one.
    """
    return f"{column} = %({value})s AND {column} >= %({value})s"


def conditions_of(
    filters: object, fragments: Mapping[str, LiteralString]
) -> tuple[LiteralString, dict[str, Any]]:
    """The fragments whose attribute of `filters` is not None, each led by AND, and their values."""
    sql: LiteralString = ""
    values: dict[str, Any] = {}
    for name, fragment in fragments.items():
        value = getattr(filters, name)
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


def containing(text: str) -> str:
    """A regular expression for what contains the text in any case of its letters, of any script.

    It names the forms of each letter, so that it needs no locale: ILIKE knows the letters of ASCII alone in a
    database whose locale is C. One letter stands for one letter: "ß" finds "ẞ", and not "SS". Where languages
    differ, both are found: "i" finds "I", "İ" and "ı".
    """
    return "".join(map(_forms, text))


@lru_cache(maxsize=4096)
def _forms(letter: str) -> str:
    forms = _letters_by_fold().get(_fold(letter), frozenset())
    # Beyond the scripts that were looked through, a letter has two forms at most.
    forms |= {letter, _one(_fold(letter).upper(), letter), _fold(letter)}
    if len(forms) > 1:
        return f"[{''.join(sorted(forms))}]"
    return letter if letter.isalnum() or not letter.isascii() else f"\\{letter}"


def _fold(letter: str) -> str:
    if letter == "İ":
        return "i"
    small = _one(letter.lower(), letter)
    capital = _one(small.upper(), small)
    return _one(capital.lower(), capital)


def _one(changed: str, letter: str) -> str:
    return changed if len(changed) == 1 else letter


@cache
def _letters_by_fold() -> dict[str, frozenset[str]]:
    """Letters that have more forms than a capital and a small one lie among the first scripts."""
    found: dict[str, set[str]] = {}
    for letter in map(chr, range(0x2200)):
        if (fold := _fold(letter)) != letter:
            found.setdefault(fold, {fold}).add(letter)
    return {fold: frozenset(letters) for fold, letters in found.items()}
