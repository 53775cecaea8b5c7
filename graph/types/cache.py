"""CacheEntry: a cached answer of an app."""

from datetime import UTC, datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from db.runs.cache import CacheEntryRow, CacheResultRow
from db.runs.cache import CacheFilter as Wanted
from graph.auth.permissions import ReadsTexts
from graph.context import Context, Info
from graph.types.fields import numbered_id, resolved
from graph.types.ids import Kind
from graph.types.long_texts import CUT_JSON, TRUNCATED, WEIGHT, is_asked_by_id, json_value
from graph.types.node import Node
from graph.types.pagination import Connection
from graph.types.ranges import TimeRange, time_range
from graph.types.scalars import BigInt
from graph.types.statuses import CacheStatus, status_of, words


def _app_type(root: strawberry.Parent[CacheEntryRow]) -> str:
    return root.cache_type


def _member_id(root: strawberry.Parent[CacheEntryRow]) -> strawberry.ID | None:
    return None if root.target_id is None else strawberry.ID(root.target_id)


def _status(root: strawberry.Parent[CacheEntryRow]) -> CacheStatus:
    return status_of(CacheStatus, root.status)


def _status_text(root: strawberry.Parent[CacheEntryRow]) -> str:
    return root.status


def _is_expired(root: strawberry.Parent[CacheEntryRow]) -> bool:
    return root.expires_at is not None and root.expires_at <= datetime.now(UTC)


async def _stored(root: CacheEntryRow, info: Info) -> CacheResultRow | None:
    loaders = info.context.loaders
    return await (loaders.whole if is_asked_by_id(info) else loaders).cache_results.load(root.id)


async def _result(root: strawberry.Parent[CacheEntryRow], info: Info) -> JSON | None:
    found = await _stored(root, info)
    return json_value(found.result, is_cut=found.result_truncated) if found else None


async def _result_truncated(root: strawberry.Parent[CacheEntryRow], info: Info) -> bool | None:
    found = await _stored(root, info)
    return found.result_truncated if found else None


@strawberry.type(description="A cached answer of an app.")
class CacheEntry(Node):
    """Resolved from a `CacheEntryRow`."""

    id: strawberry.ID = numbered_id(Kind.CACHE, "The typed id, such as cache_9.")
    site_id: strawberry.ID = strawberry.field(
        description="The site (tenant, shop, customer) it belongs to; empty where an adopted row has none."
    )
    app_type: str = resolved(_app_type, "The app whose answer it is; empty where an adopted row has none.")
    member_id: strawberry.ID | None = resolved(_member_id, "The member that the answer is about.")
    status: CacheStatus = resolved(_status, "Whether it may be used.")
    status_text: str = resolved(_status_text, "The status as it is stored.")
    is_expired: bool = resolved(_is_expired, "Whether its time has run out.")
    created_at: datetime = strawberry.field(description="When the answer was cached.")
    expires_at: datetime | None = strawberry.field(description="When it ceases to hold; null for never.")
    result: JSON | None = resolved(
        _result,
        permissions=[ReadsTexts],
        description=f"The answer, as JSON. Needs the permission to read texts. {CUT_JSON}",
        weight=WEIGHT,
    )
    result_truncated: bool | None = resolved(
        _result_truncated,
        permissions=[ReadsTexts],
        description=f"{TRUNCATED} Concerns result, and needs the permission to read texts.",
    )

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, CacheEntryRow)


@strawberry.type(description="A page of cached answers.")
class CacheEntryConnection(Connection[CacheEntry]):
    """A page of cache entries."""


@strawberry.input(description="Conditions on cached answers. All that are given must hold.")
class CacheEntryFilter:
    """Conditions on cache entries."""

    site_id: strawberry.ID | None = strawberry.field(default=None, description="Only entries of this site.")
    app_type: str | None = strawberry.field(default=None, description="Only answers of this app.")
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only answers about this member."
    )
    status: list[CacheStatus] | None = strawberry.field(
        default=None, description="Only entries in one of these states."
    )
    created_at: TimeRange | None = strawberry.field(
        default=None, description="Only entries made within this time."
    )


def cache_filter(given: CacheEntryFilter | None, context: Context) -> Wanted:
    """The filter as the store takes it."""
    if given is None:
        return Wanted()
    start, end = time_range(given.created_at, context)
    return Wanted(
        cache_type=given.app_type,
        target_id=given.member_id,
        statuses=words(given.status),
        created_from=start,
        created_to=end,
    )


@strawberry.type(description="What an invalidation did, or would do.")
class CacheInvalidation:
    """The success of invalidateCache."""

    site_id: strawberry.ID = strawberry.field(description="The site whose entries it concerns.")
    count: BigInt = strawberry.field(description="How many entries were invalidated, or would be.")
    dry_run: bool = strawberry.field(description="True where nothing was changed.")
