"""Batches: say what many calls would cost, and start them once that is confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from db import batches as store
from db.batches import BatchRow
from db.pool import Connection, Database
from db.rollups import mean_tokens_by_app
from db.scope import Scope
from resolvers.callers import Caller, audit
from resolvers.errors import Conflict, Expired, InvalidInput, NotFound
from resolvers.names import check_length, check_name

MAX_CALLS = 100_000
HISTORY = timedelta(days=30)
# What a call is taken to cost where an app has no history.
DEFAULT_TOKENS = 2_000


async def estimate_batch(
    database: Database,
    caller: Caller,
    *,
    site_id: str,
    app_types: Sequence[str],
    member_ids: Sequence[str],
    lifetime_seconds: int,
) -> BatchRow:
    """Store what one call per app and member would cost; it may be confirmed for `lifetime_seconds`.

    Duplicates count once. The estimate of an app is the mean of its runs at the site in the last 30 days.
    Raises InvalidInput for an empty or oversized request, NotFound for a site out of scope.
    """
    check_name(site_id, "siteId")
    apps = _distinct(app_types, "appTypes")
    members = _distinct(member_ids, "memberIds")
    if len(apps) * len(members) > MAX_CALLS:
        raise InvalidInput(
            f"A batch has at most {MAX_CALLS:,} calls; {len(apps):,} apps and {len(members):,} members make"
            f" {len(apps) * len(members):,}.",
            "memberIds",
        )
    if not caller.scope.includes(site_id):
        raise NotFound("There is no such site.")
    async with database.transaction() as transaction:
        estimates = await _estimate_apps(transaction, caller.scope.narrow(site_id), apps, len(members))
        batch = await store.insert_batch(
            transaction,
            scope=caller.scope,
            site_id=site_id,
            app_types=apps,
            member_ids=members,
            estimated_tokens=sum(round(app["calls"] * app["mean_tokens"]) for app in estimates),
            app_estimates=estimates,
            actor=caller.name,
            lifetime_seconds=lifetime_seconds,
        )
        if batch is None:
            raise NotFound("There is no such site.")
        after = {"calls": batch.estimated_calls, "tokens": batch.estimated_tokens}
        await audit(transaction, caller, "estimateBatch", ("batch", batch.id), site_id=site_id, after=after)
    return batch


async def confirm_batch(database: Database, caller: Caller, batch_id: UUID) -> BatchRow:
    """Start a batch: exactly once, before it expires, with all its jobs in the same transaction.

    Raises NotFound, Expired, or Conflict where it was confirmed before.
    """
    async with database.transaction() as transaction:
        batch = await store.lock_batch(transaction, scope=caller.scope, batch_id=batch_id)
        if batch is None:
            raise NotFound("There is no such batch.")
        if batch.status != "estimated":
            raise Conflict(f"This batch is already {batch.status}.")
        if batch.is_expired:
            raise Expired("This estimate has expired; estimate the batch again.")
        confirmed = await store.confirm_batch(
            transaction, scope=caller.scope, batch_id=batch_id, actor=caller.name
        )
        if confirmed is None:
            raise Conflict("This batch is already confirmed.")
        jobs = await store.insert_batch_jobs(transaction, scope=caller.scope, batch_id=batch_id)
        await audit(
            transaction,
            caller,
            "confirmBatch",
            ("batch", batch_id),
            site_id=batch.site_id,
            before={"status": batch.status},
            after={"status": confirmed.status, "jobs": jobs},
        )
    return confirmed


async def _estimate_apps(
    connection: Connection, scope: Scope, apps: list[str], members: int
) -> list[dict[str, Any]]:
    since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HISTORY
    history = {
        row.app_type: row
        for row in await mean_tokens_by_app(connection, scope=scope, app_types=apps, since=since)
    }
    return [
        {
            "app_type": app,
            "calls": members,
            "mean_tokens": float(history[app].mean) if app in history else float(DEFAULT_TOKENS),
            "sample_size": history[app].sample_size if app in history else 0,
        }
        for app in apps
    ]


def _distinct(values: Iterable[str], field: str) -> list[str]:
    stripped = (value.strip() for value in values)
    distinct = list(dict.fromkeys(value for value in stripped if value))
    if not distinct:
        raise InvalidInput(f"{field} must name at least one.", field)
    for value in distinct:
        check_length(value, field)
    return distinct
