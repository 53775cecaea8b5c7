"""The roots of the API, put together from the files of its nouns."""

from typing import Any

import strawberry

from graph.context import Info
from graph.operations.access import AccessMutations, AccessQueries
from graph.operations.alerts import AlertMutations, AlertQueries
from graph.operations.batches import BatchMutations, BatchQueries
from graph.operations.budgets import BudgetMutations, BudgetQueries
from graph.operations.cache import CacheMutations, CacheQueries
from graph.operations.dashboard import DashboardQueries
from graph.operations.jobs import JobMutations, JobQueries
from graph.operations.lists import TypedId
from graph.operations.prices import PriceMutations, PriceQueries
from graph.operations.run_logs import RunLogMutations, RunLogQueries
from graph.types.fields import resolved
from graph.types.ids import Kind, kind_of, parse_batch_id, parse_id
from graph.types.node import Node
from resolvers.access.callers import Role


async def _node(info: Info, id: TypedId) -> Any:
    loaders = info.context.loaders.whole
    kind = kind_of(id, "id")
    if kind is Kind.BATCH:
        return await loaders.batches.load(parse_batch_id(id, "id"))
    by_kind: dict[Kind, Any] = {
        Kind.RUN: loaders.run_logs,
        Kind.ALERT: loaders.alerts,
        Kind.JOB: loaders.trigger_jobs,
        Kind.CACHE: loaders.cache_entries,
        Kind.BUDGET: loaders.budgets,
        Kind.PRICE: loaders.model_prices,
        Kind.BUDGET_EVENT: loaders.budget_events,
    }
    if info.context.caller.role is Role.ADMIN:
        # To anybody else they are as absent as another site's rows.
        by_kind |= {Kind.KEY: loaders.api_keys, Kind.AUDIT: loaders.audit_entries}
    loader = by_kind.get(kind)
    return await loader.load(parse_id(id, kind, "id")) if loader else None


@strawberry.type(description="Everything that can be read.")
class Query(
    AccessQueries,
    PriceQueries,
    CacheQueries,
    BudgetQueries,
    BatchQueries,
    JobQueries,
    AlertQueries,
    RunLogQueries,
    DashboardQueries,
):
    """The root of reads."""

    node: Node | None = resolved(
        _node,
        "Any object by its typed id; null where there is none of that id.",
    )


@strawberry.type(description="Everything that can be changed. A refusal changes nothing.")
class Mutation(
    AccessMutations,
    PriceMutations,
    CacheMutations,
    BudgetMutations,
    BatchMutations,
    JobMutations,
    AlertMutations,
    RunLogMutations,
):
    """The root of changes; each runs in one transaction, with its audit entry."""
