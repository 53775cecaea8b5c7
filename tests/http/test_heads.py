"""The head of a request has a bound and a time, and says for whom it is."""

from __future__ import annotations

import pytest

from tests.http.server import Served
from tests.http.sockets import connected, request

START = b"GET /graphql?query={__typename} HTTP/1.1\r\nHost: test\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"A: %b\r\n\r\n" % (b"x" * 20_000),
        b"".join(b"A%d: x\r\n" % number for number in range(2_000)) + b"\r\n",
        b"%b: x\r\n\r\n" % (b"x" * 20_000),
        b"A: %b" % (b"x" * 300_000),
    ],
    ids=["a long value", "many", "a long name", "without an end"],
)
def test_a_head_that_is_too_long_is_431(server: Served, head: bytes) -> None:
    with connected(server.port) as connection:
        connection.send_what_goes(START + head)
        assert connection.statuses() == [431]
    assert server.is_well()


def test_a_long_address_is_431(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(b"GET /graphql?query=%b HTTP/1.1\r\nHost: test\r\n\r\n" % (b"x" * 20_000))
        assert connection.statuses() == [431]


def test_a_head_within_the_bound_is_read(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(START, b"A: %b\r\n" % (b"x" * 15_000))
        connection.send(b"Connection: close\r\n\r\n")
        assert connection.statuses() == [200]


@pytest.mark.parametrize("what", [b"A: ", b"GET /", START + b"A: "])
def test_fifty_megabytes_of_one_header_stop_nobody(server: Served, what: bytes) -> None:
    with connected(server.port) as long, connected(server.port) as other:
        long.send(START, what)
        for _ in range(50):
            long.send_what_goes(b"x" * 1_000_000)
            other.send(request())
            answer = other.answer()
            assert answer is not None
            assert answer.status == 200


def test_a_long_trailer_ends_the_connection(server: Served) -> None:
    with connected(server.port) as connection:
        head = (
            request().partition(b"\r\n\r\n")[0].replace(b"Content-Length: 24", b"Transfer-Encoding: chunked")
        )
        connection.send(head, b"\r\n\r\n1\r\n{\r\n0\r\nA: ")
        connection.send_what_goes(b"x" * 300_000)
        assert connection.statuses() == [431]


def test_a_trailer_is_no_header(server: Served) -> None:
    with connected(server.port) as connection:
        head, _, body = request().partition(b"\r\n\r\n")
        head = head.replace(
            b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked\r\nConnection: close"
        )
        connection.send(
            head, b"\r\n\r\n%x\r\n%b\r\n0\r\nContent-Type: text/plain\r\n\r\n" % (len(body), body)
        )
        assert connection.statuses() == [200]


@pytest.mark.parametrize("start", [b"G", START, START + b"A: b\r\n"])
def test_a_head_that_does_not_end_is_408(server: Served, start: bytes) -> None:
    with connected(server.port) as connection:
        connection.send(start)
        assert connection.statuses() == [408]


def test_the_head_of_a_second_request_has_the_same_time(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(request())
        first = connection.answer()
        connection.send(b"\r\n", START)
        assert first is not None
        assert (first.status, connection.statuses()) == (200, [408])


def test_a_connection_without_a_word_is_closed_without_one(server: Served) -> None:
    with connected(server.port) as connection:
        assert connection.answers() == []


@pytest.mark.parametrize(
    "hosts",
    [b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nhost: b\r\n", b"Host: a b\r\n", b"Host: a/b\r\n"],
)
def test_a_request_names_one_host(server: Served, hosts: bytes) -> None:
    with connected(server.port) as connection:
        connection.send(b"GET /graphql?query={__typename} HTTP/1.1\r\n", hosts, b"\r\n")
        assert connection.statuses() == [400]


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"HTTP/1.0", 200), (b"HTTP/2.0", 505), (b"HTTP/0.9", 505), (b"HTTP/3.7", 400), (b"ICAP/1.0", 400)],
)
def test_a_version_is_spoken_or_refused(server: Served, line: bytes, status: int) -> None:
    with connected(server.port) as connection:
        connection.send(b"GET /graphql?query={__typename} ", line, b"\r\nAccept: application/json\r\n\r\n")
        assert connection.statuses() == [status]


@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: -3\r\n",
        b"Content-Length: +3\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length : 3\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
def test_a_body_without_one_certain_end_is_400(server: Served, framing: bytes) -> None:
    with connected(server.port) as connection:
        connection.send(b"POST /graphql HTTP/1.1\r\nHost: test\r\n", framing, b"\r\nabc", request())
        assert connection.statuses() == [400]
