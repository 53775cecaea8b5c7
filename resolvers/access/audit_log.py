"""The audit log, for admins."""

from __future__ import annotations

from db.access import audit_log as store
from db.access.audit_log import AuditFilter, AuditRow
from db.postgres.pool import Database
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope


async def list_audit_log(
    database: Database, scope: Scope, wanted: AuditFilter, page: PageRequest
) -> Page[AuditRow]:
    """One page of the entries that match."""
    async with database.connection() as connection:
        return await store.list_audit_log(connection, scope=scope, wanted=wanted, page=page)


async def count_audit_log(database: Database, scope: Scope, wanted: AuditFilter, most: int) -> int:
    """How many entries match, counted no further than `most`."""
    async with database.connection() as connection:
        return await store.count_audit_log(connection, scope=scope, wanted=wanted, most=most)
