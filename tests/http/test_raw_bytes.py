"""Whatever bytes come, each connection gets an answer or its end, and the next client is served."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.http.server import Served
from tests.http.sockets import connected, request

PIECES = [
    request(),
    request("{slow}", "Connection: close"),
    request("mutation{touch}", "Connection: Upgrade", "Upgrade: h2c"),
    b"GET /graphql?query={__typename} HTTP/1.1\r\nHost: test\r\n\r\n",
    b"POST /graphql HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    *(
        b"GET / HTTP/1.1\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"GET http://a HTTP/1.0\r\n",
        b"CONNECT a:1 HTTP/1.1\r\n",
    ),
    *(b"Host: test\r\n", b"Expect: 100-continue\r\n", b"Connection: Upgrade\r\n", b"Upgrade: websocket\r\n"),
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
    ),
    *(
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"ffffffffffffffffffff\r\n",
        b"1;" + b"x" * 70_000,
        b"A: " + b"x" * 20_000,
    ),
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\x00", b":", b" ", b"\xff" * 9, b" a\r\n", b"/%ff%00/\xe9"),
]
pieces = st.sampled_from(PIECES) | st.binary(max_size=40)
ends = st.sampled_from(["end", "reset", "close", "wait"])


@settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)
@given(sent=st.lists(pieces, max_size=8), apart=st.booleans(), end=ends)
def test_no_bytes_stop_the_server(server: Served, sent: list[bytes], apart: bool, end: str) -> None:
    with connected(server.port) as connection:
        for part in sent if apart else [b"".join(sent)]:
            connection.send_what_goes(part)
        if end == "end":
            connection.end()
            connection.until_closed()
        elif end == "reset":
            connection.reset()
        elif end == "wait" and not sent:
            connection.until_closed()
    assert server.is_well()


def test_nothing_was_said_of_it_in_the_log(server: Served) -> None:
    assert server.log.read_text() == ""
