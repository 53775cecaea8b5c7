"""Idempotency keys and the answers that were given under them. Table: runglass.idempotency_keys."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg.types.json import Jsonb

from db.postgres.pool import Connection, fetch_unscoped


class KeyRow(NamedTuple):
    """What a key was used for; `result` is what `store_result` was given."""

    mutation: str
    input_hash: bytes
    result: dict[str, Any]


# A second claim waits here until the first one's transaction ends. Where the condition fails the row is
# locked all the same, so that it cannot be purged before it is read.
CLAIM_KEY: LiteralString = """
INSERT INTO runglass.idempotency_keys AS old (caller, key, mutation, input_hash, expires_at)
VALUES (%(caller)s, %(key)s, %(mutation)s, %(input_hash)s, now() + %(lifetime)s * interval '1 second')
ON CONFLICT (caller, key) DO UPDATE SET
    mutation = excluded.mutation, input_hash = excluded.input_hash, result = NULL,
    created_at = excluded.created_at, expires_at = excluded.expires_at
WHERE old.expires_at <= now()
"""

GET_KEY: LiteralString = """
SELECT mutation, input_hash, result FROM runglass.idempotency_keys
WHERE caller = %(caller)s AND key = %(key)s
"""

STORE_RESULT: LiteralString = """
UPDATE runglass.idempotency_keys SET result = %(result)s WHERE caller = %(caller)s AND key = %(key)s
"""

PURGE_KEYS: LiteralString = "DELETE FROM runglass.idempotency_keys WHERE expires_at <= now()"


async def claim_key(
    transaction: Connection,
    *,
    caller: str,
    key: str,
    mutation: str,
    input_hash: bytes,
    lifetime_seconds: int,
) -> KeyRow | None:
    """Take the key for this transaction; None where it was free or had expired, else what it was used for.

    Waits for another transaction that has just taken it, and takes it where that one is rolled back.
    """
    values = {
        "caller": caller,
        "key": key,
        "mutation": mutation,
        "input_hash": input_hash,
        "lifetime": lifetime_seconds,
    }
    cursor = await transaction.execute(CLAIM_KEY, values)
    if cursor.rowcount:
        return None
    return (await fetch_unscoped(transaction, KeyRow, GET_KEY, values))[0]


async def store_result(transaction: Connection, *, caller: str, key: str, result: dict[str, Any]) -> None:
    """Keep the answer that later requests under the key shall get."""
    await transaction.execute(STORE_RESULT, {"caller": caller, "key": key, "result": Jsonb(result)})


async def purge_keys(connection: Connection) -> int:
    """Forget the keys whose time is up; gives how many."""
    cursor = await connection.execute(PURGE_KEYS)
    return cursor.rowcount
