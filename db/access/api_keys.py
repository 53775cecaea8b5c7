"""API keys: who may call, as what, and where. Table: runglass.api_keys. Keys are stored hashed (SHA-256)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

from db.postgres.pool import Connection, fetch_all, fetch_count, fetch_one, fetch_unscoped
from db.sql.keyset import Page, PageRequest, keyset, page_of
from db.sql.scope import Scope, SiteStatement


class IdentityRow(NamedTuple):
    """What a valid key or session stands for. `sites` None is every site."""

    id: int
    name: str
    role: str
    sites: list[str] | None
    reads_texts: bool
    expires_at: datetime | None


class ApiKeyRow(NamedTuple):
    """A key without its hash. `sites` None is every site."""

    id: int
    name: str
    key_prefix: str
    role: str
    sites: list[str] | None
    reads_texts: bool
    expires_at: datetime | None
    last_used_at: datetime | None
    created_by: str
    created_at: datetime
    revoked_at: datetime | None
    revoked_by: str | None
    is_expired: bool


class KeyStatement(SiteStatement):
    """A statement over keys: a caller sees those whose sites all lie within its own scope."""

    __slots__ = ()

    def _text(self, scope: Scope) -> LiteralString:
        if scope.sites is None:
            return self._sql.replace("{scope}", "TRUE")
        if len(scope.sites) == 1:
            return self._sql.replace("{scope}", "sites <@ ARRAY[%(scope_site)s::text]")
        return self._sql.replace("{scope}", "sites <@ %(scope_sites)s::text[]")


API_KEY_COLUMNS: LiteralString = """
    id, name, key_prefix, role, sites, reads_texts, expires_at, last_used_at, created_by, created_at,
    revoked_at, revoked_by, coalesce(expires_at <= now(), false)"""

FIND_KEY: LiteralString = """
SELECT id, name, role, sites, reads_texts, expires_at FROM runglass.api_keys
WHERE key_hash = %(key_hash)s AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""

# The names of the sites have been checked against the scope; the condition makes a mistake there harmless.
INSERT_API_KEY = KeyStatement(
    f"""
    INSERT INTO runglass.api_keys
        (name, key_hash, key_prefix, role, sites, reads_texts, expires_at, created_by)
    SELECT %(name)s, %(key_hash)s, %(key_prefix)s, %(role)s, new.sites, %(reads_texts)s, %(expires_at)s,
        %(created_by)s
    FROM (SELECT %(sites)s::text[] AS sites) AS new
    WHERE {{scope}}
    RETURNING {API_KEY_COLUMNS}"""
)

GET_API_KEYS = KeyStatement(
    f"SELECT {API_KEY_COLUMNS} FROM runglass.api_keys WHERE id = ANY(%(ids)s) AND {{scope}}"
)

LOCK_API_KEY = KeyStatement(
    f"SELECT {API_KEY_COLUMNS} FROM runglass.api_keys WHERE id = %(id)s AND {{scope}} FOR UPDATE"
)

REVOKE_API_KEY = KeyStatement(
    f"""
    UPDATE runglass.api_keys SET revoked_at = now(), revoked_by = %(revoked_by)s
    WHERE id = %(id)s AND revoked_at IS NULL AND {{scope}}
    RETURNING {API_KEY_COLUMNS}"""
)

COUNT_API_KEYS = KeyStatement(
    "SELECT count(*) FROM (SELECT FROM runglass.api_keys WHERE {scope} LIMIT %(limit)s) AS matching"
)

LIST_EVERY_API_KEY: LiteralString = f"SELECT {API_KEY_COLUMNS} FROM runglass.api_keys ORDER BY id"

# A key that is used all the time is written once a minute, by whichever process comes first.
MARK_KEYS_USED: LiteralString = """
UPDATE runglass.api_keys SET last_used_at = used.at
FROM unnest(%(ids)s::bigint[], %(times)s::timestamptz[]) AS used (id, at)
WHERE api_keys.id = used.id
  AND (last_used_at IS NULL OR last_used_at <= used.at - interval '1 minute')
"""


async def find_key(connection: Connection, *, key_hash: bytes) -> IdentityRow | None:
    """What the key of this hash stands for; None where it is unknown, expired or revoked."""
    rows = await fetch_unscoped(connection, IdentityRow, FIND_KEY, {"key_hash": key_hash})
    return rows[0] if rows else None


async def insert_api_key(
    connection: Connection,
    *,
    scope: Scope,
    name: str,
    key_hash: bytes,
    key_prefix: str,
    role: str,
    sites: list[str] | None,
    reads_texts: bool,
    expires_at: datetime | None,
    created_by: str,
) -> ApiKeyRow | None:
    """Store a key; None where one of its sites is out of scope."""
    values = {
        "name": name,
        "key_hash": key_hash,
        "key_prefix": key_prefix,
        "role": role,
        "sites": sites,
        "reads_texts": reads_texts,
        "expires_at": expires_at,
        "created_by": created_by,
    }
    return await fetch_one(connection, ApiKeyRow, INSERT_API_KEY, scope, values)


async def list_api_keys(connection: Connection, *, scope: Scope, page: PageRequest) -> Page[ApiKeyRow]:
    """One page of the keys that the scope may see, revoked and expired ones included."""
    keys, order, values = keyset(page)
    statement = KeyStatement(f"SELECT {API_KEY_COLUMNS} FROM runglass.api_keys WHERE {{scope}}{keys}{order}")
    return page_of(page, await fetch_all(connection, ApiKeyRow, statement, scope, values))


async def get_api_keys(connection: Connection, *, scope: Scope, ids: Sequence[int]) -> list[ApiKeyRow]:
    """The keys with these ids that the scope may see, in no order."""
    return await fetch_all(connection, ApiKeyRow, GET_API_KEYS, scope, {"ids": list(ids)})


async def list_every_api_key(connection: Connection) -> list[ApiKeyRow]:
    """Every key, oldest first, for whoever holds the database itself."""
    return await fetch_unscoped(connection, ApiKeyRow, LIST_EVERY_API_KEY)


async def count_api_keys(connection: Connection, *, scope: Scope, limit: int) -> int:
    """How many keys the scope may see, counted no further than `limit`."""
    return await fetch_count(connection, COUNT_API_KEYS, scope, {"limit": limit})


async def lock_api_key(connection: Connection, *, scope: Scope, key_id: int) -> ApiKeyRow | None:
    """The key, locked until the transaction ends, or None where the scope may not see it."""
    return await fetch_one(connection, ApiKeyRow, LOCK_API_KEY, scope, {"id": key_id})


async def revoke_api_key(
    connection: Connection, *, scope: Scope, key_id: int, revoked_by: str
) -> ApiKeyRow | None:
    """Make the key worthless from now on; None where it already was."""
    return await fetch_one(
        connection, ApiKeyRow, REVOKE_API_KEY, scope, {"id": key_id, "revoked_by": revoked_by}
    )


async def mark_keys_used(connection: Connection, used: Mapping[int, datetime]) -> None:
    """Write when keys were last used, where what is written is a minute old or older."""
    await connection.execute(MARK_KEYS_USED, {"ids": list(used), "times": list(used.values())})
