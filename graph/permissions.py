"""What a caller may do, declared on fields.

| role | reads | retries, acknowledges, invalidates, estimates, confirms, records | keys, budgets, audit |
| --- | --- | --- | --- |
| viewer | yes | no | no |
| operator | yes | yes | no |
| admin | yes | yes | yes |

Prompts and responses need a permission of their own, which no role brings by itself.
"""

from __future__ import annotations

from typing import Any

import strawberry
from strawberry.permission import BasePermission

from graph.context import Context
from graph.errors import ApiError, ErrorCode
from resolvers.callers import Role


class RequiresRole(BasePermission):
    """Allows callers of one of `roles`."""

    roles: frozenset[Role] = frozenset(Role)
    message = "Your role does not allow this."

    def has_permission(self, source: Any, info: strawberry.Info[Context, None], **kwargs: Any) -> bool:
        """Whether the caller's role is among `roles`."""
        return info.context.caller.role in self.roles

    def on_unauthorized(self) -> None:
        """Answer FORBIDDEN."""
        raise ApiError(ErrorCode.FORBIDDEN, str(self.message))


class Operates(RequiresRole):
    """For operators and admins."""

    roles = frozenset((Role.OPERATOR, Role.ADMIN))
    message = "This needs the role operator or admin."


class Administers(RequiresRole):
    """For admins."""

    roles = frozenset((Role.ADMIN,))
    message = "This needs the role admin."


class ReadsTexts(BasePermission):
    """For callers that may read prompts, responses and cached answers."""

    def has_permission(self, source: Any, info: strawberry.Info[Context, None], **kwargs: Any) -> bool:
        """Whether the caller has the permission."""
        return info.context.caller.reads_texts

    def on_unauthorized(self) -> None:
        """Answer FORBIDDEN."""
        raise ApiError(ErrorCode.FORBIDDEN, "Prompts and responses need a permission of their own.")
