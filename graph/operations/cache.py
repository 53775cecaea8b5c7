"""Cached answers: list them, and invalidate those that no longer hold."""

from functools import partial
from typing import Annotated

import strawberry

from graph.context import Context
from graph.operations.changes import KeyedInput, mutation
from graph.operations.lists import Listing, filter_argument, list_field
from graph.types.bounds import NAME
from graph.types.cache import CacheEntryConnection, CacheEntryFilter, CacheInvalidation, cache_filter
from graph.types.ids import Kind
from graph.types.pagination import EXACT_TOTAL
from graph.types.refusals import Conflict, InvalidInput, NotFound
from graph.types.scalars import BigInt
from resolvers.runs import cache as cases


def _lists(context: Context, filter: CacheEntryFilter | None) -> Listing:
    scope = context.scope.narrow(filter.site_id if filter else None)
    filters = cache_filter(filter, context)
    count = partial(cases.count_cache_entries, context.database, scope, filters)
    return Listing(
        partial(cases.list_cache_entries, context.database, scope, filters),
        count,
        partial(count, EXACT_TOTAL, dated=False),
    )


@strawberry.input(description="Which cached answers no longer hold.")
class InvalidateCacheInput(KeyedInput):
    """Input of invalidateCache."""

    site_id: strawberry.ID = strawberry.field(metadata=NAME, description="The site whose entries are meant.")
    app_type: str | None = strawberry.field(default=None, description="Only answers of this app.")
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only answers about this member."
    )
    dry_run: bool = strawberry.field(
        default=False, description="Only say how many there are; change nothing."
    )


InvalidateCacheResult = Annotated[
    CacheInvalidation | NotFound | InvalidInput | Conflict,
    strawberry.union("InvalidateCacheResult", description="What was invalidated, or why nothing was."),
]


async def _invalidate_cache(context: Context, input: InvalidateCacheInput) -> CacheInvalidation:
    count = await cases.invalidate_cache(
        context.database,
        context.caller,
        site_id=input.site_id,
        app_type=input.app_type,
        member_id=input.member_id,
        dry_run=input.dry_run,
    )
    return CacheInvalidation(site_id=input.site_id, count=BigInt(count), dry_run=input.dry_run)


@strawberry.type
class CacheQueries:
    """Root fields of `Query`."""

    cache_entries: CacheEntryConnection = list_field(
        Kind.CACHE, _lists, "Cached answers.", narrowed_by=filter_argument(CacheEntryFilter, "entries")
    )


@strawberry.type
class CacheMutations:
    """Root fields of `Mutation`."""

    invalidate_cache = mutation(
        _invalidate_cache,
        InvalidateCacheResult,
        "Mark a site's valid cached answers as no longer valid.",
    )
