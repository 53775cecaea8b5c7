"""The mutations that steer what runs; `graph.mutations` puts them into the root."""

from __future__ import annotations

from typing import Annotated

import strawberry

from db.batches import BatchRow
from db.trigger_jobs import TriggerJobRow
from graph.context import Info
from graph.ids import Kind, parse_batch_id, parse_id
from graph.refusals import Conflict, NotFound
from graph.types.batches import Batch
from graph.types.trigger_jobs import TriggerJob
from resolvers import steering as cases


@strawberry.input(description="Which job to stop.")
class CancelJobInput:
    """Input of cancelJob."""

    job_id: strawberry.ID = strawberry.field(
        description="The id of a job that waits or runs, such as job_42."
    )


@strawberry.input(description="Which batch to stop.")
class CancelBatchInput:
    """Input of cancelBatch."""

    batch_id: strawberry.ID = strawberry.field(description="The id of a batch that has not ended.")


@strawberry.input(description="Which batch's failed part to run again.")
class RetryBatchInput:
    """Input of retryBatch."""

    batch_id: strawberry.ID = strawberry.field(description="The id of a batch that has run to its end.")


CancelJobResult = Annotated[
    TriggerJob | NotFound | Conflict,
    strawberry.union("CancelJobResult", description="The stopped job, or why it was not stopped."),
]
CancelBatchResult = Annotated[
    Batch | NotFound | Conflict,
    strawberry.union("CancelBatchResult", description="The stopped batch, or why it was not stopped."),
]
RetryBatchResult = Annotated[
    Batch | NotFound | Conflict,
    strawberry.union("RetryBatchResult", description="The new, started batch, or why there is none."),
]


async def cancel_job(info: Info, input: CancelJobInput) -> TriggerJobRow:
    """Resolve cancelJob."""
    job_id = parse_id(input.job_id, Kind.JOB, "jobId")
    return await cases.cancel_job(info.context.database, info.context.caller, job_id)


async def cancel_batch(info: Info, input: CancelBatchInput) -> BatchRow:
    """Resolve cancelBatch."""
    batch_id = parse_batch_id(input.batch_id, "batchId")
    return await cases.cancel_batch(info.context.database, info.context.caller, batch_id)


async def retry_batch(info: Info, input: RetryBatchInput) -> BatchRow:
    """Resolve retryBatch."""
    batch_id = parse_batch_id(input.batch_id, "batchId")
    return await cases.retry_batch(info.context.database, info.context.caller, batch_id)
