"""The audit log, for admins."""

from __future__ import annotations

from db.access import audit_log as store
from db.access.audit_log import AuditFilter, AuditRow
from db.postgres.pool import Database
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope


async def list_audit_log(
    database: Database, scope: Scope, filters: AuditFilter, page: PageRequest
) -> Page[AuditRow]:
    """One page of the entries that match."""
    async with database.connection() as connection:
        return await store.list_audit_log(connection, scope=scope, filters=filters, page=page)


async def count_audit_log(database: Database, scope: Scope, filters: AuditFilter, limit: int) -> int:
    """How many entries match, counted no further than `limit`."""
    async with database.connection() as connection:
        return await store.count_audit_log(connection, scope=scope, filters=filters, limit=limit)
