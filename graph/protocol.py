"""How an answer leaves: in one write, where uvicorn serves it.

uvicorn takes two messages, the head of an answer and its body, and uvloop hands each to the kernel at once:
two passes through the network's stack, two wake-ups of the client. It also looks at every header again, and
they are always the same few.
"""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.types import Send

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["CLOSE", "write_at_once"]

CLOSE = (b"connection", b"close")

_CYCLE = ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle")
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def write_at_once(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Write a whole answer, as uvicorn would for the two messages; False where these must be sent.

    That is by another server, to a client that has gone or reads slowly, and where the connection ends.
    """
    cycle: RequestResponseCycle | None = getattr(send, "__self__", None)
    # By its name, as commands that serve nothing do not load uvicorn.
    if (
        cycle is None
        or (type(cycle).__module__, type(cycle).__qualname__) != _CYCLE
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
        or cycle.access_log
        or cycle.default_headers
        or not cycle.keep_alive
        or CLOSE in headers
        or cycle.scope["method"] == "HEAD"
        or status not in _STATUS_LINES
    ):
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    lines = [b"%b: %b\r\n" % header for header in headers]
    cycle.transport.write(b"".join((_STATUS_LINES[status], *lines, b"\r\n", body)))
    cycle.message_event.set()
    cycle.on_response()
    return True
