"""Idempotency: a change that is asked for twice under one key is made once and answered twice.

The key is taken in the transaction of the change. So a refusal or a fault leaves no key behind and may be
tried again, and of several requests at once all but the first wait for it and get its answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from db.access import idempotency as store
from db.postgres.pool import Database
from db.postgres.transaction_database import TransactionDatabase
from resolvers.access.callers import Caller
from resolvers.errors import Conflict

MAX_KEY = 200


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A change asked for under a key; `input_hash` is the same where the input is."""

    key: str
    mutation: str
    input_hash: bytes


@dataclass(slots=True)
class Attempt:
    """One try. Where `first_result` is None, make the change on `database` and set `result`, plain JSON."""

    database: Database
    first_result: dict[str, Any] | None
    result: dict[str, Any] | None = None


@asynccontextmanager
async def once(
    database: Database, caller: Caller, request: KeyedRequest, *, lifetime_seconds: int
) -> AsyncGenerator[Attempt, None]:
    """The transaction of a change that is made once per caller and key within `lifetime_seconds`.

    Raises Conflict where the key was used for another mutation or another input.
    """
    identity = caller.identity
    async with database.transaction() as transaction:
        used = await store.claim_key(
            transaction,
            caller=identity,
            key=request.key,
            mutation=request.mutation,
            input_hash=request.input_hash,
            lifetime_seconds=lifetime_seconds,
        )
        if used and (used.mutation, used.input_hash) != (request.mutation, request.input_hash):
            raise Conflict("This idempotencyKey was used for another request.")
        attempt = Attempt(TransactionDatabase(transaction), used.result if used else None)
        yield attempt
        if used is None:
            result = attempt.result or {}
            await store.store_result(transaction, caller=identity, key=request.key, result=result)
