"""Viewer: the caller, as it sees itself."""

from enum import Enum

import strawberry

from graph.types.fields import resolved
from graph.types.statuses import described
from resolvers.access import callers


@strawberry.enum(description="What a caller may do; each role may do what those before it may.")
class Role(Enum):
    """The roles of `resolvers.access.callers.Role`."""

    VIEWER = described("viewer", "Reads.")
    OPERATOR = described(
        "operator", "Also retries, acknowledges, invalidates, estimates, confirms and records."
    )
    ADMIN = described("admin", "Also manages keys and budgets, and reads the audit log.")


def _role(root: strawberry.Parent[callers.Caller]) -> Role:
    return Role[root.role.name]


def _sites(root: strawberry.Parent[callers.Caller]) -> list[strawberry.ID] | None:
    return None if root.scope.sites is None else [strawberry.ID(site) for site in sorted(root.scope.sites)]


@strawberry.type(description="Who you are and what you may do.")
class Viewer:
    """Resolved from a `Caller`."""

    name: str = strawberry.field(description="Your name in the audit log.")
    role: Role = resolved(_role, "What you may do.")
    site_ids: list[strawberry.ID] | None = resolved(_sites, "The sites you may see; null for every site.")
    reads_texts: bool = strawberry.field(
        description="Whether you may read prompts, responses and cached answers."
    )
