"""What uvicorn does for each connection and request, where it would cost more than it must.

Names of uvicorn's own that begin with an underscore are overridden here; the tests would tell if they went.
"""

from __future__ import annotations

from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["HttpProtocol", "TrustedProxies"]


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 by httptools. One timer watches whether a connection is idle, in place of one a request."""

    _idle_since: float | None = None

    def on_response_complete(self) -> None:
        """Go on with the next request, or wait for one as long as a connection may be idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
            return
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._look_after(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """Close the connection where it has been idle for so long."""
        self.timeout_keep_alive_task = None
        if self._idle_since is None:
            return
        left = self._idle_since + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._look_after(left)
        else:
            super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed, by whichever side."""
        super().connection_lost(exc)
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None

    def _unset_keepalive_if_required(self) -> None:
        # Something has come; the timer finds out by itself.
        self._idle_since = None

    def _look_after(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)


class TrustedProxies(ProxyHeadersMiddleware):
    """What a proxy says of the client is believed; a request that no proxy has touched costs no coroutine."""

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """Serve one connection: what is to be awaited."""
        for name, _ in scope.get("headers", ()):
            if name.startswith(b"x-forwarded-"):
                return super().__call__(scope, receive, send)
        return self.app(scope, receive, send)
