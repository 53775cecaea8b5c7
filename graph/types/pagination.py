"""Relay connections over keyset pages, and their opaque cursors."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

import strawberry

from db.access.api_keys import ApiKeyRow
from db.access.audit_log import AuditRow
from db.budgets.budget_events import BudgetEventRow
from db.budgets.budgets import BudgetRow
from db.jobs.batches import BatchRow
from db.jobs.trigger_jobs import TriggerJobRow
from db.runs.alerts import AlertRow
from db.runs.cache import CacheEntryRow
from db.runs.run_logs import RunLogRow
from db.sql.keyset import Key, Page, PageRequest
from db.usage.model_prices import ModelPriceRow
from graph.errors import ApiError, ErrorCode
from graph.types.bounds import FORMED
from graph.types.fields import STATEMENT, resolved
from graph.types.ids import MAX_NUMBER, Kind

MAX_PAGE = 100
DEFAULT_PAGE = 20
# Counting further would read as many rows as match, which may be the whole log.
EXACT_TOTAL = 10_000

# PostgreSQL's own.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_64_BITS = 2**64 - 1
_CURSOR = re.compile(r"([a-z]+)-([0-9a-f]{16})([0-9a-f]{16}|[0-9a-f]{32})", re.ASCII)
_MARKS: dict[type[Any], str] = {
    RunLogRow: Kind.RUN.value,
    AlertRow: Kind.ALERT.value,
    TriggerJobRow: Kind.JOB.value,
    BatchRow: Kind.BATCH.value,
    CacheEntryRow: Kind.CACHE.value,
    BudgetRow: Kind.BUDGET.value,
    ModelPriceRow: Kind.PRICE.value,
    BudgetEventRow: Kind.BUDGET_EVENT.value,
    ApiKeyRow: Kind.KEY.value,
    AuditRow: Kind.AUDIT.value,
}

First = Annotated[
    int | None,
    strawberry.argument(
        description=f"How many from the front: 1 to {MAX_PAGE}. Without `first` or `last`: 20."
    ),
]
After = Annotated[
    str | None, strawberry.argument(description="Only what comes after this cursor.", metadata=FORMED)
]
Last = Annotated[int | None, strawberry.argument(description=f"How many from the back: 1 to {MAX_PAGE}.")]
Before = Annotated[
    str | None, strawberry.argument(description="Only what comes before this cursor.", metadata=FORMED)
]

NodeT = TypeVar("NodeT")


def print_cursor(root: strawberry.Parent[Any]) -> str:
    """The opaque place of a row in its list."""
    return cursor_at(_MARKS[type(root)], root.created_at, root.id)


def cursor_at(mark: str, created_at: datetime, identity: int | UUID) -> str:
    """A cursor by what it holds: its list's word, and in hexadecimal microseconds since 2000 and the id."""
    since = created_at - _EPOCH
    # In place of a division by a timedelta, which takes as long as all the rest.
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    place = identity.hex if isinstance(identity, UUID) else f"{identity:016x}"
    return f"{mark}-{microseconds & _64_BITS:016x}{place}"


def parse_cursor(cursor: str, kind: Kind, argument: str) -> Key:
    """The place that a cursor names. Raises BAD_USER_INPUT for anything but a cursor of the same list."""
    match = _CURSOR.fullmatch(cursor)
    wrong = ApiError(ErrorCode.BAD_USER_INPUT, f"{argument} is no cursor of this list.", argument=argument)
    if match is None or match[1] != kind or (len(match[3]) == 32) != (kind is Kind.BATCH):
        raise wrong
    if kind is not Kind.BATCH and int(match[3], 16) > MAX_NUMBER:
        raise wrong
    microseconds = int.from_bytes(bytes.fromhex(match[2]), signed=True)
    try:
        created_at = _EPOCH + microseconds * _MICROSECOND
    except OverflowError:
        raise wrong from None
    return Key(created_at, match[3] if kind is Kind.BATCH else int(match[3], 16))


def page_request(
    kind: Kind,
    *,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    newest_first: bool = True,
) -> PageRequest:
    """The page that the four Relay arguments ask for. Raises BAD_USER_INPUT where they make no sense."""
    if first is not None and last is not None:
        raise ApiError(ErrorCode.BAD_USER_INPUT, "Give first or last, not both.", argument="last")
    for argument, size in (("first", first), ("last", last)):
        if size is not None and not 1 <= size <= MAX_PAGE:
            raise ApiError(
                ErrorCode.BAD_USER_INPUT,
                f"{argument} must be between 1 and {MAX_PAGE}; it is {size}.",
                argument=argument,
            )
    return PageRequest(
        limit=first or last or DEFAULT_PAGE,
        after=None if after is None else parse_cursor(after, kind, "after"),
        before=None if before is None else parse_cursor(before, kind, "before"),
        backward=last is not None,
        newest_first=newest_first,
    )


@dataclass(slots=True)
class ConnectionPage:
    """A page of rows as `Connection` resolves it. `count` counts what matches, no further than it is told."""

    page: Page[Any]
    count: Callable[[int], Awaitable[int]]
    # What fields beyond those of every connection need, such as the scope of the list.
    source: Any = None
    count_undated: Callable[[], Awaitable[int]] | None = None
    undated: asyncio.Future[int] | None = None


@strawberry.type(description="Where a page lies in its list.")
class PageInfo:
    """Relay's page information; resolved from a `Page`."""

    has_next_page: bool = strawberry.field(description="Whether more follow this page.")
    has_previous_page: bool = strawberry.field(description="Whether more precede this page.")
    start_cursor: str | None = strawberry.field(
        description="The cursor of the first edge; null on an empty page."
    )
    end_cursor: str | None = strawberry.field(
        description="The cursor of the last edge; null on an empty page."
    )


@strawberry.type(description="How many objects a list has in all, counted no further than 10,000.")
class Total:
    """A count that may stop early."""

    count: int = strawberry.field(
        description="The number of objects that match; 10000 where there are more than that."
    )
    is_exact: bool = strawberry.field(
        description="True where `count` is the whole number; false where there are more than 10,000."
    )


def _node(root: strawberry.Parent[Any]) -> Any:
    return root


@strawberry.type(description="An object of a list, and its place there.")
class Edge(Generic[NodeT]):
    """Resolved from the row itself, so that a page makes no object per row."""

    node: NodeT = resolved(_node, "The object.")
    cursor: str = resolved(
        print_cursor,
        "The opaque place of the object in this list, for `after` and `before`.",
    )


def _edges(root: strawberry.Parent[ConnectionPage]) -> Sequence[Any]:
    return root.page.rows


def _page_info(root: strawberry.Parent[ConnectionPage]) -> PageInfo:
    page = root.page
    return PageInfo(
        has_next_page=page.has_next,
        has_previous_page=page.has_previous,
        start_cursor=print_cursor(page.rows[0]) if page.rows else None,
        end_cursor=print_cursor(page.rows[-1]) if page.rows else None,
    )


async def _undated_count(root: strawberry.Parent[ConnectionPage]) -> int:
    if root.count_undated is None:
        return 0
    # Once for all aliases: the cost of the list covers this one statement more.
    if root.undated is None:
        root.undated = asyncio.ensure_future(root.count_undated())
    return await root.undated


async def _total_count(root: strawberry.Parent[ConnectionPage]) -> Total:
    count = await root.count(EXACT_TOTAL + 1)
    return Total(count=min(count, EXACT_TOTAL), is_exact=count <= EXACT_TOTAL)


@strawberry.type(description="A page of a list, newest first unless sorted otherwise.")
class Connection(Generic[NodeT]):
    """Resolved from a `ConnectionPage`."""

    edges: list[Edge[NodeT]] = resolved(_edges, "The objects of this page with their cursors.")
    page_info: PageInfo = resolved(_page_info, "Where this page lies in the list.")
    total_count: Total = resolved(
        _total_count,
        "How many objects the whole list has; counted only when selected, and only up to 10,000.",
        weight=STATEMENT,
    )
    undated_count: int = resolved(
        _undated_count,
        "How many more objects match that no page shows and no id finds: an adopted table holds them"
        " without a time of creation, or with one outside of the years 2 to 9998. Counted only when"
        " selected, and only up to 10,000.",
    )
