"""The mutations of admins: create and revoke keys."""

from datetime import datetime
from typing import Annotated

import strawberry

from db.access.api_keys import ApiKeyRow
from graph.context import Context
from graph.operations.idempotency import KeyedInput
from graph.types.api_keys import ApiKey, CreatedApiKey
from graph.types.bounds import FORMED, bound
from graph.types.ids import Kind, parse_id
from graph.types.refusals import Conflict, InvalidInput, NotFound
from graph.types.viewer import Role
from resolvers.access import api_keys as cases
from resolvers.access import callers
from resolvers.errors import InvalidInput as InvalidInputError
from resolvers.names import MAX_NAME


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


async def create_api_key(context: Context, input: CreateApiKeyInput) -> CreatedApiKey:
    """Make a key within the caller's own scope, role and permissions."""
    if (input.site_ids is None) is not input.every_site:
        raise InvalidInputError("Give either siteIds or everySite: true.", "siteIds")
    expires_at = input.expires_at
    if expires_at is not None and expires_at.tzinfo is None:
        expires_at = expires_at.replace(tzinfo=context.zone())
    wanted = cases.KeyRequest(
        name=input.name,
        role=callers.Role(input.role.value),
        sites=input.site_ids,
        reads_texts=input.reads_texts,
        expires_at=expires_at,
    )
    key, secret = await cases.create_api_key(context.database, context.caller, wanted)
    # The row stands for the type, as everywhere.
    return CreatedApiKey(api_key=key, secret=secret)  # pyright: ignore[reportArgumentType]


async def revoke_api_key(context: Context, input: RevokeApiKeyInput) -> ApiKeyRow:
    """Revoke a key that the caller may see."""
    key_id = parse_id(input.key_id, Kind.KEY, "keyId")
    revoked = await cases.revoke_api_key(context.database, context.caller, key_id)
    # Other processes hear of it from the database; this one must know before it answers.
    context.access_changed()
    return revoked
