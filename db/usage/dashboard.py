"""What the dashboard reads beside the roll-ups: the newest run of each app. Table: biz.ai_run_logs."""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString, NamedTuple

from db.postgres.connection import Read
from db.postgres.pool import site_read
from db.sql.conditions import DATED
from db.sql.scope import Scope, SiteStatement
from db.usage.rollups import APPS_OF_EVERY_SITE, APPS_OF_SITES


class LatestRunRow(NamedTuple):
    """The newest run of an app."""

    app_type: str
    status: str
    created_at: datetime


def _newest_of(apps: LiteralString) -> SiteStatement:
    """A statement that finds the newest run of each app that the query `apps` gives.

    It goes down an index once for each app, so it takes as long for a long log as for a short one. COLLATE
    is there because the roll-ups' own collation would keep PostgreSQL from using the log's indexes.

    The condition on the app stands there three times. Each repetition makes the planner expect fewer rows, so
    that it takes the index by app. Otherwise it believes that each app is as busy as the others, and reads
    the log backwards until it meets each of them: months of it, for an app that was retired.
    """
    return SiteStatement(
        f"""
    SELECT app.app_type, latest.status, latest.created_at
    FROM (SELECT app_type COLLATE "default" AS app_type FROM ({apps}) AS known) AS app
    CROSS JOIN LATERAL (
        SELECT coalesce(status, '') AS status, created_at FROM biz.ai_run_logs
        WHERE app_type = app.app_type AND app_type >= app.app_type AND app_type <= app.app_type AND {DATED}
            AND {{scope}}
        ORDER BY created_at DESC, id DESC LIMIT 1
    ) AS latest
    WHERE app.app_type <> ''"""
    )


_OF_EVERY_SITE = _newest_of(APPS_OF_EVERY_SITE)
_OF_SITES = _newest_of(APPS_OF_SITES)


def latest_runs(*, scope: Scope) -> Read[list[LatestRunRow]]:
    """The newest run of every app that was ever called, in the order of their names."""
    statement = _OF_EVERY_SITE if scope.sites is None else _OF_SITES
    return site_read(LatestRunRow, statement, scope, sorted)
