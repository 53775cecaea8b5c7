"""API keys: create, list and revoke them. What a caller gives is never more than it has itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from db.access import api_keys as store
from db.access.api_keys import ApiKeyRow
from db.postgres.pool import Connection, Database
from db.sql.keyset import Page, PageRequest
from db.sql.scope import EVERY_SITE, Scope
from resolvers.access.callers import Caller, Role, audit
from resolvers.access.secrets import new_key
from resolvers.errors import Conflict, InvalidInput, NotFound
from resolvers.names import check_printable, own_site

MAX_SITES = 1_000
MAX_NAME = 100


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """The key that is wanted. `sites` None is every site; `expires_at` None is never."""

    name: str
    role: Role
    sites: Sequence[str] | None
    reads_texts: bool = False
    expires_at: datetime | None = None


async def create_api_key(database: Database, caller: Caller, request: KeyRequest) -> tuple[ApiKeyRow, str]:
    """Make a key and give it with its secret, which is stored nowhere and cannot be had again.

    Raises InvalidInput for a request that makes no sense or gives more than the caller has, NotFound where a
    site is not within the caller's scope.
    """
    name, given = _checked(request)
    _check_powers(caller, request)
    sites = None if given is None else _own_sites(caller.scope, given)
    secret = new_key()
    async with database.transaction() as transaction:
        key = await store.insert_api_key(
            transaction,
            scope=caller.scope,
            name=name,
            key_hash=secret.hash,
            key_prefix=secret.prefix,
            role=request.role.value,
            sites=sites,
            reads_texts=request.reads_texts,
            expires_at=request.expires_at,
            created_by=caller.name,
        )
        if key is None:
            raise NotFound("There is no such site.")
        await _audit(transaction, caller, "createApiKey", key, after=_described(key))
    return key, secret.text


async def revoke_api_key(database: Database, caller: Caller, key_id: int) -> ApiKeyRow:
    """Make a key worthless from now on. Raises NotFound, or Conflict where it already was revoked."""
    async with database.transaction() as transaction:
        key = await store.lock_api_key(transaction, scope=caller.scope, key_id=key_id)
        if key is None:
            raise NotFound("There is no such key.")
        if key.revoked_at is not None:
            raise Conflict(f"This key is already revoked by {key.revoked_by}.")
        revoked = await store.revoke_api_key(
            transaction, scope=caller.scope, key_id=key_id, revoked_by=caller.name
        )
        if revoked is None:
            raise NotFound("There is no such key.")
        await _audit(
            transaction, caller, "revokeApiKey", key, before={"revoked": False}, after={"revoked": True}
        )
    return revoked


async def list_api_keys(database: Database, scope: Scope, page: PageRequest) -> Page[ApiKeyRow]:
    """One page of the keys whose sites all lie within the scope."""
    async with database.connection() as connection:
        return await store.list_api_keys(connection, scope=scope, page=page)


async def count_api_keys(database: Database, scope: Scope, limit: int) -> int:
    """How many keys there are, counted no further than `limit`."""
    async with database.connection() as connection:
        return await store.count_api_keys(connection, scope=scope, limit=limit)


async def list_every_api_key(database: Database) -> list[ApiKeyRow]:
    """Every key, oldest first, for whoever holds the database itself."""
    async with database.connection() as connection:
        return await store.list_every_api_key(connection)


async def has_keys(database: Database) -> bool:
    """Whether a key was ever made."""
    async with database.connection() as connection:
        return await store.count_api_keys(connection, scope=EVERY_SITE, limit=1) > 0


def _checked(request: KeyRequest) -> tuple[str, list[str] | None]:
    name = request.name.strip()
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise InvalidInput(f"name must hold 1 to {MAX_NAME} printable characters.", "name")
    if request.expires_at is not None and request.expires_at <= datetime.now(UTC):
        raise InvalidInput("expiresAt must lie in the future.", "expiresAt")
    if request.sites is None:
        return name, None
    sites = list(dict.fromkeys(request.sites))
    if not 1 <= len(sites) <= MAX_SITES:
        raise InvalidInput(f"siteIds must name 1 to {MAX_SITES:,} sites.", "siteIds")
    for site in sites:
        check_printable(site, "siteIds")
    return name, sites


def _own_sites(scope: Scope, given: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(own_site(scope, site, "siteIds") for site in given))


def _check_powers(caller: Caller, request: KeyRequest) -> None:
    if not caller.role.includes(request.role):
        raise InvalidInput("A key's role cannot be above your own.", "role")
    if request.reads_texts and not caller.reads_texts:
        raise InvalidInput("You may not read texts, so a key of yours cannot either.", "readsTexts")
    if request.sites is None and caller.scope.sites is not None:
        raise InvalidInput("You may not see every site: name the key's sites.", "siteIds")


def _described(key: ApiKeyRow) -> dict[str, Any]:
    return {
        "name": key.name,
        "role": key.role,
        "readsTexts": key.reads_texts,
        "expiresAt": key.expires_at.isoformat() if key.expires_at else None,
    }


async def _audit(
    transaction: Connection,
    caller: Caller,
    action: str,
    key: ApiKeyRow,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    # One entry for each site, none of which names another: each site's admins see what concerns theirs.
    for site_id in [None] if key.sites is None else key.sites:
        await audit(transaction, caller, action, ("key", key.id), site_id=site_id, before=before, after=after)
