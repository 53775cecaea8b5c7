"""Keyset pages: rows in the order of (created_at, id), from a row onwards, never by counting off.

The order is total because id is unique, so a page neither repeats nor loses a row while others are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Generic, LiteralString, NamedTuple, Protocol, TypeVar, cast

_SIZES = (1, 3, 5, 10, 20, 25, 50, 100, 250, 1000)
"""How many rows a statement reads for a page, and one more."""
LEAST_ID = -(2**63) + 1
LEAST_UUID = "0" * 32


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


class _End(NamedTuple):
    """One of the two ends of a list: its rows are `sign` the end's key.

    `limit` is where the times end that have a place in a list of adopted rows (`db.sql.conditions.DATED`), as
    conditions on the time and on the whole key too.
    """

    name: LiteralString
    sign: LiteralString
    inner: Callable[[Iterable[Key]], Key]
    limit: Key
    time_within: LiteralString
    key_within: LiteralString


_NEWEST = _End(
    "newest",
    "<",
    min,
    Key(datetime(9999, 1, 1, tzinfo=UTC), LEAST_ID),
    "created_at < '9999-01-01'",
    "(created_at, id) < ('9999-01-01', -9223372036854775807)",
)
_OLDEST = _End(
    "oldest",
    ">",
    max,
    Key(datetime(2, 1, 1, tzinfo=UTC), LEAST_ID),
    "created_at >= '0002-01-01'",
    "(created_at, id) > ('0002-01-01', -9223372036854775807)",
)


class _Created(Protocol):
    @property
    def created_from(self) -> datetime | None: ...
    @property
    def created_to(self) -> datetime | None: ...


FilterType = TypeVar("FilterType", bound=_Created)


def within(
    request: PageRequest, filters: FilterType, least_id: int | str = LEAST_ID
) -> tuple[PageRequest, FilterType]:
    """The page and the filter of a list, with the filter's range of time as keys of the page.

    `least_id` is less than any id. The result is for `keyset`; `page_of` takes the page that was asked for.
    """
    if filters.created_from is None and filters.created_to is None:
        return request, filters
    newest, oldest = _keys(request)
    if filters.created_to is not None:
        newest = _inner(_NEWEST, newest, Key(filters.created_to, least_id))
    if filters.created_from is not None:
        oldest = _inner(_OLDEST, oldest, Key(filters.created_from, least_id))
    after, before = (newest, oldest) if request.newest_first else (oldest, newest)
    rest = cast(FilterType, replace(cast(Any, filters), created_from=None, created_to=None))
    return request._replace(after=after, before=before), rest


def keyset(
    request: PageRequest,
    created_at: LiteralString = "created_at",
    id_column: LiteralString = "id",
    *,
    of_adopted: bool = False,
) -> tuple[LiteralString, LiteralString, dict[str, Any]]:
    """The page as SQL: conditions (each led by AND), the ORDER BY and LIMIT clause, and their values.

    More rows than `limit` are asked for; `page_of` uses that to know whether there are more, and leaves them
    out. How many is one of a few numbers, so that a caller makes only so many statements of one list.
    A list `of_adopted` rows leaves out those whose time has no place in it.
    """
    conditions: LiteralString = ""
    values: dict[str, Any] = {}
    # The limit is part of the text: as a parameter it would make the server plan the statement anew each
    # time, which takes eight times as long as running it. A number cannot inject anything.
    limit = cast(LiteralString, str(min(size for size in _SIZES if size >= request.limit) + 1))
    newest, oldest = _keys(request)
    for end, key, is_first in (
        (_NEWEST, newest, request.descending),
        (_OLDEST, oldest, not request.descending),
    ):
        # A condition on the time alone tells the server which partitions to leave out. It stands at the end
        # that is read first, because two of them make a range, which the server takes for half a percent of
        # the rows where it does not know both: so few that it would read and sort all of them.
        if key is None:
            if of_adopted:
                conditions += f" AND {end.time_within if is_first else end.key_within}"
            continue
        time, identity = f"%({end.name}_created_at)s", f"%({end.name}_id)s"
        if is_first:
            conditions += f" AND {created_at} {end.sign}= {time}"
        conditions += f" AND ({created_at}, {id_column}) {end.sign} ({time}, {identity})"
        inner = _inner(end, key, end.limit) if of_adopted else key
        values |= {f"{end.name}_created_at": inner.created_at, f"{end.name}_id": inner.id}
    direction: LiteralString = "DESC" if request.descending else "ASC"
    order: LiteralString = f" ORDER BY {created_at} {direction}, {id_column} {direction} LIMIT {limit}"
    return conditions, order, values


def _keys(request: PageRequest) -> tuple[Key | None, Key | None]:
    """The keys of the newest and of the oldest end."""
    return (request.after, request.before) if request.newest_first else (request.before, request.after)


def _inner(end: _End, key: Key | None, other: Key) -> Key:
    return other if key is None else end.inner((key, other))


def page_of(request: PageRequest, rows: list[Row]) -> Page[Row]:
    """Turn the rows of a statement made with `keyset` into the page that was asked for."""
    more = len(rows) > request.limit
    rows = rows[: request.limit]
    if request.backward:
        rows.reverse()
        return Page(rows, has_next=request.before is not None, has_previous=more)
    return Page(rows, has_next=more, has_previous=request.after is not None)
