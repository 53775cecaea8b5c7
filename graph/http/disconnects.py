"""What stops a request's work from outside: its client has gone."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

LISTEN_AFTER = 0.1
"""Seconds until somebody listens whether the client is there: most requests are over before."""


class ClientGone(Exception):
    """The client closed the connection; nobody reads an answer."""


class ClientWatch:
    """Cancels the block's task when its client goes, and turns that into `ClientGone`.

    The whole body must have been received. Cancellations from elsewhere pass.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._gone = False
        self._watcher: asyncio.Task[None] | None = None

    def __enter__(self) -> Self:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a request is watched inside a task")
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = task.get_loop().call_later(LISTEN_AFTER, self._listen)
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

    def _listen(self) -> None:
        self._watcher = self._task.get_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
