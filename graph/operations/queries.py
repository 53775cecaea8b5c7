"""Every query of the API. Each takes the caller's scope from the context; none runs without it."""

from enum import Enum
from functools import partial
from typing import Annotated, Any

import strawberry

from db.budgets.budgets import BudgetRow
from db.jobs.batches import BatchRow
from db.jobs.trigger_jobs import TriggerJobRow
from db.runs.alerts import AlertRow
from db.runs.run_logs import RunLogRow
from graph.auth.permissions import Administers
from graph.context import Info
from graph.operations.access_queries import resolve_api_keys, resolve_audit_log
from graph.types.alerts import Alert, AlertConnection, AlertFilter, wanted_alerts
from graph.types.api_keys import ApiKeyConnection
from graph.types.audit_log import AuditEntryConnection
from graph.types.batches import Batch, BatchConnection, BatchFilter, wanted_batches
from graph.types.bounds import FORMED
from graph.types.budget import Budget
from graph.types.budgets import BudgetEventConnection, BudgetLimit, BudgetLimitConnection
from graph.types.cache import CacheEntryConnection, CacheEntryFilter, wanted_entries
from graph.types.dashboard import Dashboard
from graph.types.fields import resolved
from graph.types.ids import Kind, kind_of, parse_batch_id, parse_id
from graph.types.model_prices import ModelPriceConnection
from graph.types.node import Node
from graph.types.pagination import After, Before, ConnectionPage, First, Last, filtered_page, page_request
from graph.types.run_logs import RunLog, RunLogConnection, RunLogFilter, wanted_runs
from graph.types.trigger_jobs import TriggerJob, TriggerJobConnection, TriggerJobFilter, wanted_jobs
from graph.types.viewer import Viewer
from resolvers.access.callers import Caller, Role
from resolvers.budgets import budget_events as budget_event_cases
from resolvers.budgets import budgets as budgets_cases
from resolvers.jobs import batches as batch_cases
from resolvers.jobs import trigger_jobs as job_cases
from resolvers.runs import alerts as alert_cases
from resolvers.runs import cache as cache_cases
from resolvers.runs import run_logs as run_log_cases
from resolvers.usage import dashboard as dashboard_cases
from resolvers.usage import model_prices as price_cases
from resolvers.usage import token_budget as budget_cases

SiteId = Annotated[
    strawberry.ID | None, strawberry.argument(description="Only this site; without it, all that you may see.")
]
TimeZone = Annotated[
    str | None,
    strawberry.argument(description="An IANA zone such as Asia/Kolkata; without it, the configured one."),
]
_Id = Annotated[
    strawberry.ID,
    strawberry.argument(description="The typed id, such as job_42 or run_7.", metadata=FORMED),
]


@strawberry.enum(description="The order of a list.")
class CreatedSort(Enum):
    """Both directions of (created_at, id)."""

    CREATED_AT_DESC = strawberry.enum_value("desc", description="Newest first.")
    CREATED_AT_ASC = strawberry.enum_value("asc", description="Oldest first.")


Sort = Annotated[CreatedSort, strawberry.argument(description="The order of the list.")]


async def _dashboard(
    info: Info, site_id: SiteId = None, time_zone: TimeZone = None
) -> dashboard_cases.Dashboard:
    context = info.context
    return dashboard_cases.Dashboard(
        context.database,
        context.settings.budget_limits,
        context.scope.narrow(site_id),
        context.zone(time_zone),
        None if site_id is None else context.scope.canonical_site(site_id) or site_id,
    )


async def _budget(info: Info, site_id: SiteId = None, time_zone: TimeZone = None) -> budget_cases.Budget:
    dashboard = await _dashboard(info, site_id, time_zone)
    return await dashboard.block("budget")


async def _run_logs(
    info: Info,
    filter: Annotated[RunLogFilter | None, strawberry.argument(description="Only runs that match.")] = None,
    sort: Sort = CreatedSort.CREATED_AT_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    database, scope = info.context.database, info.context.scope.narrow(filter.site_id if filter else None)
    wanted = wanted_runs(filter, info)
    request = _page(Kind.RUN, sort, first, after, last, before)
    page = await run_log_cases.list_run_logs(database, scope, wanted, request)
    return filtered_page(page, partial(run_log_cases.count_run_logs, database, scope, wanted))


async def _trigger_jobs(
    info: Info,
    filter: Annotated[
        TriggerJobFilter | None, strawberry.argument(description="Only jobs that match.")
    ] = None,
    sort: Sort = CreatedSort.CREATED_AT_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    database, scope = info.context.database, info.context.scope.narrow(filter.site_id if filter else None)
    wanted = wanted_jobs(filter, info.context)
    request = _page(Kind.JOB, sort, first, after, last, before)
    page = await job_cases.list_trigger_jobs(database, scope, wanted, request)
    return filtered_page(page, partial(job_cases.count_trigger_jobs, database, scope, wanted), scope)


async def _alerts(
    info: Info,
    filter: Annotated[AlertFilter | None, strawberry.argument(description="Only alerts that match.")] = None,
    sort: Sort = CreatedSort.CREATED_AT_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    database, scope = info.context.database, info.context.scope.narrow(filter.site_id if filter else None)
    wanted = wanted_alerts(filter, info)
    request = _page(Kind.ALERT, sort, first, after, last, before)
    page = await alert_cases.list_alerts(database, scope, wanted, request)
    return filtered_page(page, partial(alert_cases.count_alerts, database, scope, wanted))


async def _batches(
    info: Info,
    filter: Annotated[BatchFilter | None, strawberry.argument(description="Only batches that match.")] = None,
    sort: Sort = CreatedSort.CREATED_AT_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    database, scope = info.context.database, info.context.scope.narrow(filter.site_id if filter else None)
    wanted = wanted_batches(filter, info)
    request = _page(Kind.BATCH, sort, first, after, last, before)
    page = await batch_cases.list_batches(database, scope, wanted, request)
    return ConnectionPage(page, lambda most: batch_cases.count_batches(database, scope, wanted, most))


async def _cache_entries(
    info: Info,
    filter: Annotated[
        CacheEntryFilter | None, strawberry.argument(description="Only entries that match.")
    ] = None,
    sort: Sort = CreatedSort.CREATED_AT_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    database, scope = info.context.database, info.context.scope.narrow(filter.site_id if filter else None)
    wanted = wanted_entries(filter, info)
    request = _page(Kind.CACHE, sort, first, after, last, before)
    page = await cache_cases.list_cache_entries(database, scope, wanted, request)
    return filtered_page(page, partial(cache_cases.count_cache_entries, database, scope, wanted))


async def _budgets(
    info: Info,
    site_id: SiteId = None,
    sort: Sort = CreatedSort.CREATED_AT_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    database, scope = info.context.database, info.context.scope.narrow(site_id)
    page = await budgets_cases.list_budgets(
        database, scope, _page(Kind.BUDGET, sort, first, after, last, before)
    )
    return ConnectionPage(page, lambda most: budgets_cases.count_budgets(database, scope, most))


async def _budget_events(
    info: Info,
    site_id: SiteId = None,
    sort: Sort = CreatedSort.CREATED_AT_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    database, scope = info.context.database, info.context.scope.narrow(site_id)
    page = await budget_event_cases.list_events(
        database, scope, _page(Kind.BUDGET_EVENT, sort, first, after, last, before)
    )
    return ConnectionPage(page, lambda most: budget_event_cases.count_events(database, scope, most))


async def _model_prices(
    info: Info,
    model: Annotated[str | None, strawberry.argument(description="Only prices of this model.")] = None,
    sort: Sort = CreatedSort.CREATED_AT_DESC,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    database = info.context.database
    page = await price_cases.list_model_prices(
        database, model, _page(Kind.PRICE, sort, first, after, last, before)
    )
    return ConnectionPage(page, lambda most: price_cases.count_model_prices(database, model, most))


async def _budget_limit(info: Info, id: _Id) -> BudgetRow | None:
    return await info.context.loaders.budgets.load(parse_id(id, Kind.BUDGET, "id"))


def _page(
    kind: Kind, sort: CreatedSort, first: int | None, after: str | None, last: int | None, before: str | None
) -> Any:
    newest_first = sort is CreatedSort.CREATED_AT_DESC
    return page_request(kind, first=first, after=after, last=last, before=before, newest_first=newest_first)


async def _run_log(info: Info, id: _Id) -> RunLogRow | None:
    return await info.context.loaders.whole.run_logs.load(parse_id(id, Kind.RUN, "id"))


async def _trigger_job(info: Info, id: _Id) -> TriggerJobRow | None:
    return await info.context.loaders.whole.trigger_jobs.load(parse_id(id, Kind.JOB, "id"))


async def _alert(info: Info, id: _Id) -> AlertRow | None:
    return await info.context.loaders.whole.alerts.load(parse_id(id, Kind.ALERT, "id"))


async def _batch(info: Info, id: _Id) -> BatchRow | None:
    return await info.context.loaders.batches.load(parse_batch_id(id, "id"))


async def _node(info: Info, id: _Id) -> Any:
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


def _viewer(info: Info) -> Caller:
    return info.context.caller


@strawberry.type(description="Everything that can be read.")
class Query:
    """The root of reads."""

    dashboard: Dashboard = resolved(
        _dashboard, "What an operator looks at first, of one site or of all you may see."
    )
    budget: Budget = resolved(_budget, "Tokens used today and this month, of one site or of all you may see.")
    budgets: BudgetLimitConnection = resolved(
        _budgets,
        "The budgets that admins set, and how they stand. Those of every site need to see every site.",
    )
    budget_limit: BudgetLimit | None = resolved(
        _budget_limit, "One budget that an admin set; null where there is none of that id."
    )
    budget_events: BudgetEventConnection = resolved(
        _budget_events, "Thresholds that budgets reached: 80, 95 and 100 percent, each once in a period."
    )
    model_prices: ModelPriceConnection = resolved(_model_prices, "What models cost, the newest price first.")
    run_logs: RunLogConnection = resolved(_run_logs, "Calls of apps.")
    run_log: RunLog | None = resolved(_run_log, "One call; null where there is none of that id.")
    trigger_jobs: TriggerJobConnection = resolved(_trigger_jobs, "Jobs.")
    trigger_job: TriggerJob | None = resolved(_trigger_job, "One job; null where there is none of that id.")
    alerts: AlertConnection = resolved(_alerts, "Runs that failed, timed out or met an open circuit.")
    alert: Alert | None = resolved(_alert, "One alert; null where there is none of that id.")
    batches: BatchConnection = resolved(_batches, "Batches, estimated and started ones.")
    batch: Batch | None = resolved(_batch, "One batch; null where there is none of that id.")
    cache_entries: CacheEntryConnection = resolved(_cache_entries, "Cached answers.")
    node: Node | None = resolved(_node, "Any object by its typed id; null where there is none of that id.")
    viewer: Viewer = resolved(_viewer, "Who you are and what you may do.")
    api_keys: ApiKeyConnection = resolved(
        resolve_api_keys,
        "The keys whose sites you may all see, newest first, revoked and expired ones included. For admins.",
        permissions=[Administers],
    )
    audit_log: AuditEntryConnection = resolved(
        resolve_audit_log,
        "Who changed what, newest first; what concerns every site only for admins of every site. For admins.",
        permissions=[Administers],
    )
