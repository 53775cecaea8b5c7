"""Which apps workers serve, as they say themselves. Tables: runglass.served_apps, and the totals of runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString, NamedTuple

from db.postgres.pool import Connection, fetch_all, fetch_unscoped
from db.sql.scope import Scope, SiteStatement


class ServedRow(NamedTuple):
    """An app that a worker has served; `is_served` tells whether one does so still."""

    app_type: str
    is_served: bool


class SeenRow(NamedTuple):
    """A site of which runs are known; or, with `app_type`, an app of which it has runs."""

    site_id: str
    app_type: str | None


# In one order, so that two workers that say so at once do not wait for each other.
MARK_SERVED: LiteralString = """
INSERT INTO runglass.served_apps AS known (app_type, served_until)
SELECT app_type, now() + %(seconds)s * interval '1 second'
FROM unnest(%(app_types)s::text[]) AS app(app_type) ORDER BY app_type
ON CONFLICT (app_type) DO UPDATE SET served_until = greatest(known.served_until, excluded.served_until)"""

LIST_SERVED: LiteralString = """
SELECT app_type, served_until >= now() FROM runglass.served_apps WHERE app_type = ANY(%(app_types)s)"""

# What is not folded yet is of the last seconds, and so are few rows.
LIST_SEEN = SiteStatement(
    """
    SELECT site_id, app_type
    FROM unnest(%(site_ids)s::text[], %(app_types)s::text[]) AS asked(site_id, app_type)
    WHERE {scope} AND (
        EXISTS (
            SELECT FROM runglass.run_totals AS total WHERE total.site_id = asked.site_id
              AND (asked.app_type IS NULL OR total.app_type = asked.app_type)
        ) OR EXISTS (
            SELECT FROM runglass.run_log_deltas AS delta WHERE delta.site_id = asked.site_id
              AND (asked.app_type IS NULL OR delta.app_type = asked.app_type)
        )
    )""",
    column="asked.site_id",
)


async def mark_served(connection: Connection, *, app_types: Sequence[str], seconds: float) -> None:
    """Say that a worker serves these apps, for so many seconds."""
    await connection.execute(MARK_SERVED, {"app_types": list(app_types), "seconds": seconds})


async def list_served(connection: Connection, *, app_types: Sequence[str]) -> list[ServedRow]:
    """Those of these apps that a worker has ever served, in no order."""
    return await fetch_unscoped(connection, ServedRow, LIST_SERVED, {"app_types": list(app_types)})


async def list_seen(connection: Connection, *, scope: Scope, asked: Sequence[SeenRow]) -> list[SeenRow]:
    """Those of these sites, and of these apps of sites, of which runs are known, in no order."""
    values = {"site_ids": [each.site_id for each in asked], "app_types": [each.app_type for each in asked]}
    return await fetch_all(connection, SeenRow, LIST_SEEN, scope, values)
