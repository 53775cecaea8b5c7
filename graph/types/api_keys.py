"""ApiKey: what a script signs in with."""

from datetime import datetime
from enum import Enum
from typing import Any

import strawberry

from db.access.api_keys import ApiKeyRow
from graph.types.fields import numbered_id, resolved
from graph.types.ids import Kind
from graph.types.node import Node
from graph.types.pagination import Connection
from graph.types.statuses import described
from graph.types.viewer import Role


@strawberry.enum(description="Whether a key may be used.")
class ApiKeyState(Enum):
    """Worked out from revoked_at and expires_at."""

    ACTIVE = described("active", "It may be used.")
    EXPIRED = described("expired", "Its time has run out.")
    REVOKED = described("revoked", "Somebody revoked it.")


def _role(root: strawberry.Parent[ApiKeyRow]) -> Role:
    return Role[root.role.upper()]


def _sites(root: strawberry.Parent[ApiKeyRow]) -> list[strawberry.ID] | None:
    return None if root.sites is None else [strawberry.ID(site) for site in root.sites]


def _state(root: strawberry.Parent[ApiKeyRow]) -> ApiKeyState:
    if root.revoked_at is not None:
        return ApiKeyState.REVOKED
    return ApiKeyState.EXPIRED if root.is_expired else ApiKeyState.ACTIVE


@strawberry.type(description="What a script signs in with. The key itself is shown once and kept nowhere.")
class ApiKey(Node):
    """Resolved from an `ApiKeyRow`."""

    id: strawberry.ID = numbered_id(Kind.KEY, "The typed id, such as key_3.")
    name: str = strawberry.field(description="Its name in the audit log.")
    key_prefix: str = strawberry.field(description="The key's first characters, to recognise it by.")
    role: Role = resolved(_role, "What it may do.")
    site_ids: list[strawberry.ID] | None = resolved(_sites, "The sites it may see; null for every site.")
    reads_texts: bool = strawberry.field(
        description="Whether it may read prompts, responses and cached answers."
    )
    state: ApiKeyState = resolved(_state, "Whether it may be used.")
    expires_at: datetime | None = strawberry.field(description="Until when it may be used; null for ever.")
    last_used_at: datetime | None = strawberry.field(
        description="When it was used last, to the minute; null for never."
    )
    created_by: str = strawberry.field(description="Who made it.")
    created_at: datetime = strawberry.field(description="When it was made.")
    revoked_by: str | None = strawberry.field(description="Who revoked it.")
    revoked_at: datetime | None = strawberry.field(description="When it was revoked.")

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, ApiKeyRow)


@strawberry.type(description="A page of keys.")
class ApiKeyConnection(Connection[ApiKey]):
    """A page of keys."""


@strawberry.type(description="A new key, with the one thing that is never shown again.")
class CreatedApiKey:
    """The success of createApiKey."""

    api_key: ApiKey = strawberry.field(description="The key's properties.")
    secret: str = strawberry.field(
        description="The key itself, to send as 'Authorization: Bearer KEY'. It is shown here only."
    )
