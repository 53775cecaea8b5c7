"""What uvicorn does not do for connections by itself: heads and waits are bounded, and every answer arrives.

This is the one place that leans on uvicorn's inside, so it is used with the versions that it is known for.
With any other, uvicorn's own h11 reads the connections: slower, and without limits of time, but as strict.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import struct
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ["ConnectionLimits", "ServerConfig", "protocol_options"]

log = logging.getLogger(__name__)

KNOWN = {"uvicorn": "0.54.", "httptools": "0.9."}
"""The beginnings of the versions whose inside is the one that is leant on here."""

MAX_PIPELINED = 64
"""Requests that one connection may send ahead of their answers."""

SMALL_REST = 65_536
"""Bytes that may still come of a request that is answered, before its connection is given up."""

FIRST_HEAD_SECONDS = 1.0
"""How long a connection that was just made may still bring its request when the server stops."""

RESET = struct.pack("ii", 1, 0)
HOST = re.compile(rb"[^\s/?#@\\]*")


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may cost. `stalled_seconds` is how long it may take nothing of its answer."""

    head_bytes: int = 16_384
    head_seconds: float = 10
    linger_bytes: int = 64_000_000
    linger_seconds: float = 5
    stalled_seconds: float = 60
    probe_seconds: float = 0.1


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration, with the limits of a connection; it goes to each worker process."""

    def __init__(self, app: Any, limits: ConnectionLimits, **options: Any) -> None:
        super().__init__(app, **options)
        self.connection_limits = limits


def protocol_options(limits: ConnectionLimits, versions: dict[str, str] | None = None) -> dict[str, Any]:
    """The options that say how uvicorn reads connections."""
    versions = versions or {"uvicorn": uvicorn.__version__, "httptools": httptools.__version__}
    if all(versions[name].startswith(known) for name, known in KNOWN.items()):
        return {"http": HttpProtocol}
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    log.warning("connections are read by uvicorn's h11, without limits of time: %s is not known here", told)
    return {"http": "h11", "h11_max_incomplete_event_size": limits.head_bytes}


class Refused(Exception):
    """A request that is not read further; raised inside the parser's callbacks."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status)
        self.status = status


class Transport:
    """uvicorn's hand on a connection: closing it waits until the client could read what was written."""

    def __init__(self, transport: asyncio.Transport, protocol: HttpProtocol) -> None:
        self.write = transport.write
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info
        self.close = protocol.finish
        self._transport = transport
        self._protocol = protocol

    def is_closing(self) -> bool:
        """Whether nothing more is written."""
        return self._protocol.finished or self._transport.is_closing()


class HttpProtocol(HttpToolsProtocol):
    """One connection, whose requests are answered one after the other, in their order."""

    config: ServerConfig

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.limits = self.config.connection_limits
        self.finished = False
        self._connection: asyncio.Transport
        self._running: Any = None  # The request's cycle that is being answered.
        self._in_body = False
        self._ended = False  # Nothing more of what comes is read as requests.
        self._may_begin = True  # Nothing was asked yet.
        self._stopping = False
        self._refusal: HTTPStatus | None = None
        self._unfinished_bytes = 0
        self._discarded = 0
        self._waiting_since: float | None = None
        self._unsent: tuple[int, float] = 0, 0.0
        self._look_timer: asyncio.TimerHandle | None = None
        self._end_timer: asyncio.TimerHandle | None = None

    # The connection

    def connection_made(self, transport: Any) -> None:
        """A client has connected."""
        super().connection_made(transport)
        self._connection = transport
        self.transport: Any = Transport(transport, self)
        self._waiting_since = self.loop.time()
        self._look_timer = self.loop.call_later(self.limits.head_seconds, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over: whatever is done for it may stop."""
        self.finished = self._ended = True
        for timer in (self._look_timer, self._end_timer):
            if timer is not None:
                timer.cancel()
        for cycle in (self._running, *(cycle for cycle, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The client sends no more; it may well read on."""
        if self.finished or not self._is_answering() or self._is_incomplete():
            return False
        self._drop_unfinished()
        if not self._ended:
            self._ended = True
            self._end_timer = self.loop.call_later(self.limits.probe_seconds, self._probe)
        return True

    def finish(self) -> None:
        """Close the connection; where something is unread, only once the client could read the answer.

        A connection that is closed with bytes unread is reset, and the answer is lost on its way.
        """
        if self.finished:
            return
        self.finished = True
        if self._connection.is_closing():
            return
        is_unread = self._in_body or self._refusal or self.flow.read_paused
        if not is_unread or not self._connection.can_write_eof():
            self._connection.close()
            return
        self._ended = True
        self._connection.write_eof()
        self.flow.resume_reading()
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._end_timer = self.loop.call_later(self.limits.linger_seconds, self._abort)

    def _abort(self) -> None:
        # By a reset, so that the kernel keeps no unsent rest of an answer for a client that does not take it.
        self._connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._connection.abort()

    def shutdown(self) -> None:
        """The server stops: answer what was asked, and close. Who has only just come may still ask."""
        self._stopping = True
        if self._is_answering():
            self.cycle.keep_alive = False
        elif self._may_begin:
            self._may_begin = False
            self._end_timer = self.loop.call_later(FIRST_HEAD_SECONDS, self.shutdown)
        else:
            self.finish()

    # Requests

    def data_received(self, data: bytes) -> None:
        """Something has come."""
        if self._ended:
            self._discard(len(data))
            return
        self._unset_keepalive_if_required()
        self._unfinished_bytes += len(data)
        self._feed(data)
        if self._ended or self._is_answering():
            return
        if self._in_body:
            self._discard(len(data))
        elif self._waiting_since is None:
            self._waiting_since = self.loop.time()

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._feed_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            refused = error.__context__
            self._refuse(refused.status if isinstance(refused, Refused) else HTTPStatus.BAD_REQUEST)
        else:
            if self._unfinished_bytes > self.limits.head_bytes:
                self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)

    def _feed_without_upgrade(self, rest: bytes) -> None:
        """Read the request again without its wish for another protocol: no other is spoken here.

        The parser takes what follows such a head for that protocol's, the body too.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse(HTTPStatus.NOT_IMPLEMENTED)
            return
        head = [b"%b %b HTTP/%b\r\n" % (method, self.url, version)]
        head += [b"%b: %b\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"".join([*head, b"\r\n", rest]))

    def on_message_begin(self) -> None:
        """A request begins."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise Refused(HTTPStatus.TOO_MANY_REQUESTS)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header; what follows a body as a trailer is none."""
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there: check it, and begin with the answer."""
        if self.parser.should_upgrade():
            return
        self._check_head()
        self._waiting_since, self._unfinished_bytes, self._discarded = None, 0, 0
        self._in_body, self._may_begin = True, False
        super().on_headers_complete()
        if self._stopping:
            self.cycle.keep_alive = False

    def _check_head(self) -> None:
        lengths = (len(name) + len(value) + 4 for name, value in self.headers)
        if len(self.url) + sum(lengths) > self.limits.head_bytes:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Refused(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or not all(map(HOST.fullmatch, hosts)) or (not hosts and version != "1.0"):
            raise Refused(HTTPStatus.BAD_REQUEST)

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._unfinished_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is there as a whole."""
        if self.parser.should_upgrade():
            return
        self._in_body = False
        self._waiting_since, self._unfinished_bytes = None, 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """An answer is written: go on with the next request."""
        self._running = None
        super().on_response_complete()
        if self.finished or self._is_answering():
            return
        if self._refusal is not None:
            self._write_refusal(self._refusal)
        elif self._ended or (self._in_body and self.expect_100_continue):
            self.finish()
        elif self._in_body:
            self._waiting_since = self.loop.time()

    # Requests that are not read to their end

    def _refuse(self, status: HTTPStatus) -> None:
        """Read no further; say why after the answers to what came before."""
        self._ended, self._refusal = True, status
        if self._is_incomplete():
            broken, self._running = self._running, None
            broken.disconnected = True
            broken.message_event.set()
            if broken.response_started:
                self._abort()
            else:
                self._write_refusal(status)
            return
        self._drop_unfinished()
        if self._is_answering():
            return
        if self._in_body:  # It has had its answer.
            self.finish()
        else:
            self._write_refusal(status)

    def _write_refusal(self, status: HTTPStatus) -> None:
        body = f"{status.phrase}\n".encode()
        lines = (
            f"HTTP/1.1 {status.value} {status.phrase}".encode(),
            b"content-type: text/plain; charset=utf-8",
            b"content-length: %d" % len(body),
            b"connection: close",
        )
        self._connection.write(b"\r\n".join([*lines, b"", body]))
        self.finish()

    def _drop_unfinished(self) -> None:
        """Forget a request that waits for its turn and whose body will not come."""
        if self._in_body and self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self.finished:
            if self._discarded > self.limits.linger_bytes:
                self._abort()
        elif self._discarded > SMALL_REST:
            self._stop_reading()

    def _stop_reading(self) -> None:
        if self._is_answering():
            self.flow.pause_reading()
        else:
            self.finish()

    def _is_answering(self) -> bool:
        return self._running is not None

    def _is_incomplete(self) -> bool:
        """Whether the request that is being answered has not come as a whole."""
        return self._in_body and self._running is self.cycle

    # Time

    def _look(self) -> None:
        """Give up a client that is too slow: in sending what is awaited, or in taking its answer."""
        now = self.loop.time()
        unsent, since = self._connection.get_write_buffer_size(), self._unsent[1]
        if not unsent or unsent != self._unsent[0]:
            self._unsent = unsent, now
        elif now - since >= self.limits.stalled_seconds:
            self._abort()
            return
        late = self._waiting_since is not None and now - self._waiting_since >= self.limits.head_seconds
        if late and not self.finished and not self._is_answering():
            if self._in_body or not self._unfinished_bytes:
                self.finish()
            else:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        self._look_timer = self.loop.call_later(self.limits.head_seconds / 2, self._look)

    def _probe(self) -> None:
        """Find out whether a client that sends no more is still there: a write to one that is not fails."""
        cycle = self._running
        if cycle is None or self.finished or cycle.response_started:
            return
        if cycle.scope["http_version"] != "1.0":
            self._connection.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._end_timer = self.loop.call_later(self.limits.probe_seconds, self._probe)
