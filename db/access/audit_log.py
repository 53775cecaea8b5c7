"""The audit log: who changed what. Table: runglass.audit_log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple

from psycopg.types.json import Jsonb

from db.postgres.pool import Connection, fetch_all, fetch_by_ids, fetch_count
from db.sql.audit_entries import Change, insert_audit_entry
from db.sql.conditions import CREATED_RANGE, conditions_of
from db.sql.keyset import Page, PageRequest, keyset, page_of, within
from db.sql.long_texts import cut, is_cut, json_text
from db.sql.scope import Scope, SiteStatement


class AuditRow(NamedTuple):
    """A change. A row without a site concerns all of them, and is seen by the scope of every site only.

    `before` and `after` are JSON's text.
    """

    id: int
    created_at: datetime
    actor: str
    actor_id: str | None
    address: str | None
    action: str
    site_id: str | None
    target_kind: str
    target_id: str | None
    before: str | None
    after: str | None
    before_truncated: bool
    after_truncated: bool


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions on entries, all of which must hold. Times are half-open: from <= created_at < to."""

    actor: str | None = None
    actor_id: str | None = None
    action: str | None = None
    target_kind: str | None = None
    target_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None


AUDIT_COLUMNS: LiteralString = f"""
    id, created_at, actor, actor_id, address, action, site_id, target_kind, target_id,
    {cut(json_text("before"))}, {cut(json_text("after"))}, {is_cut(json_text("before"))},
    {is_cut(json_text("after"))}"""

INSERT_AUDIT_ENTRY = insert_audit_entry(
    site_id="%(site_id)s::text",
    target_id="%(target_id)s::text",
    before="%(before)s::jsonb",
    after="%(after)s::jsonb",
)

GET_AUDIT_ENTRIES = SiteStatement(
    f"SELECT {AUDIT_COLUMNS} FROM runglass.audit_log WHERE id = ANY(%(ids)s) AND {{scope}}"
)

_FRAGMENTS: dict[str, LiteralString] = {
    "actor": "actor = %(actor)s",
    "actor_id": "actor_id = %(actor_id)s",
    "action": "action = %(action)s",
    "target_kind": "target_kind = %(target_kind)s",
    "target_id": "target_id = %(target_id)s",
    **CREATED_RANGE,
}


async def add_audit_entry(
    connection: Connection,
    change: Change,
    *,
    site_id: str | None,
    target_id: str | None,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    """Add an entry within the caller's transaction, so that it stands or falls with the change."""
    await connection.execute(
        INSERT_AUDIT_ENTRY,
        {
            **change._asdict(),
            "site_id": site_id,
            "target_id": target_id,
            "before": None if before is None else Jsonb(before),
            "after": None if after is None else Jsonb(after),
        },
    )


async def get_audit_entries(
    connection: Connection, *, scope: Scope, ids: Sequence[int], whole: bool = False
) -> list[AuditRow]:
    """The entries with these ids that lie in the scope, in no order."""
    return await fetch_by_ids(connection, AuditRow, GET_AUDIT_ENTRIES, scope, ids, whole)


async def list_audit_log(
    connection: Connection, *, scope: Scope, filters: AuditFilter, page: PageRequest
) -> Page[AuditRow]:
    """One page of the entries that match."""
    ends, filters = within(page, filters)
    conditions, values = conditions_of(filters, _FRAGMENTS)
    keys, order, key_values = keyset(ends)
    statement = SiteStatement(
        f"SELECT {AUDIT_COLUMNS} FROM runglass.audit_log WHERE {{scope}}{conditions}{keys}{order}"
    )
    return page_of(page, await fetch_all(connection, AuditRow, statement, scope, values | key_values))


async def count_audit_log(connection: Connection, *, scope: Scope, filters: AuditFilter, limit: int) -> int:
    """How many entries match, counted no further than `limit`."""
    conditions, values = conditions_of(filters, _FRAGMENTS)
    statement = SiteStatement(
        "SELECT count(*) FROM (SELECT FROM runglass.audit_log"
        f" WHERE {{scope}}{conditions} LIMIT %(limit)s) AS matching"
    )
    return await fetch_count(connection, statement, scope, values | {"limit": limit})
