"""Stops the work of a request whose client has gone."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

ARM_AFTER = 0.1
"""Seconds a request may take before anybody listens whether its client is there: most are done by then, and a
timer that never fires costs a microsecond where a listening task costs thirty."""


class ClientGone(Exception):
    """The client closed the connection; nobody reads an answer."""


class DisconnectWatch:
    """Cancels the block's task when the client goes, and turns the cancellation into `ClientGone`.

    Works like `asyncio.timeout`: cancellations from elsewhere pass. The whole request body must have been
    received.
    """

    __slots__ = ("_cancelling", "_gone", "_receive", "_task", "_timer", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a disconnect is watched for inside a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = task.get_loop().call_later(ARM_AFTER, self._arm)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if not self._gone:
            return
        if self._task.uncancel() <= self._cancelling and (kind is None or kind is asyncio.CancelledError):
            raise ClientGone from error

    def _arm(self) -> None:
        self._watcher = self._task.get_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
