"""Idempotency keys: callers do not share them, and a failed attempt gives the key back."""

from __future__ import annotations

import asyncio

import pytest

from db.postgres.pool import Database
from db.sql.scope import EVERY_SITE
from resolvers.access.callers import Caller, Role
from resolvers.access.idempotency import KeyedRequest, once
from resolvers.errors import Conflict
from resolvers.runs.alerts import set_alert_status
from tests.support.store import Store

REQUEST = KeyedRequest("k1", "ackAlert", b"input")


def _caller(name: str) -> Caller:
    return Caller(name, EVERY_SITE, Role.OPERATOR)


async def _ack(database: Database, caller: Caller, alert_id: int) -> bool:
    async with once(database, caller, REQUEST, lifetime_seconds=60) as attempt:
        if attempt.first_result is None:
            await set_alert_status(attempt.database, caller, alert_id, "acknowledged")
            attempt.result = {"id": alert_id}
        return attempt.first_result is None


def test_callers_do_not_share_keys(dsn: str, store: Store) -> None:
    alerts = [store.run(status="failed") for _ in range(2)]

    async def act() -> list[bool]:
        database = Database(dsn)
        await database.open()
        try:
            changed = [
                await _ack(database, _caller("ann"), alerts[0]),
                await _ack(database, _caller("bob"), alerts[1]),
                await _ack(database, _caller("ann"), alerts[0]),
            ]
        finally:
            await database.close()
        return changed

    assert asyncio.run(act()) == [True, True, False]
    assert store.value("SELECT count(*) FROM runglass.audit_log") == 2


def test_a_failed_attempt_undoes_its_change_and_gives_the_key_back(dsn: str, store: Store) -> None:
    alert_id = store.run(status="failed")
    before = store.snapshot()

    async def act() -> None:
        database = Database(dsn)
        await database.open()
        try:
            async with once(database, _caller("ann"), REQUEST, lifetime_seconds=60) as attempt:
                await set_alert_status(attempt.database, _caller("ann"), alert_id, "acknowledged")
                raise Conflict("broken off")
        finally:
            await database.close()

    with pytest.raises(Conflict, match="broken off"):
        asyncio.run(act())
    assert store.snapshot() == before
    assert store.value("SELECT count(*) FROM runglass.idempotency_keys") == 0
