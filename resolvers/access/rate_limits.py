"""A rate limit for each caller, over every process and machine, at a statement for many requests.

PostgreSQL counts. A process takes a twentieth of a caller's allowance at a time and spends it by itself; what
it has not spent at the end of the period is lost to the caller, so with N busy processes a caller is sure of
all but N - 1 twentieths.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from db.access.rate_limits import take_slice
from db.postgres.errors import ReadOnly
from db.postgres.pool import Database

if TYPE_CHECKING:
    from limits import RateLimitItem

SLICES = 20
KEPT = 10_000
"""Callers remembered before those of past periods are forgotten."""


class RateLimited(Exception):
    """The caller has sent all the requests that it may send in this period; the next begins in `seconds`."""

    def __init__(
        self, seconds: float, reason: str = "This key has sent as many requests as it may for now"
    ) -> None:
        super().__init__(f"{reason}; try again later.")
        self.seconds = seconds


@dataclass(slots=True)
class _Lease:
    """What a process may still spend for a caller until a time of the monotonic clock."""

    left: int = 0
    until: float = 0.0
    is_last: bool = False
    refill: asyncio.Lock = field(default_factory=asyncio.Lock)

    def spend(self) -> bool:
        """Take one request of the lease, if there is one."""
        if self.left < 1 or time.monotonic() >= self.until:
            return False
        self.left -= 1
        return True

    def refused_for(self) -> float | None:
        """Seconds for which the caller is known to have nothing left anywhere."""
        seconds = self.until - time.monotonic()
        return seconds if self.is_last and self.left < 1 and seconds > 0 else None


class RateLimiter:
    """Spends callers' allowances for one process; `limit` as in `limits.parse("600/minute")`."""

    def __init__(self, database: Database, limit: RateLimitItem) -> None:
        self._database = database
        self._amount = limit.amount
        self._seconds = limit.get_expiry()
        self._slice = max(1, limit.amount // SLICES)
        self._leases: dict[str, _Lease] = {}

    async def spend(self, caller: str) -> None:
        """Count one request of a caller. Raises RateLimited, or Unavailable without a database."""
        lease = self._leases.get(caller) or self._new_lease(caller)
        while not lease.spend():
            async with lease.refill:
                await self._refill(lease, caller)

    async def _refill(self, lease: _Lease, caller: str) -> None:
        if (seconds := lease.refused_for()) is not None:
            raise RateLimited(seconds)
        if lease.left > 0 and time.monotonic() < lease.until:
            return
        try:
            async with self._database.connection() as connection:
                row = await take_slice(connection, caller=caller, seconds=self._seconds, count=self._slice)
        except ReadOnly:
            # Reading goes on where nobody can count for all: each process counts alone.
            lease.left, lease.until, lease.is_last = self._amount, time.monotonic() + self._seconds, True
            return
        before = row.taken - self._slice
        lease.left = min(max(self._amount - before, 0), self._slice)
        lease.until = time.monotonic() + row.seconds_left
        lease.is_last = row.taken >= self._amount

    def _new_lease(self, caller: str) -> _Lease:
        if len(self._leases) >= KEPT:
            now = time.monotonic()
            self._leases = {name: lease for name, lease in self._leases.items() if lease.until > now}
        return self._leases.setdefault(caller, _Lease())
