"""Text of a file, as it may be shown on a terminal: on one line, cut, and without control characters."""

from __future__ import annotations

from collections.abc import Iterable

_LONGEST = 40
_MOST_NAMES = 30


def printable(text: str) -> str:
    """The text with everything that a terminal would act on, or not show, as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shown(text: str) -> str:
    """The text in quotes, cut."""
    return f"'{cut(text)}'"


def cut(text: str) -> str:
    """The text without quotes, cut."""
    return printable(text if len(text) <= _LONGEST else text[:_LONGEST] + "…")


def listed(names: Iterable[str]) -> str:
    """Some names of a file, in one line; not all where there are many."""
    every = list(names)
    line = ", ".join(cut(name) or "(no title)" for name in every[:_MOST_NAMES])
    more = len(every) - _MOST_NAMES
    return f"{line} and {more:,} more" if more > 0 else line
