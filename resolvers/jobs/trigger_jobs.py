"""Trigger jobs: list and count them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from db.jobs import trigger_jobs as store
from db.jobs.trigger_jobs import TriggerJobFilter, TriggerJobRow
from db.postgres.pool import Database
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope


async def list_trigger_jobs(
    database: Database, scope: Scope, filters: TriggerJobFilter, page: PageRequest
) -> Page[TriggerJobRow]:
    """One page of the jobs that match."""
    async with database.connection() as connection:
        return await store.list_trigger_jobs(connection, scope=scope, filters=filters, page=page)


async def count_trigger_jobs(
    database: Database, scope: Scope, filters: TriggerJobFilter, limit: int, *, dated: bool = True
) -> int:
    """How many jobs match, counted no further than `limit`; without `dated` those that no page shows."""
    async with database.connection() as connection:
        return await store.count_trigger_jobs(
            connection, scope=scope, filters=filters, limit=limit, dated=dated
        )


async def count_skipped_duplicates(
    database: Database, since: datetime, scopes: Sequence[Scope]
) -> dict[Scope, int]:
    """For each scope, how many jobs created since then were skipped because they repeated another."""
    sites = [scope.sites for scope in scopes]
    whole = Scope(None if None in sites else frozenset[str]().union(*(each for each in sites if each)))
    async with database.connection() as connection:
        counts = await store.count_skipped_duplicates(connection, scope=whole, since=since)
    return {scope: sum(count for site, count in counts.items() if scope.includes(site)) for scope in scopes}
