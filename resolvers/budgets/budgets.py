"""Budgets: set, remove and list them, and say how they stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from db.budgets import budgets as store
from db.budgets.budgets import BudgetRow
from db.postgres.pool import Database
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope
from resolvers.access.callers import Caller, audit
from resolvers.budgets.status import BudgetStatus, Meter, spec_of
from resolvers.errors import InvalidInput, NotFound
from resolvers.names import check_printable, own_site
from resolvers.periods import time_zone

Period = Literal["daily", "monthly"]


@dataclass(frozen=True, slots=True)
class BudgetRequest:
    """The budget that is wanted, in tokens; `site_id` None is every site, `app_type` None every app."""

    site_id: str | None
    app_type: str | None
    period: Period
    soft_limit: int | None
    hard_limit: int | None
    time_zone: str


async def set_budget(database: Database, caller: Caller, request: BudgetRequest) -> BudgetRow:
    """Add a budget, or change the one of the same site, app and period.

    Raises InvalidInput, or NotFound where the site is not within the caller's scope.
    """
    _check(request)
    if request.site_id is not None:
        request = replace(request, site_id=own_site(caller.scope, request.site_id))
    elif caller.scope.sites is not None:
        raise InvalidInput("You may not see every site: name the budget's site.", "siteId")
    async with database.transaction() as transaction:
        before = await store.lock_budget_of(
            transaction,
            scope=caller.scope,
            site_id=request.site_id,
            app_type=request.app_type,
            period=request.period,
        )
        budget = await store.set_budget(
            transaction,
            scope=caller.scope,
            site_id=request.site_id,
            app_type=request.app_type,
            period=request.period,
            soft_limit=request.soft_limit,
            hard_limit=request.hard_limit,
            time_zone=request.time_zone,
            actor=caller.name,
        )
        if budget is None:
            raise NotFound("There is no such site.")
        await audit(
            transaction,
            caller,
            "setBudget",
            ("budget", budget.id),
            site_id=budget.site_id,
            before=_described(before) if before else None,
            after=_described(budget),
        )
    return budget


async def remove_budget(database: Database, caller: Caller, budget_id: int) -> BudgetRow:
    """Remove a budget and give it as it was. Raises NotFound."""
    async with database.transaction() as transaction:
        budget = await store.lock_budget(transaction, scope=caller.scope, budget_id=budget_id)
        if budget is None:
            raise NotFound("There is no such budget.")
        await store.delete_budget(transaction, scope=caller.scope, budget_id=budget_id)
        await audit(
            transaction,
            caller,
            "removeBudget",
            ("budget", budget.id),
            site_id=budget.site_id,
            before=_described(budget),
        )
    return budget


async def list_budgets(database: Database, scope: Scope, page: PageRequest) -> Page[BudgetRow]:
    """One page of the budgets in the scope; those of every site are in the scope of every site only."""
    async with database.connection() as connection:
        return await store.list_budgets(connection, scope=scope, page=page)


async def count_budgets(database: Database, scope: Scope, limit: int) -> int:
    """How many budgets there are, counted no further than `limit`."""
    async with database.connection() as connection:
        return await store.count_budgets(connection, scope=scope, limit=limit)


async def statuses(database: Database, budgets: Sequence[BudgetRow]) -> dict[BudgetRow, BudgetStatus]:
    """How these budgets stand now."""
    async with database.connection() as connection:
        meter = Meter(connection, datetime.now(UTC))
        return {budget: await meter.status(spec_of(budget)) for budget in budgets}


def _check(request: BudgetRequest) -> None:
    for field, name in (("siteId", request.site_id), ("appType", request.app_type)):
        if name is not None:
            check_printable(name, field)
    for field, limit in (("softLimit", request.soft_limit), ("hardLimit", request.hard_limit)):
        if limit is not None and limit < 0:
            raise InvalidInput(f"{field} must not be negative.", field)
    if request.soft_limit is None and request.hard_limit is None:
        raise InvalidInput("Give softLimit, hardLimit or both.", "hardLimit")
    if None not in (request.soft_limit, request.hard_limit) and (request.soft_limit or 0) > (
        request.hard_limit or 0
    ):
        raise InvalidInput("softLimit must not be above hardLimit.", "softLimit")
    time_zone(request.time_zone)


def _described(budget: BudgetRow) -> dict[str, Any]:
    return {
        "siteId": budget.site_id,
        "appType": budget.app_type,
        "period": budget.period,
        "softLimit": budget.soft_limit,
        "hardLimit": budget.hard_limit,
        "timeZone": budget.time_zone,
    }
