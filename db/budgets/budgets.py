"""Budgets of tokens and what is reserved of them. Tables: runglass.budgets, and biz.ai_trigger_jobs for
reservations: a job's `reserved_tokens` count while it is pending or running.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

from db.postgres.connection import Read
from db.postgres.pool import Connection, fetch_all, fetch_count, fetch_one, site_read
from db.sql.keyset import Page, PageRequest, keyset, page_of
from db.sql.scope import Scope, SiteStatement


class BudgetRow(NamedTuple):
    """A budget of a day or a month, in tokens; `site_id` None is every site, `app_type` None every app."""

    id: int
    site_id: str | None
    app_type: str | None
    period: str
    soft_limit: int | None
    hard_limit: int | None
    time_zone: str
    created_by: str
    created_at: datetime
    updated_by: str
    updated_at: datetime

    @property
    def limit(self) -> int:
        """The hard limit, or the soft one where there is no hard one; one of them there always is."""
        return (self.soft_limit if self.hard_limit is None else self.hard_limit) or 0


class ReservedRow(NamedTuple):
    """Tokens reserved for unfinished jobs, by app; `released` is of those that nothing has moved for long."""

    app_type: str
    tokens: int
    released: int


BUDGET_COLUMNS: LiteralString = """
    id, site_id, app_type, period, soft_limit, hard_limit, time_zone, created_by, created_at, updated_by,
    updated_at"""

GET_BUDGETS = SiteStatement(
    f"SELECT {BUDGET_COLUMNS} FROM runglass.budgets WHERE id = ANY(%(ids)s) AND {{scope}}"
)

# What binds a site: its own budgets, and those of every site.
BUDGETS_OF_SITES = SiteStatement(
    f"""
    SELECT {BUDGET_COLUMNS} FROM runglass.budgets WHERE (site_id IS NULL OR {{scope}})
    ORDER BY id"""
)

# In the order of their ids, so that no two transactions wait for each other.
LOCK_HARD_BUDGETS = SiteStatement(
    f"""
    SELECT {BUDGET_COLUMNS} FROM runglass.budgets
    WHERE hard_limit IS NOT NULL AND (site_id IS NULL OR {{scope}})
      AND (app_type IS NULL OR app_type = ANY(%(app_types)s))
    ORDER BY id FOR UPDATE"""
)

LOCK_BUDGET = SiteStatement(
    f"SELECT {BUDGET_COLUMNS} FROM runglass.budgets WHERE id = %(id)s AND {{scope}} FOR UPDATE"
)

LOCK_BUDGET_OF = SiteStatement(
    f"""
    SELECT {BUDGET_COLUMNS} FROM runglass.budgets
    WHERE coalesce(site_id, '') = coalesce(%(site_id)s::text, '')
      AND coalesce(app_type, '') = coalesce(%(app_type)s::text, '') AND period = %(period)s AND {{scope}}
    FOR UPDATE"""
)

SET_BUDGET = SiteStatement(
    f"""
    INSERT INTO runglass.budgets AS old (
        site_id, app_type, period, soft_limit, hard_limit, time_zone, created_by, updated_by
    )
    SELECT new.site_id, %(app_type)s, %(period)s, %(soft_limit)s, %(hard_limit)s, %(time_zone)s, %(actor)s,
        %(actor)s
    FROM (SELECT %(site_id)s::text AS site_id) AS new
    WHERE {{scope}}
    ON CONFLICT ((coalesce(site_id, '')), (coalesce(app_type, '')), period) DO UPDATE SET
        soft_limit = excluded.soft_limit, hard_limit = excluded.hard_limit, time_zone = excluded.time_zone,
        updated_by = excluded.updated_by, updated_at = now()
    RETURNING {BUDGET_COLUMNS}""",
    column="new.site_id",
)

DELETE_BUDGET = SiteStatement("DELETE FROM runglass.budgets WHERE id = %(id)s AND {scope}")

# The many jobs of a batch share one value per app, so they are counted before they are taken apart.
SUM_RESERVED = SiteStatement(
    """
    SELECT app.name,
        coalesce(round(sum(app.tokens::float8 * jobs) FILTER (WHERE NOT is_released)), 0)::bigint,
        coalesce(round(sum(app.tokens::float8 * jobs) FILTER (WHERE is_released)), 0)::bigint
    FROM (
        SELECT reserved_tokens, reservation_released_at IS NOT NULL AS is_released, count(*) AS jobs
        FROM biz.ai_trigger_jobs
        WHERE reserved_tokens IS NOT NULL AND status IN ('pending', 'running') AND {scope}
        GROUP BY reserved_tokens, is_released
    ) AS reserved
    CROSS JOIN LATERAL jsonb_each_text(reserved_tokens) AS app(name, tokens)
    GROUP BY app.name"""
)


async def get_budgets(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> list[BudgetRow]:
    """The budgets with these ids that lie in the scope, in no order."""
    return await fetch_all(connection, BudgetRow, GET_BUDGETS, scope, {"ids": list(ids)})


async def list_budgets(connection: Connection, *, scope: Scope, page: PageRequest) -> Page[BudgetRow]:
    """One page of the budgets in the scope; those of every site are in the scope of every site only."""
    keys, order, values = keyset(page)
    statement = SiteStatement(f"SELECT {BUDGET_COLUMNS} FROM runglass.budgets WHERE {{scope}}{keys}{order}")
    return page_of(page, await fetch_all(connection, BudgetRow, statement, scope, values))


async def count_budgets(connection: Connection, *, scope: Scope, limit: int) -> int:
    """How many budgets there are, counted no further than `limit`."""
    statement = SiteStatement(
        "SELECT count(*) FROM (SELECT FROM runglass.budgets WHERE {scope} LIMIT %(limit)s) AS matching"
    )
    return await fetch_count(connection, statement, scope, {"limit": limit})


def budgets_of_sites(*, scope: Scope) -> Read[list[BudgetRow]]:
    """The budgets of these sites and those of every site, by id."""
    return site_read(BudgetRow, BUDGETS_OF_SITES, scope, list)


async def lock_hard_budgets(
    transaction: Connection, *, scope: Scope, app_types: Sequence[str]
) -> list[BudgetRow]:
    """The budgets with a hard limit that bind these sites and apps, locked until the transaction ends."""
    return await fetch_all(transaction, BudgetRow, LOCK_HARD_BUDGETS, scope, {"app_types": list(app_types)})


async def lock_budget(transaction: Connection, *, scope: Scope, budget_id: int) -> BudgetRow | None:
    """The budget, locked until the transaction ends, or None where it is not in the scope."""
    return await fetch_one(transaction, BudgetRow, LOCK_BUDGET, scope, {"id": budget_id})


async def lock_budget_of(
    transaction: Connection, *, scope: Scope, site_id: str | None, app_type: str | None, period: str
) -> BudgetRow | None:
    """The budget of exactly this site, app and period, locked until the transaction ends."""
    values = {"site_id": site_id, "app_type": app_type, "period": period}
    return await fetch_one(transaction, BudgetRow, LOCK_BUDGET_OF, scope, values)


async def set_budget(
    transaction: Connection,
    *,
    scope: Scope,
    site_id: str | None,
    app_type: str | None,
    period: str,
    soft_limit: int | None,
    hard_limit: int | None,
    time_zone: str,
    actor: str,
) -> BudgetRow | None:
    """Add the budget or change the one of the same site, app and period; None where it is out of scope."""
    values = {
        "site_id": site_id,
        "app_type": app_type,
        "period": period,
        "soft_limit": soft_limit,
        "hard_limit": hard_limit,
        "time_zone": time_zone,
        "actor": actor,
    }
    return await fetch_one(transaction, BudgetRow, SET_BUDGET, scope, values)


async def delete_budget(transaction: Connection, *, scope: Scope, budget_id: int) -> None:
    """Remove the budget."""
    await transaction.execute(DELETE_BUDGET.sql(scope), {"id": budget_id, **scope.parameters()})


async def reserved_by_app(connection: Connection, *, scope: Scope) -> dict[str, ReservedRow]:
    """Tokens reserved for the unfinished jobs of these sites, by app."""
    rows = await fetch_all(connection, ReservedRow, SUM_RESERVED, scope, {})
    return {row.app_type: row for row in rows}
