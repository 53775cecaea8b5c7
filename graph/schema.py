"""The schema, and its text for `schema.graphql`."""

from __future__ import annotations

import strawberry
from strawberry.schema.config import StrawberryConfig

from graph.mutations import Mutation
from graph.queries import Query
from graph.refusals import EXCEPTION_HANDLERS
from graph.scalars import SCALARS
from graph.types.alerts import Alert
from graph.types.batches import Batch
from graph.types.budgets import BudgetLimit
from graph.types.cache import CacheEntry
from graph.types.run_logs import RunLog
from graph.types.trigger_jobs import TriggerJob

schema = strawberry.Schema(
    Query,
    Mutation,
    # What `node` may give.
    types=[RunLog, TriggerJob, Alert, Batch, CacheEntry, BudgetLimit],
    config=StrawberryConfig(scalar_map=SCALARS),
    exception_handlers=EXCEPTION_HANDLERS,
)


def print_sdl() -> str:
    """The schema in the schema definition language, in the order in which it is written."""
    return schema.as_str() + "\n"
