"""Alerts: runs that failed, timed out or met an open circuit, and what an operator said of them.

Table: biz.ai_run_logs. alert_status NULL means pending.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from db.postgres.connection import Read
from db.postgres.pool import Connection, fetch_all, fetch_by_ids, fetch_count, site_read
from db.sql.audit_entries import Change, insert_audit_entry
from db.sql.conditions import CREATED_RANGE, DATED, conditions_of, equal, has_place
from db.sql.keyset import Page, PageRequest, keyset, page_of, within
from db.sql.long_texts import cut, is_cut, name
from db.sql.scope import Scope, SiteStatement


class AlertRow(NamedTuple):
    """An alert. Its id is the id of the run that raised it."""

    id: int
    site_id: str
    app_type: str
    trigger_type: str | None
    member_id: str | None
    status: str
    error_message: str | None
    alert_status: str
    alert_changed_by: str | None
    alert_changed_at: datetime | None
    created_at: datetime
    error_message_truncated: bool


class AlertChange(NamedTuple):
    """What was said of an alert before, and the alert as it is then; None where the same had been said."""

    former_status: str
    former_actor: str | None
    alert: AlertRow | None


ALERT_COLUMNS: LiteralString = f"""
    id, coalesce({name("site_id")}, ''), coalesce({name("app_type")}, ''), {name("trigger_type")},
    {name("member_id")}, {name("status")}, {cut("error_message::text")},
    coalesce({name("alert_status")}, 'pending') AS alert_status,
    alert_changed_by, alert_changed_at, created_at, {is_cut("error_message::text")}"""

# Spelled exactly as the partial indexes spell it, so that the planner may use them.
_IS_ALERT: LiteralString = "status IN ('failed', 'timeout', 'circuit_open')"
_IS_PENDING: LiteralString = "(alert_status IS NULL OR alert_status = 'pending')"

_STATUS_CONDITIONS: dict[str, LiteralString] = {
    "pending": _IS_PENDING,
    "acknowledged": "alert_status = 'acknowledged'",
    "ignored": "alert_status = 'ignored'",
    "unknown": "alert_status NOT IN ('pending', 'acknowledged', 'ignored')",
}


@dataclass(frozen=True, slots=True)
class AlertFilter:
    """Conditions on alerts, all of which must hold. Times are half-open: from <= created_at < to."""

    alert_statuses: tuple[str, ...] | None = None
    app_type: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


GET_ALERTS = SiteStatement(
    f"SELECT {ALERT_COLUMNS} FROM biz.ai_run_logs WHERE id = ANY(%(ids)s) AND {_IS_ALERT} AND {DATED}"
    " AND {scope}"
)

# In the order of their ids, so that no two transactions wait for each other.
LOCK_ALERTS = SiteStatement(
    f"""
    SELECT {ALERT_COLUMNS} FROM biz.ai_run_logs
    WHERE id = ANY(%(ids)s) AND {_IS_ALERT} AND {DATED} AND {{scope}} ORDER BY id FOR UPDATE"""
)

SET_ALERTS_STATUS = SiteStatement(
    f"""
    WITH changed AS (
        UPDATE biz.ai_run_logs
        SET alert_status = %(alert_status)s, alert_changed_by = %(actor)s, alert_changed_at = now()
        WHERE id = ANY(%(ids)s) AND {_IS_ALERT} AND {{scope}} RETURNING id
    )
    SELECT count(*) FROM changed"""
)

SET_ALERT_STATUS = SiteStatement(
    f"""
    WITH alert AS (
        SELECT id AS run_id, created_at AS run_created_at, coalesce(site_id::text, '') AS site,
            coalesce(alert_status::text, 'pending') AS former_status, alert_changed_by AS former_actor
        FROM biz.ai_run_logs
        WHERE id = %(id)s AND {_IS_ALERT} AND {DATED} AND {{scope}} FOR UPDATE
    ), changed AS (
        UPDATE biz.ai_run_logs SET alert_status = %(alert_status)s::text, alert_changed_by = %(actor)s::text,
            alert_changed_at = now()
        FROM alert
        WHERE id = run_id AND created_at = run_created_at AND former_status <> %(alert_status)s::text
        RETURNING {ALERT_COLUMNS}
    ), audited AS ({
        insert_audit_entry(
            site_id="site",
            target_id="run_id::text",
            before="jsonb_build_object('alertStatus', former_status)",
            after="jsonb_build_object('alertStatus', %(alert_status)s::text)",
            source="FROM changed CROSS JOIN alert",
        )
    }
    )
    SELECT former_status, former_actor, changed.* FROM alert LEFT JOIN changed ON true"""
)


# The pending ones, then what is left of the ten newest: where fewer than ten are pending, the ten newest
# alerts hold those that are shown of the others. Asking for the newest of the others themselves makes the
# planner guess how many there are, and where it guesses few, it sorts them all. The first ten of one part
# after the other need no sorting, and where ten are pending, the second is never read.
RECENT_ALERTS = SiteStatement(
    f"""
    SELECT * FROM (
        (SELECT {ALERT_COLUMNS} FROM biz.ai_run_logs
         WHERE {_IS_ALERT} AND {_IS_PENDING} AND {DATED} AND {{scope}}
         ORDER BY created_at DESC, id DESC LIMIT 10)
        UNION ALL
        SELECT * FROM (
            SELECT {ALERT_COLUMNS} FROM biz.ai_run_logs
            WHERE {_IS_ALERT} AND {DATED} AND {{scope}}
            ORDER BY created_at DESC, id DESC LIMIT 10
        ) AS newest WHERE alert_status <> 'pending'
        LIMIT 10
    ) AS alert"""
)

_FRAGMENTS: dict[str, LiteralString] = {"app_type": equal("app_type", "app_type"), **CREATED_RANGE}


def _conditions(filters: AlertFilter) -> tuple[LiteralString, dict[str, Any]]:
    sql, values = conditions_of(filters, _FRAGMENTS)
    if filters.alert_statuses is None:
        return sql, values
    alternatives: list[LiteralString] = [
        condition for word, condition in _STATUS_CONDITIONS.items() if word in filters.alert_statuses
    ]
    chosen: LiteralString = " OR ".join(alternatives) if alternatives else "FALSE"
    return f" AND ({chosen})" + sql, values


async def list_alerts(
    connection: Connection, *, scope: Scope, filters: AlertFilter, page: PageRequest
) -> Page[AlertRow]:
    """One page of the alerts that match."""
    scope, filters = scope.matching("ai_run_logs", filters)
    ends, filters = within(page, filters)
    conditions, values = _conditions(filters)
    keys, order, key_values = keyset(ends, of_adopted=True)
    statement = SiteStatement(
        f"SELECT {ALERT_COLUMNS} FROM biz.ai_run_logs"
        f" WHERE {_IS_ALERT} AND {{scope}}{conditions}{keys}{order}"
    )
    return page_of(page, await fetch_all(connection, AlertRow, statement, scope, values | key_values))


async def count_alerts(
    connection: Connection, *, scope: Scope, filters: AlertFilter, limit: int, dated: bool = True
) -> int:
    """How many alerts match, counted no further than `limit`; without `dated` those that no page shows."""
    scope, filters = scope.matching("ai_run_logs", filters)
    conditions, values = _conditions(filters)
    statement = SiteStatement(
        "SELECT count(*) FROM (SELECT FROM biz.ai_run_logs"
        f" WHERE {_IS_ALERT} AND {has_place(dated)} AND {{scope}}{conditions} LIMIT %(limit)s) AS matching"
    )
    return await fetch_count(connection, statement, scope, values | {"limit": limit})


def recent_alerts(*, scope: Scope) -> Read[list[AlertRow]]:
    """The ten newest alerts, pending ones first."""
    return site_read(AlertRow, RECENT_ALERTS, scope, list)


async def get_alerts(
    connection: Connection, *, scope: Scope, ids: Sequence[int], whole: bool = False
) -> list[AlertRow]:
    """The alerts among these run ids that lie in the scope, in no order."""
    return await fetch_by_ids(connection, AlertRow, GET_ALERTS, scope, ids, whole)


async def set_alert_status(
    connection: Connection, *, scope: Scope, alert_id: int, alert_status: str, change: Change
) -> AlertChange | None:
    """Store what somebody says of an alert, and when; None where the id is no alert of the scope.

    It is one statement, and the audit log tells of it where it changes anything.
    """
    values = {**change._asdict(), **scope.parameters(), "id": alert_id, "alert_status": alert_status}
    rows = await connection.fetch(SET_ALERT_STATUS.sql(scope), connection.cutting(values), _alert_change)
    return rows[0] if rows else None


async def lock_alerts(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> list[AlertRow]:
    """The alerts among these run ids that lie in the scope, locked until the transaction ends."""
    return await fetch_all(connection, AlertRow, LOCK_ALERTS, scope, {"ids": list(ids)})


async def set_alerts_status(
    connection: Connection, *, scope: Scope, ids: Sequence[int], alert_status: str, actor: str
) -> int:
    """Store what the actor said of these alerts, and when; gives how many they are."""
    values = {"ids": list(ids), "alert_status": alert_status, "actor": actor}
    return await fetch_count(connection, SET_ALERTS_STATUS, scope, values)


def _alert_change(values: Sequence[Any]) -> AlertChange:
    status, actor, *row = values
    return AlertChange(status, actor, None if row[0] is None else AlertRow._make(row))
