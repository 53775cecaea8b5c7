"""Access: who you are, and for admins the keys and the audit log."""

from datetime import datetime
from functools import partial
from typing import Annotated

import strawberry

from db.access.api_keys import ApiKeyRow
from graph.auth.permissions import Administers
from graph.context import Context, Info
from graph.operations.changes import KeyedInput, mutation
from graph.operations.lists import Listing, filter_argument, list_field
from graph.types.api_keys import ApiKey, ApiKeyConnection, CreatedApiKey
from graph.types.audit_log import AuditEntryConnection, AuditLogFilter, audit_filter
from graph.types.bounds import FORMED, bound
from graph.types.fields import resolved
from graph.types.ids import Kind, parse_id
from graph.types.refusals import Conflict, InvalidInput, NotFound
from graph.types.viewer import Role, Viewer
from resolvers.access import api_keys as cases
from resolvers.access import audit_log as audit_cases
from resolvers.access import callers
from resolvers.errors import InvalidInput as InvalidInputError
from resolvers.names import MAX_NAME


def _viewer(info: Info) -> callers.Caller:
    return info.context.caller


def _lists_keys(context: Context, _: None) -> Listing:
    return Listing(
        partial(cases.list_api_keys, context.database, context.scope),
        partial(cases.count_api_keys, context.database, context.scope),
    )


def _lists_changes(context: Context, filter: AuditLogFilter | None) -> Listing:
    scope = context.scope.narrow(filter.site_id if filter else None)
    filters = audit_filter(filter, context)
    return Listing(
        partial(audit_cases.list_audit_log, context.database, scope, filters),
        partial(audit_cases.count_audit_log, context.database, scope, filters),
    )


@strawberry.input(description="The key that is wanted. It can never do more than you.")
class CreateApiKeyInput(KeyedInput):
    """Input of createApiKey."""

    name: str = strawberry.field(
        metadata=bound(text=cases.MAX_NAME), description="Its name in the audit log, 1 to 100 characters."
    )
    role: Role = strawberry.field(description="What it may do.")
    site_ids: list[strawberry.ID] | None = strawberry.field(
        metadata=bound(text=MAX_NAME, items=cases.MAX_SITES),
        default=None,
        description="The sites it may see. Give this or everySite.",
    )
    every_site: bool = strawberry.field(
        default=False, description="True for a key that may see every site, now and later."
    )
    reads_texts: bool = strawberry.field(
        default=False, description="Whether it may read prompts, responses and cached answers."
    )
    expires_at: datetime | None = strawberry.field(
        default=None,
        description="Until when it may be used; without it, for ever. Without an offset: in the configured"
        " zone.",
    )


@strawberry.input(description="Which key to revoke.")
class RevokeApiKeyInput(KeyedInput):
    """Input of revokeApiKey."""

    key_id: strawberry.ID = strawberry.field(metadata=FORMED, description="The id of the key, such as key_3.")


CreateApiKeyResult = Annotated[
    CreatedApiKey | InvalidInput | NotFound | Conflict,
    strawberry.union("CreateApiKeyResult", description="The new key, or why there is none."),
]
RevokeApiKeyResult = Annotated[
    ApiKey | NotFound | Conflict,
    strawberry.union("RevokeApiKeyResult", description="The revoked key, or why it was not revoked."),
]


async def _create_api_key(context: Context, input: CreateApiKeyInput) -> CreatedApiKey:
    """Make a key within the caller's own scope, role and permissions."""
    if (input.site_ids is None) is not input.every_site:
        raise InvalidInputError("Give either siteIds or everySite: true.", "siteIds")
    expires_at = input.expires_at
    if expires_at is not None and expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=context.zone())
    request = cases.KeyRequest(
        name=input.name,
        role=callers.Role(input.role.value),
        sites=input.site_ids,
        reads_texts=input.reads_texts,
        expires_at=expires_at,
    )
    key, secret = await cases.create_api_key(context.database, context.caller, request)
    # The row stands for the type, as everywhere.
    return CreatedApiKey(api_key=key, secret=secret)  # pyright: ignore[reportArgumentType]


async def _revoke_api_key(context: Context, input: RevokeApiKeyInput) -> ApiKeyRow:
    """Revoke a key that the caller may see."""
    key_id = parse_id(input.key_id, Kind.KEY, "keyId")
    revoked = await cases.revoke_api_key(context.database, context.caller, key_id)
    # Other processes hear of it from the database; this one must know before it answers.
    context.access_changed()
    return revoked


@strawberry.type
class AccessQueries:
    """Root fields of `Query`."""

    api_keys: ApiKeyConnection = list_field(
        Kind.KEY,
        _lists_keys,
        "The keys whose sites you may all see, newest first, revoked and expired ones included. For admins.",
        narrowed_by=None,
        is_sorted=False,
        permissions=[Administers],
    )
    audit_log: AuditEntryConnection = list_field(
        Kind.AUDIT,
        _lists_changes,
        "Who changed what, newest first; what concerns every site only for admins of every site. For admins.",
        narrowed_by=filter_argument(AuditLogFilter, "entries"),
        is_sorted=False,
        permissions=[Administers],
    )
    viewer: Viewer = resolved(
        _viewer,
        "Who you are and what you may do.",
    )


@strawberry.type
class AccessMutations:
    """Root fields of `Mutation`."""

    create_api_key = mutation(
        _create_api_key,
        CreateApiKeyResult,
        "Make a key, which is shown once. It can never do more than you.",
        Administers,
    )
    revoke_api_key = mutation(
        _revoke_api_key,
        RevokeApiKeyResult,
        "Make a key worthless from now on.",
        Administers,
    )
