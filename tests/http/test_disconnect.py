"""The client goes while its operation runs: the work is cancelled, and nothing is logged as an error."""

import asyncio
import logging
import socket
import struct
from typing import Any

import pytest
import uvicorn
from starlette.requests import HTTPConnection

from graph.execution.limits import Limits
from graph.http.bodies import BodyLimits
from graph.http.uvicorn_adapter import ConnectionLimits, HttpProtocol, ServerConfig
from tests.http.server import Context, build_app, build_engine, code_of, send

BODY = b'{"query":"{ a: hang b: hang plainJobs { id } }"}'
LARGE = BODY + b" " * 70_000
"""So large that uvicorn stops reading from the connection meanwhile."""
HEAD = b"POST /graphql HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def app_with(context: Context, **options: Any) -> Any:
    async def get_context(_connection: HTTPConnection) -> Context:
        return context

    return build_app(get_context=get_context, **options)


def serve(context: Context, http: Any) -> tuple[uvicorn.Server, asyncio.Task[None], int]:
    listening = socket.create_server(("127.0.0.1", 0))
    limits = ConnectionLimits(probe_seconds=0.1)
    config = ServerConfig(app_with(context), limits, log_config=None, lifespan="off", http=http)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    port: int = listening.getsockname()[1]
    return server, serving, port


def socket_of(writer: asyncio.StreamWriter) -> socket.socket:
    found: socket.socket = writer.get_extra_info("socket")
    return found


@pytest.mark.parametrize("http", [HttpProtocol, "h11"])
@pytest.mark.parametrize("body", [BODY, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("way", ["close", "abort"])
def test_the_operation_is_cancelled_when_the_client_goes(
    http: Any, body: bytes, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        context = Context()
        server, serving, port = serve(context, http)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD % len(body) + body)
        async with asyncio.timeout(20):
            await context.started.wait()
            if way == "abort":
                socket_of(writer).setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()
            await context.cancelled.wait()
        server.should_exit = True
        await serving

    with caplog.at_level(logging.WARNING):
        asyncio.run(scenario())
    assert [record.message for record in caplog.records] == []


def test_all_requests_that_were_sent_ahead_are_dropped_when_the_client_goes() -> None:
    async def scenario() -> None:
        context = Context()
        server, serving, port = serve(context, HttpProtocol)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write((HEAD % len(BODY) + BODY) * 3)
        async with asyncio.timeout(20):
            await context.started.wait()
            context.started.clear()
            writer.close()
            await context.cancelled.wait()
            while server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells nobody
                await asyncio.sleep(0)
        assert not context.started.is_set()
        server.should_exit = True
        await serving

    asyncio.run(scenario())


def test_a_client_that_goes_while_sending_is_left_alone() -> None:
    sent: list[object] = []
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"query":', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def record(message: object) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/graphql",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(build_app()(scope, receive, record))  # type: ignore[arg-type]
    assert sent == []


def test_a_cancellation_from_elsewhere_passes() -> None:
    async def scenario() -> None:
        context = Context()
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/graphql",
            "query_string": b"",
            "headers": [(b"content-type", b"application/json")],
        }
        bodies = [{"type": "http.request", "body": BODY}]

        async def receive() -> dict[str, Any]:
            return bodies.pop(0) if bodies else await asyncio.Event().wait()  # type: ignore[return-value]

        async def discard(_message: object) -> None: ...

        task = asyncio.create_task(app_with(context)(scope, receive, discard))
        await context.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert context.cancelled.is_set()

    asyncio.run(scenario())


def test_an_operation_that_takes_too_long_is_cancelled() -> None:
    context = Context()
    engine = build_engine(Limits(timeout_seconds=0.05))
    reply = send(app_with(context, engine=engine), json={"query": "{ a: hang b: hang }"})
    assert (reply.status_code, code_of(reply)) == (504, "EXECUTION_TIMEOUT")
    assert context.cancelled.is_set()


def test_a_body_that_does_not_arrive_is_408() -> None:
    async def never() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    reply = send(
        build_app(bodies=BodyLimits(seconds=0.05)),
        content=never(),
        headers={"content-type": "application/json"},
    )
    assert (reply.status_code, code_of(reply)) == (408, "REQUEST_TIMEOUT")
    assert reply.headers["connection"] == "close"


def test_an_endpoint_keeps_its_deadlines_in_every_loop() -> None:
    contexts: list[Context] = []

    async def latest(_connection: HTTPConnection) -> Context:
        return contexts[-1]

    app = build_app(get_context=latest, engine=build_engine(Limits(timeout_seconds=0.05)))
    for _ in range(2):
        contexts.append(Context())
        reply = send(app, json={"query": "{ a: hang b: hang }"})
        assert code_of(reply) == "EXECUTION_TIMEOUT"
        assert contexts[-1].cancelled.is_set()
