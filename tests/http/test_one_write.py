"""An answer leaves in one write, as uvicorn runs our protocol."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from graph.protocol import Protocol
from tests.http.server import build_app

BODY = b'{"query":"{ __typename }"}'
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


async def asked(app: Any, request: bytes) -> list[bytes]:
    config = uvicorn.Config(app, http=Protocol, lifespan="off", log_config=None)
    config.load()
    recorder = Recorder()
    state = ServerState()
    protocol = Protocol(config, state, {}, asyncio.get_running_loop())
    protocol.connection_made(recorder)
    protocol.data_received(request)
    async with asyncio.timeout(20):
        while state.tasks:
            await asyncio.gather(*state.tasks)
        await recorder.closed.wait()
    return recorder.writes


@pytest.mark.parametrize(
    ("method", "status"), [(b"POST", b"200 OK"), (b"OPTIONS", b"204 No Content"), (b"PUT", b"405 Method")]
)
def test_head_and_body_leave_together(method: bytes, status: bytes) -> None:
    request = HEAD % method + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    (written,) = asyncio.run(asked(build_app(), request))
    assert written.startswith(b"HTTP/1.1 " + status)
    head, body = written.split(b"\r\n\r\n", 1)
    if method == b"POST":
        assert body == b'{"data":{"__typename":"Query"}}'
        assert b"content-length: %d" % len(body) in head


def test_a_head_whose_body_comes_late_does_not_wait_for_it() -> None:
    seen = asyncio.Event()

    async def slow(_scope: Any, _receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await seen.wait()
        await send({"type": "http.response.body", "body": b"late"})

    async def scenario() -> list[bytes]:
        asking = asyncio.create_task(asked(slow, HEAD % b"GET" + b"Connection: close\r\n\r\n"))
        for _ in range(10):
            await asyncio.sleep(0)
        seen.set()
        return await asking

    head, body = asyncio.run(scenario())
    assert head.endswith(b"\r\n\r\n")
    assert body == b"late"
