"""Thresholds that budgets crossed, each once in a period. Table: runglass.budget_events."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

from db.postgres.pool import Connection, fetch_all, fetch_count
from db.sql.keyset import Page, PageRequest, keyset, page_of
from db.sql.scope import Scope, SiteStatement


class BudgetEventRow(NamedTuple):
    """A budget's use had reached `threshold` percent of its limit; tokens as they were then."""

    id: int
    budget_id: int
    period_start: datetime
    threshold: int
    site_id: str | None
    app_type: str | None
    period: str
    used_tokens: int
    limit_tokens: int
    created_at: datetime


EVENT_COLUMNS: LiteralString = """
    id, budget_id, period_start, threshold, site_id, app_type, period, used_tokens, limit_tokens,
    created_at"""

GET_EVENTS = SiteStatement(
    f"SELECT {EVENT_COLUMNS} FROM runglass.budget_events WHERE id = ANY(%(ids)s) AND {{scope}}"
)

# The unique index lets one of several processes write it.
INSERT_EVENTS: LiteralString = """
INSERT INTO runglass.budget_events (
    budget_id, period_start, threshold, site_id, app_type, period, used_tokens, limit_tokens
)
SELECT %(budget_id)s, %(period_start)s, threshold, %(site_id)s, %(app_type)s, %(period)s, %(used)s, %(limit)s
FROM unnest(%(thresholds)s::smallint[]) AS reached(threshold)
ON CONFLICT (budget_id, period_start, threshold) DO NOTHING
"""


async def insert_events(
    connection: Connection,
    *,
    budget_id: int,
    period_start: datetime,
    thresholds: Sequence[int],
    site_id: str | None,
    app_type: str | None,
    period: str,
    used: int,
    limit: int,
) -> int:
    """Write those of the thresholds that are not written yet for the period; gives how many."""
    values = {
        "budget_id": budget_id,
        "period_start": period_start,
        "thresholds": list(thresholds),
        "site_id": site_id,
        "app_type": app_type,
        "period": period,
        "used": used,
        "limit": limit,
    }
    return (await connection.execute(INSERT_EVENTS, values)).rowcount


async def get_events(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> list[BudgetEventRow]:
    """The events with these ids that lie in the scope, in no order."""
    return await fetch_all(connection, BudgetEventRow, GET_EVENTS, scope, {"ids": list(ids)})


async def list_events(connection: Connection, *, scope: Scope, page: PageRequest) -> Page[BudgetEventRow]:
    """One page of the events; those of budgets of every site are in the scope of every site only."""
    keys, order, values = keyset(page)
    statement = SiteStatement(
        f"SELECT {EVENT_COLUMNS} FROM runglass.budget_events WHERE {{scope}}{keys}{order}"
    )
    return page_of(page, await fetch_all(connection, BudgetEventRow, statement, scope, values))


async def count_events(connection: Connection, *, scope: Scope, limit: int) -> int:
    """How many events there are, counted no further than `limit`."""
    statement = SiteStatement(
        "SELECT count(*) FROM (SELECT FROM runglass.budget_events WHERE {scope} LIMIT %(limit)s) AS matching"
    )
    return await fetch_count(connection, statement, scope, {"limit": limit})
