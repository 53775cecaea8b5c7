"""The audit log: who changed what. Table: runglass.audit_log."""

from __future__ import annotations

from typing import Any, LiteralString

from psycopg.types.json import Jsonb

from db.pool import Connection

INSERT_AUDIT_ENTRY: LiteralString = """
INSERT INTO runglass.audit_log
    (actor, address, action, site_id, target_kind, target_id, before, after)
VALUES
    (%(actor)s, %(address)s, %(action)s, %(site_id)s, %(target_kind)s, %(target_id)s, %(before)s, %(after)s)
"""


async def insert_audit_entry(
    connection: Connection,
    *,
    actor: str,
    address: str | None,
    action: str,
    site_id: str | None,
    target_kind: str,
    target_id: str | None,
    before: dict[str, Any] | None,
    after: dict[str, Any] | None,
) -> None:
    """Add an entry within the caller's transaction, so that it stands or falls with the change."""
    await connection.execute(
        INSERT_AUDIT_ENTRY,
        {
            "actor": actor,
            "address": address,
            "action": action,
            "site_id": site_id,
            "target_kind": target_kind,
            "target_id": target_id,
            "before": None if before is None else Jsonb(before),
            "after": None if after is None else Jsonb(after),
        },
    )
