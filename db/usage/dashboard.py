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
    """The statement for the apps that `apps` gives: a descent of an index for each, however long the log is.

    COLLATE, because the roll-ups' own collation would keep the log's indexes from being used.

    The app is named three times, so that the planner expects few rows and takes the index by app. It thinks
    every app as busy as the others, and would go through the log from its end to the newest run of each:
    through months of it for an app that was retired. `db.sql.conditions.equal` says it only twice, because
    who expects too few rows sorts them all; here one row is wanted of each app.
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
