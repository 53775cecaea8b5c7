"""How a request comes and its answer leaves where uvicorn serves it: at once, past its messages.

uvicorn hands a body over in a message, which takes a coroutine and an event. It takes two messages for an
answer, its head and its body, and uvloop hands each to the kernel at once: two passes through the network's
stack, two wake-ups of the client. It also looks at every header again, and they are always the same few.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.types import Receive, Send

if TYPE_CHECKING:
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

__all__ = ["CLOSE", "take_body", "write_at_once"]

CLOSE = (b"connection", b"close")

_CYCLE = ("uvicorn.protocols.http.httptools_impl", "RequestResponseCycle")
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


def take_body(receive: Receive) -> bytes | None:
    """The body of a request, where all of it is there; None where it must be received."""
    cycle = _cycle_of(receive)
    if cycle is None or cycle.more_body or cycle.disconnected or cycle.waiting_for_100_continue:
        return None
    body, cycle.body = bytes(cycle.body), bytearray()
    return body


def write_at_once(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
    """Write a whole answer, as uvicorn would for the two messages; False where these must be sent.

    That is by another server, to a client that has gone or reads slowly, and where the connection ends.
    """
    cycle = _cycle_of(send)
    if (
        cycle is None
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
    cycle.transport.write(b"".join((_STATUS_LINES[status], *map(_line, headers), b"\r\n", body)))
    cycle.message_event.set()
    cycle.on_response()
    return True


def _cycle_of(method: Any) -> RequestResponseCycle | None:
    """uvicorn's side of a request, whose method this is; None where another server has made it."""
    cycle: Any = getattr(method, "__self__", None)
    return cycle if _is_cycle(cycle.__class__) else None


@lru_cache(maxsize=16)
def _is_cycle(kind: type) -> bool:
    # By its name, as commands that serve nothing do not load uvicorn.
    return (kind.__module__, kind.__qualname__) == _CYCLE


@lru_cache(maxsize=1024)
def _line(header: tuple[bytes, bytes]) -> bytes:
    return b"%b: %b\r\n" % header
