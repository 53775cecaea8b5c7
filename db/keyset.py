"""Keyset pages: rows in the order of (created_at, id), from a row onwards, never by counting off.

The order is total because id is unique, so a page neither repeats nor loses a row while others are added.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Literal, LiteralString, NamedTuple, TypeVar, cast

from db.json_text import NOT_SHOWN, CursorMember, PageText

# Written rows meet at this text and nowhere else is it: in JSON's strings a backslash leads a quotation mark.
_BETWEEN = '},{"'


class Key(NamedTuple):
    """The place of a row in its list. `id` is a number, or a UUID in text form for batches."""

    created_at: datetime
    id: int | str


class PageRequest(NamedTuple):
    """Which rows of a list: `limit` of them after or before a key, from the front or from the back.

    `newest_first` is the list's order; `backward` takes the last rows of the range, still in that order.
    """

    limit: int = 20
    after: Key | None = None
    before: Key | None = None
    backward: bool = False
    newest_first: bool = True


Row = TypeVar("Row")


class Page(NamedTuple, Generic[Row]):
    """The rows of one page in the list's order, and whether there are more on either side."""

    rows: Sequence[Row]
    has_next: bool
    has_previous: bool


class WrittenPage(NamedTuple):
    """A page whose rows are the text of a JSON array; None where one of them cannot be shown so."""

    rows: str | None
    has_next: bool
    has_previous: bool
    start_cursor: str | None = None
    end_cursor: str | None = None


def keyset(
    request: PageRequest, created_at: LiteralString = "created_at", id_column: LiteralString = "id"
) -> tuple[LiteralString, LiteralString, dict[str, Any]]:
    """The page as SQL: conditions (each led by AND), the ORDER BY and LIMIT clause, and their values.

    One row more than `limit` is asked for; `page_of` uses it to know whether there are more.
    """
    conditions: LiteralString = ""
    values: dict[str, Any] = {}
    # The limit is part of the text: as a parameter it would make the server plan the statement anew each
    # time, which takes eight times as long as running it. A number cannot inject anything.
    limit = cast(LiteralString, str(int(request.limit) + 1))
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
    descending = request.newest_first != request.backward
    direction: LiteralString = "DESC" if descending else "ASC"
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


def written_page_of(request: PageRequest, text: PageText, cursor_member: CursorMember) -> WrittenPage:
    """Turn the text of a statement made with `keyset` into the page that was asked for.

    `cursor_member` is that of the `RowText` of the statement.
    """
    more = text.size > request.limit
    cursors, rows = text.cursors or "", text.items or ""
    shown = NOT_SHOWN not in rows
    if more and shown and request.backward:
        cursors, rows = cursors.partition(" ")[2], rows[rows.index(_BETWEEN) + 2 :]
    elif more and shown:
        cursors, rows = cursors.rpartition(" ")[0], rows[: rows.rindex(_BETWEEN) + 1]
    if cursor_member is None or not shown or not rows:
        start, end = cursors.partition(" ")[0], cursors.rpartition(" ")[2]
    else:
        start, end = _cursors_of(rows, cursor_member)
    return WrittenPage(
        f"[{rows}]" if shown else None,
        has_next=request.before is not None if request.backward else more,
        has_previous=more if request.backward else request.after is not None,
        start_cursor=start or None,
        end_cursor=end or None,
    )


def _cursors_of(rows: str, member: Literal["first", "last"]) -> tuple[str, str]:
    """The cursors of the first and the last row, from their own text."""
    gap = rows.find(_BETWEEN)
    if gap < 0:
        only = _cursor_of(rows, 0, len(rows), member)
        return only, only
    last = rows.rindex(_BETWEEN) + 2
    return _cursor_of(rows, 0, gap + 1, member), _cursor_of(rows, last, len(rows), member)


def _cursor_of(rows: str, start: int, end: int, member: Literal["first", "last"]) -> str:
    if member == "first":
        start = rows.index('":"', start) + 3
        return rows[start : rows.index('"', start)]
    return rows[rows.rindex('"', start, end - 2) + 1 : end - 2]
