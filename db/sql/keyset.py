"""Keyset pages: rows in the order of (created_at, id), from a row onwards, never by counting off.

The order is total because id is unique, so a page neither repeats nor loses a row while others are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, LiteralString, NamedTuple, TypeVar, cast

_SIZES = (1, 3, 5, 10, 20, 25, 50, 100, 250, 1000)
"""How many rows a statement reads for a page, and one more."""


class Key(NamedTuple):
    """The place of a row in its list. `id` is a number, or a UUID in text form for batches."""

    created_at: datetime
    id: int | str


class PageRequest(NamedTuple):
    """Which rows of a list: `limit` of them (1000 at most) after or before a key, from the front or the back.

    `newest_first` is the list's order; `backward` takes the last rows of the range, still in that order.
    """

    limit: int = 20
    after: Key | None = None
    before: Key | None = None
    backward: bool = False
    newest_first: bool = True

    @property
    def descending(self) -> bool:
        """Whether the rows are read from the newest on."""
        return self.newest_first != self.backward


Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """The rows of one page in the list's order, and whether there are more on either side."""

    rows: Sequence[Row]
    has_next: bool
    has_previous: bool


def keyset(
    request: PageRequest, created_at: LiteralString = "created_at", id_column: LiteralString = "id"
) -> tuple[LiteralString, LiteralString, dict[str, Any]]:
    """The page as SQL: conditions (each led by AND), the ORDER BY and LIMIT clause, and their values.

    More rows than `limit` are asked for; `page_of` uses that to know whether there are more, and leaves them
    out. How many is one of a few numbers, so that a caller makes only so many statements of one list.
    """
    conditions: LiteralString = ""
    values: dict[str, Any] = {}
    # The limit is part of the text: as a parameter it would make the server plan the statement anew each
    # time, which takes eight times as long as running it. A number cannot inject anything.
    limit = cast(LiteralString, str(min(size for size in _SIZES if size >= request.limit) + 1))
    forward: LiteralString = "<" if request.newest_first else ">"
    back: LiteralString = ">" if request.newest_first else "<"
    # The comparison of two columns tells the server no partition to leave out; that of one does.
    if request.after:
        conditions += (
            f" AND {created_at} {forward}= %(after_created_at)s"
            f" AND ({created_at}, {id_column}) {forward} (%(after_created_at)s, %(after_id)s)"
        )
        values |= {"after_created_at": request.after.created_at, "after_id": request.after.id}
    if request.before:
        conditions += (
            f" AND {created_at} {back}= %(before_created_at)s"
            f" AND ({created_at}, {id_column}) {back} (%(before_created_at)s, %(before_id)s)"
        )
        values |= {"before_created_at": request.before.created_at, "before_id": request.before.id}
    direction: LiteralString = "DESC" if request.descending else "ASC"
    order: LiteralString = f" ORDER BY {created_at} {direction}, {id_column} {direction} LIMIT {limit}"
    return conditions, order, values


def page_of(request: PageRequest, rows: list[Row]) -> Page[Row]:
    """Turn the rows of a statement made with `keyset` into the page that was asked for."""
    more = len(rows) > request.limit
    rows = rows[: request.limit]
    if request.backward:
        rows.reverse()
        return Page(rows, has_next=request.before is not None, has_previous=more)
    return Page(rows, has_next=more, has_previous=request.after is not None)
