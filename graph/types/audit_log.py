"""AuditEntry: one change, and who made it."""

from datetime import datetime
from typing import Any
from uuid import UUID

import strawberry
from strawberry.scalars import JSON

from db.access.audit_log import AuditFilter as Wanted
from db.access.audit_log import AuditRow
from graph.context import Context
from graph.types.bounds import FORMED
from graph.types.fields import numbered_id, resolved
from graph.types.ids import Kind, kind_of, parse_batch_id, parse_id, print_id
from graph.types.long_texts import long_json, truncated
from graph.types.node import Node
from graph.types.pagination import Connection
from graph.types.ranges import TimeRange, time_range

_TYPED = frozenset(Kind)


def _target_id(root: strawberry.Parent[AuditRow]) -> strawberry.ID | None:
    if root.target_id is None or root.target_kind not in _TYPED:
        return None if root.target_id is None else strawberry.ID(root.target_id)
    kind = Kind(root.target_kind)
    return strawberry.ID(print_id(kind, UUID(root.target_id) if kind is Kind.BATCH else int(root.target_id)))


@strawberry.type(description="One change: who made it, what it changed, when and from where.")
class AuditEntry(Node):
    """Resolved from an `AuditRow`."""

    id: strawberry.ID = numbered_id(Kind.AUDIT, "The typed id, such as audit_9.")
    created_at: datetime = strawberry.field(description="When it was made.")
    actor: str = strawberry.field(description="The name of the key, session or token that made it.")
    actor_id: str | None = strawberry.field(
        description="Which one it was: key_3, session_5, or jwt: and the token's subject."
    )
    address: str | None = strawberry.field(description="The network address it came from.")
    action: str = strawberry.field(description="The mutation, such as retryJob; signIn and signOut as well.")
    site_id: strawberry.ID | None = strawberry.field(
        description="The site it concerns; null where it concerns all."
    )
    target_kind: str = strawberry.field(description="What was changed, such as job or site.")
    target_id: strawberry.ID | None = resolved(
        _target_id, "Which one was changed: a typed id such as job_42, or the id of a site."
    )
    before: JSON | None = long_json("before", "What changed, as it was before.")
    before_truncated: bool = truncated("before")
    after: JSON | None = long_json("after", "What changed, as it was afterwards.")
    after_truncated: bool = truncated("after")

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, AuditRow)


@strawberry.type(description="A page of the audit log, newest first.")
class AuditEntryConnection(Connection[AuditEntry]):
    """A page of the audit log."""


@strawberry.input(description="Conditions on entries of the audit log. All that are given must hold.")
class AuditLogFilter:
    """Conditions on audit entries."""

    site_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only entries that concern this site."
    )
    actor: str | None = strawberry.field(default=None, description="Only changes by this name.")
    actor_id: str | None = strawberry.field(
        default=None, description="Only changes by this key, session or token, such as key_3."
    )
    action: str | None = strawberry.field(
        default=None, description="Only this kind of change, such as retryJob."
    )
    target_id: strawberry.ID | None = strawberry.field(
        metadata=FORMED,
        default=None,
        description="Only changes of this object, by its typed id such as job_42.",
    )
    created_at: TimeRange | None = strawberry.field(
        default=None, description="Only changes made within this time."
    )


def audit_filter(given: AuditLogFilter | None, context: Context) -> Wanted:
    """The filter as the store takes it. Raises BAD_USER_INPUT where the target is no typed id."""
    if given is None:
        return Wanted()
    start, end = time_range(given.created_at, context)
    kind, target = _target(given.target_id)
    return Wanted(
        actor=given.actor,
        actor_id=given.actor_id,
        action=given.action,
        target_kind=kind,
        target_id=target,
        created_from=start,
        created_to=end,
    )


def _target(text: str | None) -> tuple[str | None, str | None]:
    if text is None:
        return None, None
    kind = kind_of(text, "targetId")
    value = parse_batch_id(text, "targetId") if kind is Kind.BATCH else parse_id(text, kind, "targetId")
    return kind.value, str(value)
