"""Cached answers of apps. Table: biz.ai_cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from db.postgres.pool import Connection, fetch_all, fetch_by_ids, fetch_count
from db.sql.conditions import CREATED_RANGE, DATED, conditions_of, equal, has_place, status_among
from db.sql.keyset import Page, PageRequest, keyset, page_of, within
from db.sql.long_texts import cut, is_cut, json_text, name
from db.sql.scope import Scope, SiteStatement


class CacheEntryRow(NamedTuple):
    """A cached answer without the answer itself, which lists never read."""

    id: int
    site_id: str
    cache_type: str
    target_id: str | None
    status: str
    created_at: datetime
    expires_at: datetime | None


class CacheResultRow(NamedTuple):
    """The cached answer, as JSON's text."""

    id: int
    result: str | None
    result_truncated: bool


@dataclass(frozen=True, slots=True)
class CacheFilter:
    """Conditions on cache entries, all of which must hold."""

    cache_type: str | None = None
    target_id: str | None = None
    statuses: tuple[str, ...] | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


CACHE_COLUMNS: LiteralString = (
    f"id, coalesce({name('site_id')}, ''), coalesce({name('cache_type')}, ''), {name('target_id')},"
    f" coalesce({name('status')}, ''), created_at, runglass.readable_time(expires_at)"
)

GET_CACHE_ENTRIES = SiteStatement(
    f"SELECT {CACHE_COLUMNS} FROM biz.ai_cache WHERE id = ANY(%(ids)s) AND {DATED} AND {{scope}}"
)

GET_CACHE_RESULTS = SiteStatement(
    f"SELECT id, {cut(json_text('result'))}, {is_cut(json_text('result'))}"
    " FROM biz.ai_cache WHERE id = ANY(%(ids)s) AND {scope}"
)

_STATUS_WORDS: dict[str, LiteralString] = {"valid": "'valid'", "invalidated": "'invalidated'"}


_FRAGMENTS: dict[str, LiteralString] = {
    "cache_type": equal("cache_type", "cache_type"),
    "target_id": equal("target_id", "target_id"),
    **CREATED_RANGE,
}


def _conditions(filters: CacheFilter) -> tuple[LiteralString, dict[str, Any]]:
    sql, values = conditions_of(filters, _FRAGMENTS)
    return status_among(filters.statuses, _STATUS_WORDS) + sql, values


async def list_cache_entries(
    connection: Connection, *, scope: Scope, filters: CacheFilter, page: PageRequest
) -> Page[CacheEntryRow]:
    """One page of the entries that match."""
    scope, filters = scope.matching("ai_cache", filters)
    ends, filters = within(page, filters)
    conditions, values = _conditions(filters)
    keys, order, key_values = keyset(ends, of_adopted=True)
    statement = SiteStatement(
        f"SELECT {CACHE_COLUMNS} FROM biz.ai_cache WHERE {{scope}}{conditions}{keys}{order}"
    )
    return page_of(page, await fetch_all(connection, CacheEntryRow, statement, scope, values | key_values))


async def count_cache_entries(
    connection: Connection, *, scope: Scope, filters: CacheFilter, limit: int, dated: bool = True
) -> int:
    """How many entries match, counted no further than `limit`; without `dated` those that no page shows."""
    scope, filters = scope.matching("ai_cache", filters)
    conditions, values = _conditions(filters)
    statement = SiteStatement(
        "SELECT count(*) FROM (SELECT FROM biz.ai_cache"
        f" WHERE {has_place(dated)} AND {{scope}}{conditions} LIMIT %(limit)s) AS matching"
    )
    return await fetch_count(connection, statement, scope, values | {"limit": limit})


async def count_valid_entries(connection: Connection, *, scope: Scope, filters: CacheFilter) -> int:
    """How many matching entries are still valid: what an invalidation would change."""
    scope, filters = scope.matching("ai_cache", filters)
    conditions, values = _conditions(filters)
    statement = SiteStatement(
        f"SELECT count(*) FROM biz.ai_cache WHERE status = 'valid' AND {{scope}}{conditions}"
    )
    return await fetch_count(connection, statement, scope, values)


async def invalidate_entries(connection: Connection, *, scope: Scope, filters: CacheFilter) -> int:
    """Mark the matching valid entries as invalidated; gives how many were changed."""
    scope, filters = scope.matching("ai_cache", filters)
    conditions, values = _conditions(filters)
    statement = SiteStatement(
        f"UPDATE biz.ai_cache SET status = 'invalidated' WHERE status = 'valid' AND {{scope}}{conditions}"
    )
    cursor = await connection.execute(statement.sql(scope), {**values, **scope.parameters()})
    return cursor.rowcount


async def get_cache_entries(
    connection: Connection, *, scope: Scope, ids: Sequence[int]
) -> list[CacheEntryRow]:
    """The entries with these ids that lie in the scope, in no order."""
    return await fetch_all(connection, CacheEntryRow, GET_CACHE_ENTRIES, scope, {"ids": list(ids)})


async def get_cache_results(
    connection: Connection, *, scope: Scope, ids: Sequence[int], whole: bool = False
) -> list[CacheResultRow]:
    """The answers of these entries, in no order."""
    return await fetch_by_ids(connection, CacheResultRow, GET_CACHE_RESULTS, scope, ids, whole)
