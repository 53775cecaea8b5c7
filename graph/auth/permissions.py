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
from graphql import GraphQLField
from strawberry.permission import BasePermission

from graph.context import Context
from graph.errors import ApiError, ErrorCode
from resolvers.access.callers import Caller, Role


class Permission(BasePermission):
    """Asks nothing but who the caller is, so that it can be checked before anything of a request is run."""

    message = ""

    @classmethod
    def allows(cls, caller: Caller) -> bool:
        """Whether the caller has it."""
        raise NotImplementedError

    def has_permission(self, source: Any, info: strawberry.Info[Context, None], **kwargs: Any) -> bool:
        """Whether the caller of the operation has it."""
        return self.allows(info.context.caller)

    def on_unauthorized(self) -> None:
        """Answer FORBIDDEN."""
        raise self.refusal()

    @classmethod
    def refusal(cls) -> ApiError:
        """The error of a caller without it."""
        return ApiError(ErrorCode.FORBIDDEN, str(cls.message))


class RequiresRole(Permission):
    """Allows callers of one of `roles`."""

    roles: frozenset[Role] = frozenset(Role)
    message = "Your role does not allow this."

    @classmethod
    def allows(cls, caller: Caller) -> bool:
        """Whether the caller's role is among `roles`."""
        return caller.role in cls.roles


class Operates(RequiresRole):
    """For operators and admins."""

    roles = frozenset((Role.OPERATOR, Role.ADMIN))
    message = "This needs the role operator or admin."


class Administers(RequiresRole):
    """For admins."""

    roles = frozenset((Role.ADMIN,))
    message = "This needs the role admin."


class ReadsTexts(Permission):
    """For callers that may read prompts, responses and cached answers."""

    message = "Prompts and responses need a permission of their own."

    @classmethod
    def allows(cls, caller: Caller) -> bool:
        """Whether the caller has the permission."""
        return caller.reads_texts


def permissions_of(definition: GraphQLField) -> list[type[Permission]]:
    """What a field of the schema needs that can be checked at once."""
    declared: Any = definition.extensions.get("strawberry-definition")
    classes: list[type[BasePermission]] = getattr(declared, "permission_classes", None) or []
    return [each for each in classes if issubclass(each, Permission)]


def refusal_at(definition: GraphQLField, caller: Caller) -> ApiError | None:
    """The error of a caller who may not have the field."""
    lacking = next((each for each in permissions_of(definition) if not each.allows(caller)), None)
    return lacking.refusal() if lacking else None
