"""What the dashboard reads beside the roll-ups: the newest run of each app. Table: biz.ai_run_logs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from db.pool import Connection, fetch_all
from db.scope import Scope, SiteStatement


class LatestRunRow(NamedTuple):
    """The newest run of an app."""

    app_type: str
    status: str
    created_at: datetime


# One descent of the (site, app, created_at) index per app, however long the log is.
LATEST_RUNS = SiteStatement(
    """
    SELECT app.type, latest.status, latest.created_at
    FROM unnest(%(app_types)s::text[]) AS app(type)
    CROSS JOIN LATERAL (
        SELECT coalesce(status, '') AS status, created_at FROM biz.ai_run_logs
        WHERE app_type = app.type AND {scope}
        ORDER BY created_at DESC, id DESC LIMIT 1
    ) AS latest"""
)


async def latest_runs(
    connection: Connection, *, scope: Scope, app_types: Sequence[str]
) -> list[LatestRunRow]:
    """The newest run of each of these apps; an app without runs has no row."""
    return await fetch_all(connection, LatestRunRow, LATEST_RUNS, scope, {"app_types": list(app_types)})
