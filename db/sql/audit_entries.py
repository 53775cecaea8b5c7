"""An entry of the audit log, written by the statement that makes the change or beside it.

Table: runglass.audit_log.
"""

from __future__ import annotations

from typing import LiteralString, NamedTuple


class Change(NamedTuple):
    """Who changes something, by which action, and the kind of object that is changed."""

    actor: str
    actor_id: str | None
    address: str | None
    action: str
    target_kind: str


def insert_audit_entry(
    *,
    site_id: LiteralString,
    target_id: LiteralString,
    before: LiteralString = "NULL::jsonb",
    after: LiteralString = "NULL::jsonb",
    source: LiteralString = "",
) -> LiteralString:
    """The INSERT of an entry for each row of `source`, which begins with FROM; without one, of one entry.

    The other arguments are expressions. The fields of a `Change` are the statement's values.
    """
    return f"""
    INSERT INTO runglass.audit_log
        (actor, actor_id, address, action, target_kind, site_id, target_id, before, after)
    SELECT %(actor)s::text, %(actor_id)s::text, %(address)s::text, %(action)s::text, %(target_kind)s::text,
        {site_id}, {target_id}, {before}, {after} {source}"""
