"""Alerts: list them, and say what is done about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from db.postgres.pool import Connection, Database
from db.runs import alerts as store
from db.runs.alerts import AlertFilter, AlertRow
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope
from resolvers.access.callers import Caller, change_by
from resolvers.errors import Conflict, NotFound, Refusal
from resolvers.selection import (
    SAMPLE,
    BulkRequest,
    BulkResult,
    audit_changed,
    choose,
    outcomes_of,
    refused_of,
)

AlertStatus = Literal["pending", "acknowledged", "ignored"]
# The states of a run that make it an alert.
ALERT_RUN_STATUSES = frozenset(("failed", "timeout", "circuit_open"))
_ACTIONS: dict[AlertStatus, str] = {
    "acknowledged": "ackAlert",
    "ignored": "ignoreAlert",
    "pending": "reopenAlert",
}
_UNSAID = ("pending",)
_SAID = ("acknowledged", "ignored")


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


@dataclass(frozen=True, slots=True)
class AlertsRequest(BulkRequest[AlertFilter]):
    """What is asked of many alerts."""

    noun = "alert"

    def narrowed(self, alert_status: AlertStatus) -> AlertsRequest:
        """Of a filter only what does not have that status yet.

        Where it names none, what an operator has said already stays said.
        """
        if self.filters is None:
            return self
        asked = self.filters.alert_statuses
        if asked is None:
            kept = _SAID if alert_status == "pending" else _UNSAID
        else:
            kept = tuple(status for status in asked if status != alert_status)
        return replace(self, filters=replace(self.filters, alert_statuses=kept))

    def conditions(self, filters: AlertFilter) -> dict[str, Any]:
        """What the filter asks for."""
        return {
            "appType": filters.app_type,
            "alertStatus": filters.alert_statuses,
            "createdFrom": filters.created_from and filters.created_from.isoformat(),
            "createdTo": filters.created_to and filters.created_to.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class ChangedAlerts(BulkResult):
    """What became of alerts that were to be acknowledged, ignored or reopened."""


class _Plan(NamedTuple):
    """Which alerts are changed, as they were, in the order asked, and why the others are not."""

    alerts: dict[int, AlertRow]
    refused: dict[int, Refusal]


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
        raise _same(alert_status, changed.former_actor)
    return changed.alert


async def set_alerts_status(
    database: Database, caller: Caller, request: AlertsRequest, alert_status: AlertStatus
) -> ChangedAlerts:
    """Change many alerts as `set_alert_status` does, in one transaction; one that cannot be hinders no other.

    Of a filter that names no status, only pending alerts are acknowledged or ignored, and only acknowledged
    and ignored ones reopened. Raises InvalidInput for a request that cannot be carried out, and where more
    alerts are meant than its limit.
    """
    request = request.checked().narrowed(alert_status)
    async with database.transaction() as transaction:
        chosen = await choose(transaction, caller.scope, request, store.list_alerts, store.count_alerts)
        if not chosen.is_whole:
            return ChangedAlerts(True, chosen.matched, 0, [], chosen.ids)
        plan = await _plan(transaction, caller, chosen.ids, alert_status, lock=not request.is_dry_run)
        if plan.alerts and not request.is_dry_run:
            await store.set_alerts_status(
                transaction,
                scope=caller.scope,
                ids=list(plan.alerts),
                alert_status=alert_status,
                actor=caller.name,
            )
            changed = list(plan.alerts.values())
            await audit_changed(transaction, caller, f"{_ACTIONS[alert_status]}s", request, changed)
    done = {} if request.is_dry_run else {alert_id: alert_id for alert_id in plan.alerts}
    outcomes = outcomes_of(chosen, plan.refused, done)
    count = len(plan.alerts)
    return ChangedAlerts(request.is_dry_run, chosen.matched, count, outcomes, chosen.ids[:SAMPLE])


async def _plan(
    transaction: Connection,
    caller: Caller,
    ids: Sequence[int],
    alert_status: AlertStatus,
    *,
    lock: bool,
) -> _Plan:
    get_alerts = store.lock_alerts if lock else store.get_alerts
    alerts = {alert.id: alert for alert in await get_alerts(transaction, scope=caller.scope, ids=ids)}
    refused = refused_of({alert_id: _refusal(alerts.get(alert_id), alert_status) for alert_id in ids})
    return _Plan({alert_id: alerts[alert_id] for alert_id in ids if alert_id not in refused}, refused)


def _refusal(alert: AlertRow | None, alert_status: AlertStatus) -> Refusal | None:
    if alert is None:
        return NotFound("There is no such alert.")
    return _same(alert_status, alert.alert_changed_by) if alert.alert_status == alert_status else None


def _same(alert_status: AlertStatus, actor: str | None) -> Conflict:
    by = f" by {actor}" if actor else ""
    return Conflict(f"This alert is already {alert_status}{by}.")
