"""An answer reaches its client also where the request was not read to its end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.server import Served
from tests.http.sockets import SECONDS, connected, request, status_by_urllib

HEAD = b"POST %b HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n%b\r\n\r\n"
LARGE = 10_000_000


@pytest.mark.parametrize("chunked", [False, True])
def test_ten_of_ten_clients_see_that_their_body_is_too_large(server: Served, chunked: bool) -> None:
    body = b" " * LARGE

    def pieces() -> Iterator[bytes]:
        for start in range(0, LARGE, 100_000):
            yield body[start : start + 100_000]

    address = f"http://127.0.0.1:{server.port}/graphql"
    headers = {"Content-Type": "application/json"} | ({"Transfer-Encoding": "chunked"} if chunked else {})
    asked = [status_by_urllib(address, pieces() if chunked else body, headers) for _ in range(10)]
    assert asked == [413] * 10


ENDLESS = HEAD % (b"/graphql", b"Content-Length: 900000000000")


def test_a_connection_that_is_given_up_is_read_on_only_so_far(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(ENDLESS)
        connection.send_what_goes(b" " * 200_000_000)
        assert connection.is_reset(SECONDS)


def test_a_connection_that_is_given_up_is_read_on_only_so_long(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(ENDLESS)
        assert connection.statuses() == [413]
        # The end of the answers came at once; that of the connection comes when its time is over.
        assert connection.is_reset(SECONDS)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 900000000000", b"Content-Length: 10\r\nExpect: 100-continue"]
)
def test_a_body_that_nobody_reads_ends_the_connection(server: Served, framing: bytes) -> None:
    with connected(server.port) as connection:
        connection.send(HEAD % (b"/nothing", framing))
        connection.send_what_goes(b"x" * 200_000)
        assert connection.statuses()[0] == 404


def test_the_rest_of_a_body_that_does_not_come_ends_the_connection(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(HEAD % (b"/nothing", b"Content-Length: 10"), b"12345")
        assert connection.statuses() == [404]


def test_the_rest_of_a_small_body_is_passed_over(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(HEAD % (b"/nothing", b"Content-Length: 10"), b"12345")
        first = connection.answer()
        assert first is not None
        assert first.status == 404
        connection.send(b"67890", request("{__typename}", "Connection: close"))
        assert connection.statuses() == [200]


def test_a_client_that_takes_nothing_of_its_answer_is_cut_off(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(request("{large}"))
        assert connection.is_reset(SECONDS)
