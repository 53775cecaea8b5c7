"""A client's end of a connection, byte by byte: for what no HTTP client would send."""

from __future__ import annotations

import select
import socket
import struct
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

SECONDS = 30


class Answer(NamedTuple):
    """One answer, or an interim one, which has no body."""

    status: int
    headers: dict[str, str]
    body: bytes


class Connection:
    """One connection to a server of this machine."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=SECONDS)
        self._file = self.socket.makefile("rb")

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def send_what_goes(self, data: bytes) -> None:
        """Send until the server takes no more."""
        try:
            self.socket.sendall(data)
        except OSError:
            return

    def end(self) -> None:
        """Say that nothing more is sent; answers can still come."""
        with suppress(OSError):  # The server may have been first.
            self.socket.shutdown(socket.SHUT_WR)

    def until_closed(self) -> None:
        """Read until the server closes or resets the connection."""
        try:
            while self.socket.recv(1_000_000):
                pass
        except ConnectionError:
            return

    def is_reset(self, seconds: float) -> bool:
        """Whether the server resets the connection within this time; nothing is read meanwhile."""
        watch = select.poll()
        watch.register(self.socket, 0)
        return bool(watch.poll(seconds * 1_000))

    def has_answer(self, seconds: float = 0.5) -> bool:
        """Whether an answer has begun to come within this time."""
        watch = select.poll()
        watch.register(self.socket, select.POLLIN)
        return bool(watch.poll(seconds * 1_000))

    def reset(self) -> None:
        """Go without a word."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self) -> None:
        self._file.close()
        self.socket.close()

    def answer(self) -> Answer | None:
        """The next answer; None where the server has closed the connection."""
        line = self._file.readline()
        if not line:
            return None
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", 0)))
        return Answer(status, headers, body)

    def answers(self) -> list[Answer]:
        """All answers until the server closes the connection, without interim ones."""
        return [answer for answer in iter(self.answer, None) if answer.status >= 200]

    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers()]


@contextmanager
def connected(port: int) -> Iterator[Connection]:
    """A connection that is closed after the block."""
    connection = Connection(port)
    try:
        yield connection
    finally:
        connection.close()


def request(
    query: str = "{__typename}",
    *headers: str,
    method: str = "POST",
    path: str = "/graphql",
    host: str = "test",
) -> bytes:
    """A whole request of an operation."""
    body = b'{"query":"%b"}' % query.encode()
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def status_by_urllib(address: str, body: bytes | Iterable[bytes], headers: dict[str, str]) -> int:
    """The status of a POST by Python's own client, which sends its whole body before it reads the answer."""
    asked = urllib.request.Request(address, body, headers)  # type: ignore[arg-type]  # noqa: S310
    try:
        with urllib.request.urlopen(asked, timeout=SECONDS) as answer:  # noqa: S310
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
