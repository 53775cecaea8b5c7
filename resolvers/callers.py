"""Who asks: the caller of a use-case, as far as a use-case needs to know."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from db.audit_log import insert_audit_entry
from db.pool import Connection
from db.scope import Scope


class Role(StrEnum):
    """What a caller may do; each role may do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: a name for the audit log, the sites it may see, its role, and its address, if known.

    `reads_texts` is the permission to read prompts and responses, which no role brings by itself.
    """

    name: str
    scope: Scope
    role: Role
    reads_texts: bool = False
    address: str | None = None


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
    await insert_audit_entry(
        transaction,
        actor=caller.name,
        address=caller.address,
        action=action,
        site_id=site_id,
        target_kind=kind,
        target_id=None if target_id is None else str(target_id),
        before=before,
        after=after,
    )
