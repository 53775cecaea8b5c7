"""The dashboard, and the budget of tokens that it shows."""

from typing import Annotated

import strawberry

from graph.context import Info
from graph.operations.lists import SiteId
from graph.types.budget import Budget
from graph.types.dashboard import Dashboard
from graph.types.fields import resolved
from resolvers.usage import dashboard as cases
from resolvers.usage.token_budget import Budget as TokenBudget

TimeZone = Annotated[
    str | None,
    strawberry.argument(description="An IANA zone such as Asia/Kolkata; without it, the configured one."),
]


async def _dashboard(info: Info, site_id: SiteId = None, time_zone: TimeZone = None) -> cases.Dashboard:
    context = info.context
    return cases.Dashboard(
        context.database,
        context.settings.budget_limits,
        context.scope.narrow(site_id),
        context.zone(time_zone),
        None if site_id is None else context.scope.canonical_site(site_id) or site_id,
    )


async def _budget(info: Info, site_id: SiteId = None, time_zone: TimeZone = None) -> TokenBudget:
    shown = await _dashboard(info, site_id, time_zone)
    return await shown.block("budget")


@strawberry.type
class DashboardQueries:
    """Root fields of `Query`."""

    dashboard: Dashboard = resolved(
        _dashboard,
        "What an operator looks at first, of one site or of all you may see.",
    )
    budget: Budget = resolved(
        _budget,
        "Tokens used today and this month, of one site or of all you may see.",
    )
