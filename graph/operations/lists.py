"""Lists: the arguments that they all take, and the one resolver of them all."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Protocol

import strawberry
from strawberry.permission import BasePermission

from db.sql.keyset import Page, PageRequest
from graph.context import Context, Info
from graph.types.bounds import FORMED
from graph.types.fields import resolved
from graph.types.ids import Kind
from graph.types.pagination import (
    After,
    Before,
    ConnectionPage,
    First,
    Last,
    page_request,
)

SiteId = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only this site; without it, all that you may see.")
]
TypedId = Annotated[
    strawberry.ID,
    strawberry.argument(description="The typed id, such as job_42 or run_7.", metadata=FORMED),
]


@strawberry.enum(description="The order of a list.")
class CreatedSort(Enum):
    """Both directions of (created_at, id)."""

    CREATED_AT_DESC = strawberry.enum_value("desc", description="Newest first.")
    CREATED_AT_ASC = strawberry.enum_value("asc", description="Oldest first.")


Sort = Annotated[CreatedSort, strawberry.argument(description="The order of the list.")]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list reads: `page` gives the rows of a page, `count` counts what matches, up to a number.

    `count_undated` counts those that no page shows, where the table belongs to others, so that rows may have
    no time of creation. `source` is what fields beyond those of every connection need, such as the scope.
    """

    page: Callable[[PageRequest], Awaitable[Page[Any]]]
    count: Callable[[int], Awaitable[int]]
    count_undated: Callable[[], Awaitable[int]] | None = None
    source: Any = None


class Lists(Protocol):
    """Says what a list reads for a context and the value of the argument that narrows it."""

    def __call__(self, context: Context, narrowed: Any, /) -> Listing: ...


def list_field(
    kind: Kind,
    lists: Lists,
    description: str,
    *,
    narrowed_by: tuple[str, Any] | None,
    is_sorted: bool = True,
    permissions: Sequence[type[BasePermission]] = (),
) -> Any:
    """A field that gives a connection: a page of what `lists` reads.

    `narrowed_by` is the name and the type of the argument that says which objects are meant, if any is.
    """
    arguments = {"info": Info} | ({narrowed_by[0]: narrowed_by[1]} if narrowed_by else {})
    arguments |= {"sort": Sort} if is_sorted else {}
    arguments |= {"first": First, "after": After, "last": Last, "before": Before}
    defaults: dict[str, Any] = {"info": inspect.Parameter.empty, "sort": CreatedSort.CREATED_AT_DESC}

    async def resolve(info: Info, **given: Any) -> ConnectionPage:
        listing = lists(info.context, given.get(narrowed_by[0]) if narrowed_by else None)
        request = page_request(
            kind,
            first=given.get("first"),
            after=given.get("after"),
            last=given.get("last"),
            before=given.get("before"),
            newest_first=given.get("sort") is not CreatedSort.CREATED_AT_ASC,
        )
        page = await listing.page(request)
        return ConnectionPage(page, listing.count, listing.source, listing.count_undated)

    # Strawberry takes a field's arguments from the signature; these are the same but for one of them.
    parameters = [
        inspect.Parameter(
            name, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=type_, default=defaults.get(name)
        )
        for name, type_ in arguments.items()
    ]
    resolve.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportFunctionMemberAccess]
    resolve.__annotations__ = arguments
    return resolved(resolve, description, permissions)


def filter_argument(filter_type: Any, nouns: str) -> tuple[str, Any]:
    """The argument of a list that has a filter."""
    argument = strawberry.argument(description=f"Only {nouns} that match.")
    return "filter", Annotated[filter_type | None, argument]
