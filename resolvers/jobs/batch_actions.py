"""Actions on a started batch: stop it, and run its failed part again."""

from __future__ import annotations

from uuid import UUID

from db.jobs import batch_retries, batches
from db.jobs.batches import BatchRow
from db.postgres.pool import Database
from db.worker import queue
from resolvers.access.callers import Caller, audit
from resolvers.budgets.spending import Spending, check_budgets
from resolvers.errors import Conflict, NotFound
from resolvers.usage.estimates import estimate_apps, estimated_tokens, total_tokens


async def cancel_batch(database: Database, caller: Caller, batch_id: UUID) -> BatchRow:
    """Stop a batch: its waiting jobs are cancelled, its running ones stop before their next app.

    Raises NotFound, or Conflict where the batch has ended.
    """
    async with database.transaction() as transaction:
        found = await batches.get_batches(transaction, scope=caller.scope, ids=[batch_id])
        if not found:
            raise NotFound("There is no such batch.")
        running = await queue.cancel_places(transaction, scope=caller.scope, batch_id=batch_id)
        reason = f"batch cancelled by {caller.name}"
        jobs = await batches.cancel_pending_jobs(
            transaction, scope=caller.scope, batch_id=batch_id, reason=reason
        )
        batch = await batches.cancel_batch(
            transaction, scope=caller.scope, batch_id=batch_id, actor=caller.name
        )
        if batch is None:
            raise Conflict(f"This batch has ended already; it is {found[0].status.replace('_', ' ')}.")
        await queue.ask_for_admission(transaction)
        await audit(
            transaction,
            caller,
            "cancelBatch",
            ("batch", batch_id),
            site_id=batch.site_id,
            before={"status": found[0].status},
            after={"cancelledJobs": jobs, "runningJobs": running},
        )
    return batch


async def retry_batch(
    database: Database, caller: Caller, batch_id: UUID, *, override: str | None = None
) -> BatchRow:
    """Start a new batch of the jobs of an ended one that failed or were cancelled.

    Jobs that were retried since, and succeeded or have not ended, are left out. The new jobs reserve what
    they are expected to use; `override` is the reason for which an admin passes a hard limit. Raises
    NotFound, BudgetExceeded, or Conflict where the batch has not ended, nothing of it failed, or such a batch
    has not ended yet.
    """
    async with database.transaction() as transaction:
        batch = await batches.lock_batch(transaction, scope=caller.scope, batch_id=batch_id)
        if batch is None:
            raise NotFound("There is no such batch.")
        if batch.finished_at is None or batch.confirmed_at is None:
            raise Conflict("Only a batch that has run to its end can be retried.")
        if await batch_retries.has_unfinished_retry(transaction, scope=caller.scope, batch_id=batch_id):
            raise Conflict("A retry of this batch has not ended yet.")
        failed = await batch_retries.failed_part(transaction, scope=caller.scope, batch_id=batch_id)
        if not failed:
            raise Conflict("Nothing of this batch is left to retry.")
        estimates = await estimate_apps(
            transaction, caller.scope.narrow(batch.site_id), {row.app_type: row.calls for row in failed}
        )
        spending = Spending.of(batch.site_id, estimated_tokens(estimates))
        spent = await check_budgets(transaction, caller, spending, override=override)
        retry = await batch_retries.insert_retry_batch(
            transaction,
            scope=caller.scope,
            batch_id=batch_id,
            app_types=[row.app_type for row in failed],
            estimated_tokens=total_tokens(estimates),
            app_estimates=estimates,
            actor=caller.name,
        )
        if retry is None:
            raise NotFound("There is no such batch.")
        await queue.ask_for_admission(transaction)
        after = {"retry": str(retry.id), "calls": retry.estimated_calls, **spent}
        await audit(
            transaction, caller, "retryBatch", ("batch", batch_id), site_id=batch.site_id, after=after
        )
    return retry
