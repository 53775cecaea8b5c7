"""Sessions of browsers, and the one-time tokens that begin them.

Tables: runglass.sign_in_tokens, runglass.sessions. Both hold hashes (SHA-256) only, and any process of any
machine serves a session.
"""

from __future__ import annotations

from typing import LiteralString

from db.access.api_keys import IdentityRow
from db.postgres.pool import Connection, fetch_unscoped

FIND_SESSION: LiteralString = """
SELECT id, name, role, sites, reads_texts, expires_at FROM runglass.sessions
WHERE session_hash = %(session_hash)s AND expires_at > now()
"""

ADD_SIGN_IN: LiteralString = """
INSERT INTO runglass.sign_in_tokens (token_hash, name, role, sites, reads_texts, expires_at)
VALUES (
    %(token_hash)s, %(name)s, %(role)s, %(sites)s::text[], %(reads_texts)s,
    now() + %(lifetime)s * interval '1 second'
)
"""

# Whoever deletes the token has it: two that use it at once get one session.
BEGIN_SESSION: LiteralString = """
WITH used AS (
    DELETE FROM runglass.sign_in_tokens WHERE token_hash = %(token_hash)s
    RETURNING name, role, sites, reads_texts, expires_at
)
INSERT INTO runglass.sessions (session_hash, name, role, sites, reads_texts, expires_at)
SELECT %(session_hash)s, name, role, sites, reads_texts, now() + %(lifetime)s * interval '1 second'
FROM used WHERE expires_at > now()
RETURNING id, name, role, sites, reads_texts, expires_at
"""

END_SESSION: LiteralString = """
DELETE FROM runglass.sessions WHERE session_hash = %(session_hash)s
RETURNING id, name, role, sites, reads_texts, expires_at
"""

DELETE_EXPIRED_TOKENS: LiteralString = "DELETE FROM runglass.sign_in_tokens WHERE expires_at <= now()"
DELETE_EXPIRED_SESSIONS: LiteralString = "DELETE FROM runglass.sessions WHERE expires_at <= now()"


async def find_session(connection: Connection, *, session_hash: bytes) -> IdentityRow | None:
    """What the session of this hash stands for; None where there is none, or its time is over."""
    rows = await fetch_unscoped(connection, IdentityRow, FIND_SESSION, {"session_hash": session_hash})
    return rows[0] if rows else None


async def insert_sign_in_token(
    connection: Connection,
    *,
    token_hash: bytes,
    name: str,
    role: str,
    sites: list[str] | None,
    reads_texts: bool,
    lifetime_seconds: float,
) -> None:
    """Store a token that begins one session within its lifetime; what has expired is deleted on the way."""
    await connection.execute(DELETE_EXPIRED_TOKENS)
    await connection.execute(DELETE_EXPIRED_SESSIONS)
    values = {
        "token_hash": token_hash,
        "name": name,
        "role": role,
        "sites": sites,
        "reads_texts": reads_texts,
        "lifetime": lifetime_seconds,
    }
    await connection.execute(ADD_SIGN_IN, values)


async def begin_session(
    connection: Connection, *, token_hash: bytes, session_hash: bytes, lifetime_seconds: float
) -> IdentityRow | None:
    """Use up the token and begin its session; None where the token is unknown, used or expired."""
    values = {"token_hash": token_hash, "session_hash": session_hash, "lifetime": lifetime_seconds}
    rows = await fetch_unscoped(connection, IdentityRow, BEGIN_SESSION, values)
    return rows[0] if rows else None


async def end_session(connection: Connection, *, session_hash: bytes) -> IdentityRow | None:
    """Forget the session; gives what it stood for, None where there was none."""
    rows = await fetch_unscoped(connection, IdentityRow, END_SESSION, {"session_hash": session_hash})
    return rows[0] if rows else None
