"""Batches: say what many calls would cost, and start them once that is confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from db.jobs import batches as store
from db.jobs.batches import BatchCountsRow, BatchFilter, BatchRow
from db.postgres.pool import Connection, Database
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope
from db.worker.queue import ask_for_admission
from resolvers.access.callers import Caller, audit
from resolvers.budgets.spending import Spending, check_budgets
from resolvers.errors import Conflict, Expired, InvalidInput, NotFound
from resolvers.names import canonical, check_length, check_trimmed, own_site
from resolvers.usage.estimates import estimate_apps, estimated_tokens, mean_tokens, recent_calls, total_tokens

MAX_CALLS = 100_000
MAX_APPS = 500


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a confirmed batch has come. Counts are of jobs."""

    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    tokens_used: int
    expected_end_at: datetime | None


def batch_progress(batch: BatchRow, counts: BatchCountsRow | None, now: datetime) -> BatchProgress:
    """Put counts, or the final ones that a finished batch keeps, in relation to the time it has taken.

    The expected end goes by the mean time between ends since the batch started; None before the first end.
    """
    if counts is None:
        succeeded, failed = batch.jobs_succeeded or 0, batch.jobs_failed or 0
        return BatchProgress(
            succeeded + failed, 0, 0, succeeded, failed, batch.tokens_used or 0, expected_end_at=None
        )
    ended = counts.succeeded + counts.failed
    left = counts.pending + counts.running
    expected = None
    if ended and left and batch.started_at and now > batch.started_at:
        expected = now + (now - batch.started_at) * left / ended
    return BatchProgress(
        ended + left,
        counts.pending,
        counts.running,
        counts.succeeded,
        counts.failed,
        counts.tokens_used,
        expected_end_at=expected,
    )


async def list_batches(
    database: Database, scope: Scope, filters: BatchFilter, page: PageRequest
) -> Page[BatchRow]:
    """One page of the batches that match."""
    async with database.connection() as connection:
        return await store.list_batches(connection, scope=scope, filters=filters, page=page)


async def count_batches(database: Database, scope: Scope, filters: BatchFilter, limit: int) -> int:
    """How many batches match, counted no further than `limit`."""
    async with database.connection() as connection:
        return await store.count_batches(connection, scope=scope, filters=filters, limit=limit)


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

    Duplicates count once. The estimate of an app is from its own newest calls at the site.
    Raises InvalidInput for an empty or oversized request, NotFound for a site out of scope.
    """
    site_id = own_site(caller.scope, site_id)
    apps = _distinct(app_types, "appTypes")
    for app in apps:
        check_trimmed(app, "appTypes")
    form = caller.scope.forms.member
    named = _distinct((member.strip() for member in member_ids), "memberIds")
    members = _distinct((canonical(member, form, "memberIds") for member in named), "memberIds")
    if len(apps) > MAX_APPS:
        raise InvalidInput(f"A batch has at most {MAX_APPS} apps; this names {len(apps):,}.", "appTypes")
    if len(apps) * len(members) > MAX_CALLS:
        raise InvalidInput(
            f"A batch has at most {MAX_CALLS:,} calls; {len(apps):,} apps and {len(members):,} members make"
            f" {len(apps) * len(members):,}.",
            "memberIds",
        )
    async with database.transaction() as transaction:
        estimates = await estimate_apps(
            transaction, caller.scope.narrow(site_id), dict.fromkeys(apps, len(members))
        )
        batch = await store.insert_batch(
            transaction,
            scope=caller.scope,
            site_id=site_id,
            app_types=apps,
            member_ids=members,
            estimated_tokens=total_tokens(estimates),
            app_estimates=estimates,
            actor=caller.name,
            lifetime_seconds=lifetime_seconds,
        )
        if batch is None:
            raise NotFound("There is no such site.")
        after = {"calls": batch.estimated_calls, "tokens": batch.estimated_tokens}
        await audit(transaction, caller, "estimateBatch", ("batch", batch.id), site_id=site_id, after=after)
    return batch


async def confirm_batch(
    database: Database, caller: Caller, batch_id: UUID, *, override: str | None = None
) -> BatchRow:
    """Start a batch: exactly once, before it expires, with all its jobs in the same transaction.

    Its jobs reserve the estimate until they end. `override` is the reason for which an admin passes a hard
    limit. Raises NotFound, Expired, BudgetExceeded, or Conflict where it was confirmed before.
    """
    async with database.transaction() as transaction:
        batch = await store.lock_batch(transaction, scope=caller.scope, batch_id=batch_id)
        if batch is None:
            raise NotFound("There is no such batch.")
        if batch.status != "estimated":
            raise Conflict(f"This batch is already {batch.status}.")
        if batch.is_expired:
            raise Expired("This estimate has expired; estimate the batch again.")
        spent = await check_budgets(transaction, caller, spending_of(batch), override=override)
        confirmed = await store.confirm_batch(
            transaction, scope=caller.scope, batch_id=batch_id, actor=caller.name
        )
        if confirmed is None:
            raise Conflict("This batch is already confirmed.")
        jobs = await store.insert_batch_jobs(transaction, scope=caller.scope, batch_id=batch_id)
        await ask_for_admission(transaction)
        await audit(
            transaction,
            caller,
            "confirmBatch",
            ("batch", batch_id),
            site_id=batch.site_id,
            before={"status": batch.status},
            after={"status": confirmed.status, "jobs": jobs, **spent},
        )
    return confirmed


def spending_of(batch: BatchRow) -> Spending:
    """What confirming the batch would reserve, by app; nothing more for one that is confirmed."""
    waits = batch.status == "estimated"
    return Spending.of(
        batch.site_id,
        {app: waits * tokens for app, tokens in estimated_tokens(batch.app_estimates).items()},
    )


async def tokens_of_calls(connection: Connection, scope: Scope, apps: Sequence[str]) -> dict[str, float]:
    """Tokens that one call of each of these apps is expected to use, by app; one named twice counts twice."""
    recent = await recent_calls(connection, scope, list(dict.fromkeys(apps)))
    return {app: mean_tokens(recent[app]) * apps.count(app) for app in recent}


def _distinct(values: Iterable[str], field: str) -> list[str]:
    distinct = list(dict.fromkeys(value for value in values if value.strip()))
    if not distinct:
        raise InvalidInput(f"{field} must name at least one.", field)
    for value in distinct:
        check_length(value, field)
    return distinct
