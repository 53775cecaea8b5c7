"""What the dashboard reads beside the roll-ups: the newest run of each app. Table: biz.ai_run_logs."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from db.connection import Read
from db.pool import site_read
from db.rollups import APP_TYPES
from db.scope import Scope, SiteStatement


class LatestRunRow(NamedTuple):
    """The newest run of an app."""

    app_type: str
    status: str
    created_at: datetime


# One descent of the (site, app, created_at) index per app, however long the log is.
LATEST_RUNS = SiteStatement(
    f"""
    SELECT app.app_type, latest.status, latest.created_at
    FROM ({APP_TYPES}) AS app
    CROSS JOIN LATERAL (
        SELECT coalesce(status, '') AS status, created_at FROM biz.ai_run_logs
        WHERE app_type = app.app_type AND {{scope}}
        ORDER BY created_at DESC, id DESC LIMIT 1
    ) AS latest"""
)


def latest_runs(*, scope: Scope) -> Read[list[LatestRunRow]]:
    """The newest run of every app that was ever called, in the order of their names."""
    return site_read(LatestRunRow, LATEST_RUNS, scope, sorted)
