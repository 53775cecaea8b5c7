"""An answer leaves in one write, as uvicorn serves it."""

from __future__ import annotations

import asyncio

import pytest
import uvicorn
from uvicorn.server import ServerState

from graph.app import Application
from graph.connections import HttpProtocol
from tests.http.server import build_app

BODY = b'{"query":"{ __typename }"}'
ANSWER = b'{"data":{"__typename":"Query"}}'
QUIET = ("access_log", "server_header", "date_header")
HEAD = b"%s /graphql HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"


class Recorder(asyncio.Transport):
    """A connection that keeps what is written, write by write."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.writes: list[bytes] = []
        self.closed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def close(self) -> None:
        self.closed.set()

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def asked(request: bytes) -> Recorder:
    app = Application(build_app().routes[0].app)  # type: ignore[attr-defined]
    config = uvicorn.Config(
        app, http=HttpProtocol, lifespan="off", log_config=None, **dict.fromkeys(QUIET, False)
    )
    config.load()
    recorder, state = Recorder(), ServerState()
    protocol = HttpProtocol(config, state, {}, asyncio.get_running_loop())
    protocol.connection_made(recorder)
    protocol.data_received(request)
    async with asyncio.timeout(20):
        while state.tasks:
            await asyncio.gather(*state.tasks)
    return recorder


def request(method: bytes, *headers: bytes) -> bytes:
    lines = [b"Content-Length: %d" % len(BODY), *headers]
    return HEAD % method + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + BODY


@pytest.mark.parametrize(
    ("method", "status"), [(b"POST", b"200 OK"), (b"OPTIONS", b"204 No Content"), (b"PUT", b"405 Method")]
)
def test_head_and_body_leave_together(method: bytes, status: bytes) -> None:
    recorder = asyncio.run(asked(request(method)))
    (written,) = recorder.writes
    assert written.startswith(b"HTTP/1.1 " + status)
    head, body = written.split(b"\r\n\r\n", 1)
    if method == b"POST":
        assert body == ANSWER
        assert b"content-length: %d" % len(body) in head
    assert not recorder.closed.is_set()


def test_an_answer_is_the_same_in_one_write_and_in_two() -> None:
    at_once = asyncio.run(asked(request(b"POST")))
    one_by_one = asyncio.run(asked(request(b"POST", b"Connection: close")))
    assert len(one_by_one.writes) == 2
    closing = b"connection: close\r\n"
    assert at_once.writes[0] == b"".join(one_by_one.writes).replace(closing, b"")
    assert one_by_one.closed.is_set()


def test_requests_that_came_together_are_answered_one_after_the_other() -> None:
    other = request(b"POST").replace(b"__typename", b"a: __typename")
    other = other.replace(b"Length: %d" % len(BODY), b"Length: %d" % (len(BODY) + 3))
    recorder = asyncio.run(asked(request(b"POST") + other + request(b"POST")))
    bodies = [written.split(b"\r\n\r\n", 1)[1] for written in recorder.writes]
    assert bodies == [ANSWER, ANSWER.replace(b"__typename", b"a"), ANSWER]


def test_a_client_that_asks_for_the_head_alone_gets_no_body() -> None:
    get = b"HEAD /graphql?query=%7B__typename%7D HTTP/1.1\r\nHost: test\r\n\r\n"
    written = b"".join(asyncio.run(asked(get)).writes)
    assert written.startswith(b"HTTP/1.1 200 OK")
    assert written.endswith(b"\r\n\r\n")


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it() -> None:
    recorder = asyncio.run(asked(request(b"POST", b"Expect: 100-continue")))
    leave, written = recorder.writes
    assert leave == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert written.endswith(ANSWER)
