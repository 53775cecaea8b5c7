"""How an answer leaves: in one write, where uvicorn serves it.

uvicorn takes two messages, the head of an answer and its body, and uvloop hands each to the kernel at once:
two passes through the network's stack, two wake-ups of the client. It also looks at every header again, and
they are always the same few.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

__all__ = ["write_at_once"]

CLOSE = (b"connection", b"close")


def write_at_once(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Write a whole answer, as uvicorn would for the two messages; False where these must be sent.

    That is by another server, to a client that has gone or reads slowly, and where the connection ends.
    """
    cycle = getattr(send, "__self__", None)
    if (
        type(cycle) is not RequestResponseCycle
        or cycle.response_started
        or cycle.disconnected
        or cycle.flow.write_paused
        or cycle.access_log
        or cycle.default_headers
        or not cycle.keep_alive
        or CLOSE in headers
        or cycle.scope["method"] == "HEAD"
    ):
        return False
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    lines = [b"%b: %b\r\n" % header for header in headers]
    cycle.transport.write(b"".join((STATUS_LINE[status], *lines, b"\r\n", body)))
    cycle.message_event.set()
    cycle.on_response()
    return True
