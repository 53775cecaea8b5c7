"""How long a connection may be idle."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from graph.http.uvicorn_adapter import ConnectionLimits, HttpProtocol, ServerConfig, protocol_options

IDLE_SECONDS = 1
REQUEST = b"GET /%s HTTP/1.1\r\nHost: test\r\n\r\n"


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    async def answer(self) -> bytes:
        return await self._reader.readuntil(b"done")

    async def ask(self, path: bytes = b"") -> bytes:
        self.send(REQUEST % path)
        return await self.answer()

    async def until_closed(self) -> None:
        assert await self._reader.read() == b""
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


class Served:
    """A server whose answers to /wait come when it is told; `asked` is set once one of them is awaited."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked, self.told = asyncio.Event(), asyncio.Event()

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self._port))

    async def __call__(self, scope: Any, _receive: Any, send: Any) -> None:
        if scope["path"] == "/wait":
            self.asked.set()
            await self.told.wait()
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"done"})


@asynccontextmanager
async def served() -> AsyncIterator[Served]:
    listening = socket.create_server(("127.0.0.1", 0))
    app = Served(listening.getsockname()[1])
    config = ServerConfig(
        app,
        ConnectionLimits(),
        http=HttpProtocol,
        lifespan="off",
        log_config=None,
        timeout_keep_alive=IDLE_SECONDS,
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        async with asyncio.timeout(20):
            yield app
    finally:
        server.should_exit = True
        await serving


def test_an_idle_connection_is_closed() -> None:
    async def scenario() -> None:
        async with served() as server:
            client = await server.connect()
            await client.ask()
            await client.ask()
            await client.until_closed()

    asyncio.run(scenario())


def test_a_connection_with_a_request_under_way_is_not_idle() -> None:
    async def scenario() -> None:
        async with served() as server:
            waiting, sending, idle = [await server.connect() for _ in range(3)]
            for client in (waiting, sending, idle):
                await client.ask()
            waiting.send(REQUEST % b"wait")
            await server.asked.wait()
            whole = REQUEST % b""
            sending.send(whole[:20])
            # It was asked last, so the time of the others is over as well.
            await idle.until_closed()
            server.told.set()
            await waiting.answer()
            sending.send(whole[20:])
            await sending.answer()
            # From their last answer on they are idle again.
            await waiting.until_closed()
            await sending.until_closed()

    asyncio.run(scenario())


def test_a_connection_that_is_used_stays() -> None:
    async def scenario() -> None:
        async with served() as server:
            used, idle = await server.connect(), await server.connect()
            await used.ask()
            await idle.ask()
            closing = asyncio.create_task(idle.until_closed())
            while not closing.done():
                await used.ask()
            await used.ask()
            await used.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("versions", "http"),
    [
        (None, HttpProtocol),
        ({"uvicorn": "0.54.9", "httptools": "0.9.1"}, HttpProtocol),
        ({"uvicorn": "0.55.0", "httptools": "0.9.0"}, "h11"),
        ({"uvicorn": "0.54.0", "httptools": "0.10.0"}, "h11"),
    ],
)
def test_a_version_that_is_not_known_is_served_the_standard_way(
    versions: dict[str, str] | None, http: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert protocol_options(ConnectionLimits(), versions)["http"] == http
    assert len(caplog.records) == (http == "h11")
