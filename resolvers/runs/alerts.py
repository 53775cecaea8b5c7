"""Alerts: list them, and say what is done about them."""

from __future__ import annotations

from typing import Literal

from db.postgres.pool import Database
from db.runs import alerts as store
from db.runs.alerts import AlertFilter, AlertRow
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope
from resolvers.access.callers import Caller, change_by
from resolvers.errors import Conflict, NotFound

AlertStatus = Literal["pending", "acknowledged", "ignored"]
# The states of a run that make it an alert.
ALERT_RUN_STATUSES = frozenset(("failed", "timeout", "circuit_open"))
_ACTIONS: dict[AlertStatus, str] = {
    "acknowledged": "ackAlert",
    "ignored": "ignoreAlert",
    "pending": "reopenAlert",
}


async def list_alerts(
    database: Database, scope: Scope, filters: AlertFilter, page: PageRequest
) -> Page[AlertRow]:
    """One page of the alerts that match."""
    async with database.connection() as connection:
        return await store.list_alerts(connection, scope=scope, filters=filters, page=page)


async def count_alerts(
    database: Database, scope: Scope, filters: AlertFilter, limit: int, *, dated: bool = True
) -> int:
    """How many alerts match, counted no further than `limit`; without `dated` those that no page shows."""
    async with database.connection() as connection:
        return await store.count_alerts(connection, scope=scope, filters=filters, limit=limit, dated=dated)


async def set_alert_status(
    database: Database, caller: Caller, alert_id: int, alert_status: AlertStatus
) -> AlertRow:
    """Acknowledge, ignore or reopen an alert, and keep who did it and when.

    Raises NotFound where the id is no alert, or Conflict where the alert already has that status.
    """
    change = change_by(caller, _ACTIONS[alert_status], "alert")
    async with database.statement() as connection:
        changed = await store.set_alert_status(
            connection, scope=caller.scope, alert_id=alert_id, alert_status=alert_status, change=change
        )
    if changed is None:
        raise NotFound("There is no such alert.")
    if changed.alert is None:
        by = f" by {changed.former_actor}" if changed.former_actor else ""
        raise Conflict(f"This alert is already {alert_status}{by}.")
    return changed.alert
