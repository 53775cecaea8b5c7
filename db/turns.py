"""Turns on a processor that the server's thread shares with processes of PostgreSQL.

Linux ends the turn of a busy thread when its clock ticks, as a rule every 4 ms, although a turn is shorter
(1.4 ms on two processors). As long may a process of PostgreSQL wait that a statement has woken on that very
processor. A look at the thread's own clock has the kernel reckon up its time, and a turn that is over ends
there and then.
"""

from __future__ import annotations

from time import monotonic, thread_time

__all__ = ["LOOK_SECONDS", "Turns"]

LOOK_SECONDS = 0.0005
"""The least time between two looks: well below a turn, and a call of 0.3 µs is lost in it."""


class Turns:
    """The turns of one thread, which says when it has sent a statement."""

    __slots__ = ("_looked_at",)

    def __init__(self) -> None:
        self._looked_at = 0.0

    def sent(self) -> None:
        """A statement was sent: let the processor go where the turn is over, and keep it otherwise."""
        now = monotonic()
        if now - self._looked_at >= LOOK_SECONDS:
            self._looked_at = now
            thread_time()
