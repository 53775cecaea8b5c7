"""What stops a request's work from outside: its time is over, or its client has gone."""

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Self

from starlette.types import Receive

TICK = 0.1
"""Seconds between looks at the clock. A request that is done before the next look costs no timer, and nobody
listens whether its client is there."""


class ClientGone(Exception):
    """The client closed the connection; nobody reads an answer."""


class Clock:
    """Has every request under way looked at, tick by tick: one timer of the loop's for all of them."""

    def __init__(self) -> None:
        self._watches: set[RequestWatch] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self, watch: "RequestWatch", loop: asyncio.AbstractEventLoop) -> None:
        """Look at a request until it is over."""
        self._watches.add(watch)
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(TICK, self._tick, loop)

    def stop(self, watch: "RequestWatch") -> None:
        """It is over."""
        self._watches.discard(watch)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._watches:
            self._loop = None
            return
        # First, so that the clock goes on whatever comes of a look.
        loop.call_later(TICK, self._tick, loop)
        now = loop.time()
        for watch in list(self._watches):
            watch.look(now)


class RequestWatch:
    """Cancels the block's task when its time is over or its client goes, and turns that into an exception.

    Works like `asyncio.timeout` at a fraction of its cost, and a tick late at most: cancellations from
    elsewhere pass.
    """

    __slots__ = (
        *("_cancelling", "_clock", "_due_at", "_error", "_late", "_listens", "_loop", "_receive", "_task"),
        "_watcher",
    )

    def __init__(self, clock: Clock, receive: Receive) -> None:
        self._clock = clock
        self._receive = receive
        self._due_at = inf
        self._error: Exception | None = None
        self._listens = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is watched inside a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._loop = task.get_loop()
        self._clock.start(self, self._loop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clock.stop(self)
        if self._watcher is not None:
            self._watcher.cancel()
        if self._error is None:
            return
        if self._task.uncancel() <= self._cancelling and (kind is None or kind is asyncio.CancelledError):
            raise self._error from error

    def limit(self, seconds: float, late: Callable[[], Exception]) -> None:
        """Raise what `late` gives where it takes longer than so many seconds from now on."""
        self._due_at = self._loop.time() + seconds
        self._late = late

    def listen(self) -> None:
        """Raise `ClientGone` where the client goes from now on. The whole body must have been received."""
        self._listens = True

    def look(self, now: float) -> None:
        """Called at each tick, with the loop's time."""
        if self._listens and self._watcher is None:
            self._watcher = self._loop.create_task(self._watch())
        if now >= self._due_at:
            self._strike(self._late())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._strike(ClientGone())

    def _strike(self, error: Exception) -> None:
        if self._error is None:
            self._error = error
            self._task.cancel()
