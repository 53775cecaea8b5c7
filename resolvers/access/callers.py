"""Who asks: the caller of a use-case, as far as a use-case needs to know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from db.access.api_keys import IdentityRow
from db.access.audit_log import add_audit_entry
from db.postgres.pool import Connection, Database
from db.sql.audit_entries import Change
from db.sql.column_forms import ANY_TEXT, read_column_forms
from db.sql.scope import Scope


class Role(StrEnum):
    """What a caller may do; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether this role may do whatever the other may."""
        order = list(Role)
        return order.index(other) <= order.index(self)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a name for the audit log, the sites it may see, its role, and its address, if known.

    `reads_texts` is the permission to read prompts and responses, which no role brings by itself. `id` tells
    callers of one name apart: `key_3`, `session_5`, or `jwt:` and the token's subject.
    """

    name: str
    scope: Scope
    role: Role
    reads_texts: bool = False
    address: str | None = None
    id: str | None = None

    @property
    def identity(self) -> str:
        """What tells this caller from all others: whatever one caller gets a part of goes by it."""
        return self.id or self.name


def caller_of_key(key: IdentityRow, address: str | None = None) -> Caller:
    """The caller that a key stands for."""
    return _caller(key, f"key_{key.id}", address)


def caller_of_session(session: IdentityRow, address: str | None = None) -> Caller:
    """The caller that a session stands for."""
    return _caller(session, f"session_{session.id}", address)


async def in_database(database: Database, caller: Caller) -> Caller:
    """The caller, whose scope knows how this database spells ids. Callers that signed in do so already."""
    async with database.connection() as connection:
        forms = await read_column_forms(connection)
    return replace(caller, scope=caller.scope.spelled(forms or ANY_TEXT))


def _caller(row: IdentityRow, caller_id: str, address: str | None) -> Caller:
    scope = Scope(None if row.sites is None else frozenset(row.sites))
    return Caller(row.name, scope, Role(row.role), row.reads_texts, address, caller_id)


def change_by(caller: Caller, action: str, target_kind: str) -> Change:
    """Who makes a change, for a statement that writes down its own entry of the audit log."""
    return Change(caller.name, caller.id, caller.address, action, target_kind)


async def audit(
    transaction: Connection,
    caller: Caller,
    action: str,
    target: tuple[str, object],
    *,
    site_id: str | None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    """Write down a change within its own transaction.

    `target` is the kind and the id of the object; `before` and `after` hold what changed, and no secret.
    """
    kind, target_id = target
    await add_audit_entry(
        transaction,
        change_by(caller, action, kind),
        site_id=site_id,
        target_id=None if target_id is None else str(target_id),
        before=before,
        after=after,
    )
