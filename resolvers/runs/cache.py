"""Cached answers: list them, and invalidate those that no longer hold."""

from __future__ import annotations

from db.postgres.pool import Database
from db.runs import cache as store
from db.runs.cache import CacheEntryRow, CacheFilter
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope
from resolvers.access.callers import Caller, audit
from resolvers.names import canonical, own_site


async def list_cache_entries(
    database: Database, scope: Scope, filters: CacheFilter, page: PageRequest
) -> Page[CacheEntryRow]:
    """One page of the entries that match."""
    async with database.connection() as connection:
        return await store.list_cache_entries(connection, scope=scope, filters=filters, page=page)


async def count_cache_entries(
    database: Database, scope: Scope, filters: CacheFilter, limit: int, *, dated: bool = True
) -> int:
    """How many entries match, counted no further than `limit`; without `dated` those that no page shows."""
    async with database.connection() as connection:
        return await store.count_cache_entries(
            connection, scope=scope, filters=filters, limit=limit, dated=dated
        )


async def invalidate_cache(
    database: Database,
    caller: Caller,
    *,
    site_id: str,
    app_type: str | None,
    member_id: str | None,
    dry_run: bool,
) -> int:
    """Invalidate a site's valid entries, of one app and one member if given; gives how many.

    `dry_run` only counts. Raises InvalidInput for ids that their columns cannot hold, NotFound where the site
    is not within the caller's scope.
    """
    site_id = own_site(caller.scope, site_id)
    scope = caller.scope.narrow(site_id)
    if member_id is not None:
        member_id = canonical(member_id, scope.forms.of("ai_cache", "target_id"), "memberId")
    filters = CacheFilter(cache_type=app_type, target_id=member_id)
    if dry_run:
        async with database.connection() as connection:
            return await store.count_valid_entries(connection, scope=scope, filters=filters)
    async with database.transaction() as transaction:
        count = await store.invalidate_entries(transaction, scope=scope, filters=filters)
        await audit(
            transaction,
            caller,
            "invalidateCache",
            ("site", site_id),
            site_id=site_id,
            after={"appType": app_type, "memberId": member_id, "invalidated": count},
        )
    return count
