"""Who calls, by a secret: looked up in the database, and remembered for a few seconds.

What is remembered is forgotten as soon as any process changes a key or ends a session, for the database tells
(LISTEN). While notices do not arrive, nothing is remembered; where nobody can listen (a pooler in transaction
mode), a caller is remembered no longer than `cache_seconds`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

from db.access.api_keys import IdentityRow, find_key, mark_keys_used
from db.access.sessions import find_session
from db.postgres.errors import StatementTimeout, Unavailable
from db.postgres.notifications import ACCESS_CHANGED, watch
from db.postgres.pool import Connection, Database
from db.postgres.repeats import Repeats
from db.sql.column_forms import ANY_TEXT, ColumnForms, read_column_forms
from resolvers.access.callers import Caller, caller_of_key, caller_of_session
from resolvers.access.secrets import hash_of, is_key, is_token

log = logging.getLogger(__name__)

MAX_REMEMBERED = 10_000
STRANGERS_AT_ONCE = 2
"""Secrets never seen to be good that are looked up at the same time: they leave the pool to known callers."""
STRANGERS_WAITING = 100
USES_WRITTEN_EVERY = 10.0
"""Seconds between writes of last_used_at."""
_FIRST_NOTICE_WAIT = 2.0
T = TypeVar("T")


class TooManyStrangers(Exception):
    """Too many secrets that nobody knows wait to be looked up."""

    def __init__(self) -> None:
        super().__init__("Too many unknown keys are sent; try again in a second.")


@dataclass(slots=True)
class _Remembered:
    """`caller` is as it was at its last address: most callers have one."""

    caller: Caller
    key_id: int | None
    expires_at: datetime | None
    until: float

    def caller_at(self, address: str | None) -> Caller:
        if self.caller.address != address:
            self.caller = replace(self.caller, address=address)
        return self.caller


class Authentication:
    """Finds callers by the secrets they send, for one process. `run_upkeep` must run beside it."""

    def __init__(self, database: Database, *, cache_seconds: float = 5.0) -> None:
        self._database = database
        self._cache_seconds = cache_seconds
        self._remembered: dict[bytes, _Remembered] = {}
        # Until when each is known to be nobody's.
        self._refused: dict[bytes, float] = {}
        # Those that were good once, so that strangers do not stand in their way.
        self._familiar: dict[bytes, None] = {}
        self._strangers = asyncio.Semaphore(STRANGERS_AT_ONCE)
        self._waiting = 0
        self._used: dict[int, datetime] = {}
        self._listening = asyncio.Event()
        self._repeats = Repeats()
        # Counts what was heard, so that a lookup which was overtaken by a change is not remembered.
        self._changes = 0
        self._forms: ColumnForms | None = None

    async def column_forms(self, connection: Connection | None = None) -> ColumnForms:
        """How the database spells ids; read once, as soon as there are tables to read it of."""
        if self._forms is None:
            if connection is None:
                async with self._database.connection() as own:
                    return await self.column_forms(own)
            forms = await read_column_forms(connection)
            if forms is not None:
                self._forms = forms
        return self._forms or ANY_TEXT

    async def by_key(self, key: str, address: str | None) -> Caller | None:
        """The caller of an API key, at its address; None where the key is unknown, expired or revoked."""
        key_hash = hash_of(key)
        found = self._known(key_hash)
        if found is None and is_key(key) and not self._is_refused(key_hash):
            found = await self._find(key_hash, self._look_up_key)
        if found is None:
            return None
        if found.key_id is not None:
            self._used[found.key_id] = datetime.now(UTC)
        return found.caller_at(address)

    async def by_session(self, secret: str, address: str | None) -> Caller | None:
        """The caller of a browser's session, at its address; None where it is unknown or over."""
        secret_hash = hash_of(secret)
        found = self._known(secret_hash)
        if found is None and is_token(secret) and not self._is_refused(secret_hash):
            found = await self._find(secret_hash, self._look_up_session)
        return found.caller_at(address) if found else None

    def forget(self) -> None:
        """Look every caller up again."""
        self._changes += 1
        self._remembered.clear()
        self._refused.clear()

    async def run_upkeep(self) -> None:
        """Hear of changes and write when keys were used, until cancelled."""
        await asyncio.gather(self._listen(), self._write_uses_now_and_then())

    async def until_listening(self) -> None:
        """Wait until changes are heard, though not for long: without them all works, only slower."""
        waiting = asyncio.ensure_future(self._listening.wait())
        await asyncio.wait({waiting}, timeout=_FIRST_NOTICE_WAIT)
        waiting.cancel()

    async def write_uses(self) -> None:
        """Write when keys were used last. What cannot be written is dropped: the next use comes soon."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            async with self._database.connection() as connection:
                await mark_keys_used(connection, used)
        except (Unavailable, StatementTimeout) as error:
            self._repeats.tell(log, logging.WARNING, f"the last use of keys is not written: {error}")

    async def _listen(self) -> None:
        if (dsn := self._database.session_dsn) is None:
            # Nothing is ever heard, so callers are remembered for their seconds and no longer.
            self._set_listening(True)
        else:
            await watch(dsn, ACCESS_CHANGED, heard=self.forget, listening=self._set_listening)

    async def _write_uses_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(USES_WRITTEN_EVERY)
            await self.write_uses()

    def _set_listening(self, listening: bool) -> None:
        self.forget()
        if listening:
            self._listening.set()
        else:
            self._listening.clear()

    async def _find(
        self, secret_hash: bytes, look_up: Callable[[Connection, bytes], Awaitable[_Remembered | None]]
    ) -> _Remembered | None:
        async with self._turn(secret_hash):
            if self._is_refused(secret_hash):
                return None
            changes = self._changes
            async with self._database.connection() as connection:
                found = await look_up(connection, secret_hash)
                if found is not None:
                    forms = await self.column_forms(connection)
                    found.caller = replace(found.caller, scope=found.caller.scope.spelled(forms))
        if found is not None:
            _keep(self._familiar, secret_hash, None)
        if self._listening.is_set() and changes == self._changes:
            if found is not None:
                _keep(self._remembered, secret_hash, found)
            else:
                _keep(self._refused, secret_hash, time.monotonic() + self._cache_seconds)
        return found

    @asynccontextmanager
    async def _turn(self, secret_hash: bytes) -> AsyncGenerator[None, None]:
        """Wait until a secret may be looked up. Raises `TooManyStrangers` where too many wait already."""
        if secret_hash in self._familiar:
            yield
            return
        if self._waiting >= STRANGERS_WAITING:
            raise TooManyStrangers
        self._waiting += 1
        try:
            async with self._strangers:
                yield
        finally:
            self._waiting -= 1

    def _is_refused(self, secret_hash: bytes) -> bool:
        return time.monotonic() < self._refused.get(secret_hash, 0.0)

    def _known(self, secret_hash: bytes) -> _Remembered | None:
        found = self._remembered.get(secret_hash)
        if found is None or time.monotonic() >= found.until:
            return None
        return found if found.expires_at is None or found.expires_at > datetime.now(UTC) else None

    async def _look_up_key(self, connection: Connection, key_hash: bytes) -> _Remembered | None:
        row = await find_key(connection, key_hash=key_hash)
        return self._to_remember(row, caller_of_key(row), row.id) if row else None

    async def _look_up_session(self, connection: Connection, session_hash: bytes) -> _Remembered | None:
        row = await find_session(connection, session_hash=session_hash)
        return self._to_remember(row, caller_of_session(row), None) if row else None

    def _to_remember(self, row: IdentityRow, caller: Caller, key_id: int | None) -> _Remembered:
        return _Remembered(caller, key_id, row.expires_at, time.monotonic() + self._cache_seconds)


def _keep(memory: dict[bytes, T], secret_hash: bytes, value: T) -> None:
    if len(memory) >= MAX_REMEMBERED:
        memory.clear()
    memory[secret_hash] = value
