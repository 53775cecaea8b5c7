"""Budget events: a budget's use reaches 80, 95 or 100 percent of its limit, told once in a period."""

from __future__ import annotations

from datetime import UTC, datetime

from db.budgets import budget_events as store
from db.budgets.budget_events import BudgetEventRow
from db.budgets.budgets import budgets_of_sites
from db.postgres.pool import Connection, Database
from db.sql.keyset import Page, PageRequest
from db.sql.scope import EVERY_SITE, Scope
from resolvers.budgets.status import Meter, spec_of

THRESHOLDS = (80, 95, 100)
# What the column holds; only a service that writes nonsense gets there.
_LARGEST = 2**63 - 1


async def tell_thresholds(connection: Connection) -> int:
    """Write what budgets have reached since they were looked at last; gives how many events are new.

    Used tokens count, reserved ones do not. Any number of processes may do this at once.
    """
    meter = Meter(connection, datetime.now(UTC))
    told = 0
    for budget in await connection.read(budgets_of_sites(scope=EVERY_SITE)):
        status = await meter.status(spec_of(budget))
        used = status.used or 0
        reached = [percent for percent in THRESHOLDS if used > 0 and used * 100 >= percent * budget.limit]
        if reached:
            told += await store.insert_events(
                connection,
                budget_id=budget.id,
                period_start=status.starts_at,
                thresholds=reached,
                site_id=budget.site_id,
                app_type=budget.app_type,
                period=budget.period,
                used=min(used, _LARGEST),
                limit=budget.limit,
            )
    return told


async def list_events(database: Database, scope: Scope, page: PageRequest) -> Page[BudgetEventRow]:
    """One page of the events in the scope."""
    async with database.connection() as connection:
        return await store.list_events(connection, scope=scope, page=page)


async def count_events(database: Database, scope: Scope, limit: int) -> int:
    """How many events there are, counted no further than `limit`."""
    async with database.connection() as connection:
        return await store.count_events(connection, scope=scope, limit=limit)
