"""Another protocol is not spoken here: a request that asks for one is answered, and with its whole body."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.http.server import Served
from tests.http.sockets import connected, request

H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
WEBSOCKET = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: AA==",
)
TOUCH = request("mutation{touch}")
ANSWER = b'{"data":{"__typename":"Query"}}'


@pytest.mark.parametrize("wish", [H2C, WEBSOCKET, ("Connection: upgrade", "Upgrade: a/1, b")])
@pytest.mark.parametrize("pieces", [1, 2, 40])
def test_a_post_is_answered_with_its_whole_body(server: Served, wish: tuple[str, ...], pieces: int) -> None:
    whole = request("{__typename}", *wish, "X: 1")
    size = -(-len(whole) // pieces)
    with connected(server.port) as connection:
        for start in range(0, len(whole), size):
            connection.send(whole[start : start + size])
        connection.send(request("{a:__typename}", "Connection: close"))
        assert [answer.body for answer in connection.answers()] == [
            ANSWER,
            ANSWER.replace(b"__typename", b"a"),
        ]


@pytest.mark.parametrize("wish", [H2C, WEBSOCKET])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_never_runs_as_a_request(
    server: Served, wish: tuple[str, ...], apart: bool, framing: str
) -> None:
    lines = ["POST /graphql HTTP/1.1", "Host: test", "Content-Type: application/json", *wish]
    lines += [
        f"Content-Length: {len(TOUCH)}" if framing == "length" else "Transfer-Encoding: chunked",
        "",
        "",
    ]
    body = TOUCH if framing == "length" else b"%x\r\n%b\r\n0\r\n\r\n" % (len(TOUCH), TOUCH)
    with connected(server.port) as connection:
        connection.send("\r\n".join(lines).encode() + (b"" if apart else body))
        if apart:
            assert server.is_well()
            connection.send(body)
        connection.send(request("{__typename}", "Connection: close"))
        first, second = connection.answers()
        assert (first.status, second.body) == (400, ANSWER)
        assert b"touched" not in first.body


def test_a_websocket_is_answered_as_a_plain_request(server: Served) -> None:
    with connected(server.port) as connection:
        lines = ["GET /graphql?query={__typename} HTTP/1.1", "Host: test", *WEBSOCKET, "", ""]
        connection.send("\r\n".join(lines).encode(), request("{__typename}", "Connection: close"))
        assert [answer.body for answer in connection.answers()] == [ANSWER] * 2


@pytest.mark.parametrize("line", [b"CONNECT test:80 HTTP/1.1", b"PRI * HTTP/2.0"])
def test_no_tunnel_is_opened(server: Served, line: bytes) -> None:
    with connected(server.port) as connection:
        connection.send(line, b"\r\nHost: test\r\n\r\n", TOUCH)
        (answer,) = connection.answers()
        assert answer.status in (400, 501)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_may_ask_for_http_2(server: Served) -> None:
    address = f"http://127.0.0.1:{server.port}/graphql"
    command = [
        "curl",
        "--silent",
        "--http2",
        "--max-time",
        "20",
        "--json",
        '{"query":"{__typename}"}',
        address,
    ]
    assert subprocess.run(command, capture_output=True, check=True).stdout == ANSWER
