"""Signing a browser in and out: a one-time token becomes a session, whose secret the cookie holds."""

from __future__ import annotations

from db.access import sessions as store
from db.postgres.pool import Database
from resolvers.access.callers import Caller, audit, caller_of_session
from resolvers.access.secrets import hash_of, is_token, new_token


async def issue_sign_in_token(database: Database, caller: Caller, lifetime_seconds: float) -> str:
    """A token that signs one browser in as the caller, once, within its lifetime."""
    secret = new_token()
    sites = caller.scope.sites
    async with database.transaction() as transaction:
        await store.insert_sign_in_token(
            transaction,
            token_hash=secret.hash,
            name=caller.name,
            role=caller.role.value,
            sites=None if sites is None else sorted(sites),
            reads_texts=caller.reads_texts,
            lifetime_seconds=lifetime_seconds,
        )
    return secret.text


async def sign_in(database: Database, token: str, lifetime_seconds: float, address: str | None) -> str | None:
    """Use the token up and give the secret of its new session; None where the token is worth nothing."""
    if not is_token(token):
        return None
    secret = new_token()
    async with database.transaction() as transaction:
        session = await store.begin_session(
            transaction,
            token_hash=hash_of(token),
            session_hash=secret.hash,
            lifetime_seconds=lifetime_seconds,
        )
        if session is None:
            return None
        caller = caller_of_session(session, address)
        await audit(transaction, caller, "signIn", ("session", session.id), site_id=None)
    return secret.text


async def sign_out(database: Database, secret: str, address: str | None) -> None:
    """End the session of this secret, if there is one."""
    if not is_token(secret):
        return
    async with database.transaction() as transaction:
        session = await store.end_session(transaction, session_hash=hash_of(secret))
        if session is not None:
            caller = caller_of_session(session, address)
            await audit(transaction, caller, "signOut", ("session", session.id), site_id=None)
