"""The look at the thread's clock that ends a turn on the processor which is over."""

from __future__ import annotations

import asyncio
import time

import pytest

from db import turns
from db.connection import Connection
from db.turns import LOOK_SECONDS, Turns


class Looks:
    """Counts the looks in place of the thread's clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.number = 0
        monkeypatch.setattr(turns, "thread_time", self._look)

    def _look(self) -> None:
        self.number += 1


def test_reads_look_at_the_clock_but_not_each(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = Looks(monkeypatch)

    async def read() -> float:
        async with await Connection.connect(empty_dsn, autocommit=True) as connection:
            began = time.monotonic()
            for _ in range(200):
                await connection.fetch("SELECT 1", {})
            return time.monotonic() - began

    seconds = asyncio.run(read())
    assert 1 < looks.number <= seconds / LOOK_SECONDS + 1


def test_a_look_comes_no_sooner_than_half_a_millisecond_after_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = Looks(monkeypatch)
    sent = Turns()
    seen: list[int] = []
    for now in (10.0, 10.0004, 10.0006, 10.001, 10.0012, 10.5):
        monkeypatch.setattr(turns, "monotonic", lambda now=now: now)
        sent.sent()
        seen.append(looks.number)
    assert seen == [1, 1, 2, 2, 3, 4]
