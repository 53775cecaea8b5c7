"""The mutations that steer batches; `graph.operations.mutations` puts them into the root."""

from typing import Annotated

import strawberry

from db.jobs.batches import BatchRow
from graph.context import Context
from graph.operations.budget_mutations import BudgetOverride, reason_of
from graph.operations.idempotency import KeyedInput
from graph.types.batches import Batch
from graph.types.bounds import FORMED
from graph.types.ids import parse_batch_id
from graph.types.refusals import BudgetExceeded, Conflict, NotFound
from resolvers.jobs import steering as cases


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


CancelBatchResult = Annotated[
    Batch | NotFound | Conflict,
    strawberry.union("CancelBatchResult", description="The stopped batch, or why it was not stopped."),
]
RetryBatchResult = Annotated[
    Batch | NotFound | Conflict | BudgetExceeded,
    strawberry.union("RetryBatchResult", description="The new, started batch, or why there is none."),
]


async def cancel_batch(context: Context, input: CancelBatchInput) -> BatchRow:
    """Resolve cancelBatch."""
    batch_id = parse_batch_id(input.batch_id, "batchId")
    return await cases.cancel_batch(context.database, context.caller, batch_id)


async def retry_batch(context: Context, input: RetryBatchInput) -> BatchRow:
    """Resolve retryBatch."""
    batch_id = parse_batch_id(input.batch_id, "batchId")
    override = reason_of(context, input.override)
    return await cases.retry_batch(context.database, context.caller, batch_id, override=override)
