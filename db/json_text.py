"""SQL that writes a page of rows as the text of a JSON array, as the API would write its values.

For lists that are too hot to be read column by column and put together again in Python. Every expression
of a row gives text, and NULL for a value that the API cannot show: that makes the whole row NULL, and whoever
reads the page has to look at the columns themselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, LiteralString, NamedTuple, TypeAlias, cast

NOT_SHOWN = "\x01"
"""Stands for a row that cannot be shown; no text of JSON holds this character."""

_NAME = re.compile(r"[_A-Za-z][_0-9A-Za-z]*", re.ASCII)


def nullable(column: LiteralString, written: LiteralString) -> LiteralString:
    """What is written of a column, or null."""
    return f"CASE WHEN {column} IS NULL THEN 'null' ELSE {written} END"


def string(column: LiteralString) -> LiteralString:
    """A column of text."""
    return f"runglass.json_string(({column})::text)"


def integer(column: LiteralString, bits: int) -> LiteralString:
    """A column of whole numbers that must fit so many bits, sign included."""
    if bits == 64:
        return f"({column})::text"
    limit = cast(LiteralString, str(2 ** (bits - 1)))
    return f"CASE WHEN {column} >= -{limit} AND {column} < {limit} THEN ({column})::text END"


def instant(column: LiteralString) -> LiteralString:
    """A column of times, as Python's isoformat writes them: in UTC, which the session must speak."""
    return f"runglass.json_instant({column})"


def word(column: LiteralString, shown: Mapping[str, str], other: str) -> LiteralString:
    """A column of stored words, each shown as another word, and those that are not known as `other`."""
    cases = [f"WHEN '{_checked(stored)}' THEN '\"{_checked(name)}\"'" for stored, name in shown.items()]
    return cast(LiteralString, f"CASE {column} {' '.join(cases)} ELSE '\"{_checked(other)}\"' END")


def prefixed(column: LiteralString, prefix: str) -> LiteralString:
    """A column of numbers, as a string that begins with a prefix."""
    return cast(LiteralString, f"'\"{_checked(prefix)}' || {column} || '\"'")


def quoted(column: LiteralString) -> LiteralString:
    """A column of text that needs no escapes."""
    return f"'\"' || {column} || '\"'"


def constant(name: str) -> LiteralString:
    """A name, as a string."""
    return cast(LiteralString, f"'\"{_checked(name)}\"'")


def json_object(members: Sequence[tuple[str, LiteralString]]) -> LiteralString:
    """The object of these members, in this order; ValueError for a name that GraphQL would not take."""
    if not members:
        return "'{}'"
    parts: list[LiteralString] = [
        cast(LiteralString, f"'{'{' if index == 0 else ','}\"{_checked(name)}\":' || {written}")
        for index, (name, written) in enumerate(members)
    ]
    # Literals that meet are made one, in place of joining them at every row.
    return (" || ".join(parts) + " || '}'").replace("' || '", "")


class PageText(NamedTuple):
    """What `page` gives: how many rows, the array's items with commas, and the rows' cursors with blanks.

    There are no `cursors` where the items hold them.
    """

    size: int
    items: str | None
    cursors: str | None


CursorMember: TypeAlias = Literal["first", "last"] | None
"""Which member of an item is its cursor, if it stands where it can be found."""


class RowText(NamedTuple):
    """How a row is written: its `item` of the array, and its `cursor` in a page."""

    item: LiteralString
    cursor: LiteralString = ""
    cursor_member: CursorMember = None


def page(row: RowText, source: LiteralString, *, backward: bool, newest_first: bool) -> LiteralString:
    """A statement of one row, a `PageText`.

    `source` is the rest of a SELECT from FROM on, in the order of `db.keyset.keyset`; a page that was read
    backward is turned round.
    """
    keys: LiteralString = ", created_at, id" if backward else ""
    way: LiteralString = "DESC" if newest_first else "ASC"
    turned: LiteralString = f" ORDER BY created_at {way}, id {way}" if backward else ""
    # Where it is a member of the item it is written there only, which is a twelfth less work for PostgreSQL.
    apart = row.cursor_member is None
    column: LiteralString = f"{row.cursor} AS cursor, " if apart else ""
    cursors: LiteralString = f"string_agg(cursor, ' '{turned})" if apart else "NULL"
    return (
        f"SELECT count(*), string_agg(coalesce(item, chr(1)), ','{turned}), {cursors}"
        f" FROM (SELECT {column}{row.item} AS item{keys} {source}) AS run"
    )


class RowsText(NamedTuple):
    """What `rows` gives: the array's items with commas between them; None where there are none."""

    items: str | None


def rows(written: LiteralString) -> LiteralString:
    """What makes one `RowsText` of all rows in their order, each written as the expression says."""
    return f"string_agg(coalesce({written}, chr(1)), ',')"


def array(text: Sequence[RowsText]) -> str | None:
    """The array of a statement that gives `rows`; None where one of them cannot be shown."""
    items = text[0].items or ""
    return None if NOT_SHOWN in items else f"[{items}]"


def _checked(name: str) -> str:
    # What is put into a statement's text is nothing but letters, digits and underscores.
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name")
    return name
