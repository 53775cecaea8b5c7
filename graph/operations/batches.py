"""Batches: list, estimate, confirm, stop and retry them."""

from functools import partial
from typing import Annotated

import strawberry

from db.jobs.batches import BatchRow
from graph.context import Context, Info
from graph.operations.budgets import BudgetOverride, reason_of
from graph.operations.changes import KeyedInput, mutation
from graph.operations.lists import Listing, TypedId, filter_argument, list_field
from graph.types.batches import Batch, BatchConnection, BatchFilter, batch_filter
from graph.types.bounds import FORMED, NAME, bound
from graph.types.fields import resolved
from graph.types.ids import Kind, parse_batch_id
from graph.types.refusals import BudgetExceeded, Conflict, Expired, InvalidInput, NotFound
from resolvers.jobs import batch_actions
from resolvers.jobs import batches as cases
from resolvers.names import MAX_NAME


def _lists(context: Context, filter: BatchFilter | None) -> Listing:
    scope = context.scope.narrow(filter.site_id if filter else None)
    filters = batch_filter(filter, context)
    return Listing(
        partial(cases.list_batches, context.database, scope, filters),
        partial(cases.count_batches, context.database, scope, filters),
    )


async def _batch(info: Info, id: TypedId) -> BatchRow | None:
    return await info.context.loaders.batches.load(parse_batch_id(id, "id"))


@strawberry.input(description="The calls to estimate: each app for each member.")
class EstimateBatchInput(KeyedInput):
    """Input of estimateBatch."""

    site_id: strawberry.ID = strawberry.field(
        metadata=NAME, description="The site that the members belong to."
    )
    app_types: list[str] = strawberry.field(
        metadata=NAME, description="The apps to call. Duplicates count once."
    )
    member_ids: list[strawberry.ID] = strawberry.field(
        metadata=bound(text=MAX_NAME, items=cases.MAX_CALLS),
        description="The members to call for. Duplicates count once; apps times members is at most 100,000.",
    )


@strawberry.input(description="Which batch to start.")
class ConfirmBatchInput(KeyedInput):
    """Input of confirmBatch."""

    batch_id: strawberry.ID = strawberry.field(metadata=FORMED, description="The id that estimateBatch gave.")
    override: BudgetOverride | None = strawberry.field(
        default=None, description="For admins: start it although it passes a hard limit of a budget."
    )


@strawberry.input(description="Which batch to stop.")
class CancelBatchInput(KeyedInput):
    """Input of cancelBatch."""

    batch_id: strawberry.ID = strawberry.field(
        metadata=FORMED, description="The id of a batch that has not ended."
    )


@strawberry.input(description="Which batch's failed part to run again.")
class RetryBatchInput(KeyedInput):
    """Input of retryBatch."""

    batch_id: strawberry.ID = strawberry.field(
        metadata=FORMED, description="The id of a batch that has run to its end."
    )
    override: BudgetOverride | None = strawberry.field(
        default=None, description="For admins: start it although it passes a hard limit of a budget."
    )


EstimateBatchResult = Annotated[
    Batch | InvalidInput | NotFound | Conflict,
    strawberry.union("EstimateBatchResult", description="The estimate, or why there is none."),
]
ConfirmBatchResult = Annotated[
    Batch | NotFound | Conflict | Expired | BudgetExceeded,
    strawberry.union("ConfirmBatchResult", description="The started batch, or why it was not started."),
]
CancelBatchResult = Annotated[
    Batch | NotFound | Conflict,
    strawberry.union("CancelBatchResult", description="The stopped batch, or why it was not stopped."),
]
RetryBatchResult = Annotated[
    Batch | NotFound | Conflict | BudgetExceeded,
    strawberry.union("RetryBatchResult", description="The new, started batch, or why there is none."),
]


async def _estimate_batch(context: Context, input: EstimateBatchInput) -> BatchRow:
    return await cases.estimate_batch(
        context.database,
        context.caller,
        site_id=input.site_id,
        app_types=input.app_types,
        member_ids=input.member_ids,
        lifetime_seconds=context.settings.batch_lifetime,
    )


async def _confirm_batch(context: Context, input: ConfirmBatchInput) -> BatchRow:
    batch_id = parse_batch_id(input.batch_id, "batchId")
    override = reason_of(context, input.override)
    return await cases.confirm_batch(context.database, context.caller, batch_id, override=override)


async def _cancel_batch(context: Context, input: CancelBatchInput) -> BatchRow:
    batch_id = parse_batch_id(input.batch_id, "batchId")
    return await batch_actions.cancel_batch(context.database, context.caller, batch_id)


async def _retry_batch(context: Context, input: RetryBatchInput) -> BatchRow:
    batch_id = parse_batch_id(input.batch_id, "batchId")
    override = reason_of(context, input.override)
    return await batch_actions.retry_batch(context.database, context.caller, batch_id, override=override)


@strawberry.type
class BatchQueries:
    """Root fields of `Query`."""

    batches: BatchConnection = list_field(
        Kind.BATCH,
        _lists,
        "Batches, estimated and started ones.",
        narrowed_by=filter_argument(BatchFilter, "batches"),
    )
    batch: Batch | None = resolved(
        _batch,
        "One batch; null where there is none of that id.",
    )


@strawberry.type
class BatchMutations:
    """Root fields of `Mutation`."""

    estimate_batch = mutation(
        _estimate_batch,
        EstimateBatchResult,
        "Say what a batch of calls would cost. Nothing is called until it is confirmed.",
    )
    confirm_batch = mutation(
        _confirm_batch,
        ConfirmBatchResult,
        "Start an estimated batch: exactly once, before it expires, one pending job per app and member.",
    )
    cancel_batch = mutation(
        _cancel_batch,
        CancelBatchResult,
        "Stop a batch: its waiting jobs are cancelled, its running ones stop before their next app.",
    )
    retry_batch = mutation(
        _retry_batch,
        RetryBatchResult,
        "Start a new batch of those jobs of an ended one that failed or were cancelled.",
    )
