"""How a process that serves ends: it says so while it answers on, and only then closes its port."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Callable
from types import FrameType

from starlette.applications import Starlette
from starlette.types import Message, Receive, Scope, Send

log = logging.getLogger(__name__)

CLOSE = (b"connection", b"close")
STOPPED = (
    b'{"errors":[{"message":"The server stopped before the answer was ready.",'
    b'"extensions":{"code":"SERVICE_UNAVAILABLE"}}]}'
)
HEADERS = [
    (b"content-length", str(len(STOPPED)).encode()),
    (b"content-type", b"application/json; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"retry-after", b"1"),
    CLOSE,
]

Handler = Callable[[int, FrameType | None], object]


class Draining:
    """An application in a process that is told by signals to stop.

    SIGTERM begins a time in which /readyz answers 503 and each answer says that its connection closes, so
    that nobody is refused when the port closes after it. In a single process SIGHUP does the same; several
    have a parent that takes it. SIGINT, and a second signal, close the port at once.
    """

    def __init__(self, app: Starlette, seconds: float) -> None:
        self._app = app
        self._seconds = seconds
        self._drains = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the life of the process."""
        if scope["type"] != "http":
            self._take_signals(asyncio.get_running_loop())
            return await self._app(scope, receive, send)
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if self._drains and CLOSE not in message["headers"]:
                    message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        try:
            await self._app(scope, receive, sent)
        except asyncio.CancelledError:
            # Requests are cancelled from outside only when their time after a stop is over.
            if not started:
                await send({"type": "http.response.start", "status": 503, "headers": HEADERS})
                await send({"type": "http.response.body", "body": STOPPED})

    def _take_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        stop = signal.getsignal(signal.SIGTERM)
        if not callable(stop):
            return

        def told(number: int, frame: FrameType | None) -> None:
            if self._drains or not self._seconds:
                stop(signal.SIGTERM, frame)
                return
            self._drains = True
            loop.call_soon_threadsafe(self._drain, loop, stop)

        signal.signal(signal.SIGTERM, told)
        # nohup ignores it, and so it stays.
        if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            alone = multiprocessing.parent_process() is None
            signal.signal(signal.SIGHUP, told if alone else signal.SIG_IGN)

    def _drain(self, loop: asyncio.AbstractEventLoop, stop: Handler) -> None:
        log.info("told to stop: answering on for %g s, and not ready", self._seconds)
        self._app.state.stopping = True
        loop.call_later(self._seconds, stop, signal.SIGTERM, None)
