"""How long a connection may be idle, and whose word counts for who the client is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from graph.connections import HttpProtocol, TrustedProxies

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
    config = uvicorn.Config(
        app, http=HttpProtocol, lifespan="off", log_config=None, timeout_keep_alive=IDLE_SECONDS
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


async def seen_behind(client: str, *headers: tuple[bytes, bytes]) -> tuple[str, str]:
    """The client's address and the scheme that the application sees."""
    seen: list[tuple[str, str]] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append((scope["client"][0], scope["scheme"]))

    scope = {"type": "http", "client": (client, 1), "scheme": "http", "headers": list(headers)}
    await TrustedProxies(app, "127.0.0.1")(scope, None, None)
    return seen[0]


@pytest.mark.parametrize("client", ["127.0.0.1", "192.0.2.7"])
def test_the_word_of_a_trusted_proxy_counts(client: str) -> None:
    forwarded = [(b"x-forwarded-for", b"198.51.100.9"), (b"x-forwarded-proto", b"https")]
    trusted = client == "127.0.0.1"
    assert asyncio.run(seen_behind(client)) == (client, "http")
    told = asyncio.run(seen_behind(client, (b"host", b"test"), *forwarded))
    assert told == (("198.51.100.9", "https") if trusted else (client, "http"))
