"""Requests that are sent ahead are answered in order, whatever follows them and whoever stops sending."""

from __future__ import annotations

import pytest

from tests.http.server import Served
from tests.http.sockets import connected, request

SLOW = request("{slow}")
GARBAGE = b"\x16\x03\x01 garbage\r\n\r\n"


def bodies(*names: bytes) -> list[bytes]:
    return [b'{"data":{"%b":"Query"}}' % name for name in names]


def test_answers_come_in_order(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(request("{a:__typename}"), SLOW, request("{b:__typename}", "Connection: close"))
        first, slow, last = (answer.body for answer in connection.answers())
    assert [first, last] == bodies(b"a", b"b")
    assert slow == b'{"data":{"slow":"done"}}'


@pytest.mark.parametrize("ahead", [SLOW, request()])
@pytest.mark.parametrize(
    "following",
    [
        GARBAGE,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /graphql HTTP/1.1\r\n\r\n",
        b"POST /graphql HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
)
@pytest.mark.parametrize("apart", [True, False])
def test_garbage_does_not_take_the_place_of_an_answer(
    server: Served, ahead: bytes, following: bytes, apart: bool
) -> None:
    with connected(server.port) as connection:
        if apart:
            connection.send(ahead)
            connection.send(following)
        else:
            connection.send(ahead + following)
        assert connection.statuses() == [200, 400]


def test_a_head_that_is_too_long_waits_for_the_answers_before_it(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(SLOW, request(), b"GET / HTTP/1.1\r\nA: ")
        connection.send_what_goes(b"x" * 300_000)
        assert connection.statuses() == [200, 200, 431]


def test_a_body_that_goes_wrong_is_400(server: Served) -> None:
    with connected(server.port) as connection:
        head = (
            request().partition(b"\r\n\r\n")[0].replace(b"Content-Length: 24", b"Transfer-Encoding: chunked")
        )
        connection.send(head, b"\r\n\r\n1\r\n{\r\n")
        assert server.is_well()
        connection.send(b"no size\r\n")
        assert connection.statuses() == [400]


@pytest.mark.parametrize("requests", [[request()], [SLOW], [request(), SLOW, request(), SLOW]])
@pytest.mark.parametrize("rest", [b"", b"POST /graphql HT", request()[:-3], b"\r\n"])
def test_a_client_that_stops_sending_gets_its_answers(
    server: Served, requests: list[bytes], rest: bytes
) -> None:
    with connected(server.port) as connection:
        connection.send(*requests, rest)
        connection.end()
        assert connection.statuses() == [200] * len(requests)


def test_a_client_that_stops_sending_amid_its_only_body_is_let_go(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(request()[:-3])
        connection.end()
        assert connection.answers() == []


def test_nothing_of_a_request_after_the_last_is_answered(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(request("{__typename}", "Connection: close"), request("mutation{touch}"))
        (answer,) = connection.answers()
        assert b"touched" not in answer.body


def test_a_thousand_requests_ahead_are_too_many(server: Served) -> None:
    with connected(server.port) as connection:
        connection.send(SLOW)
        connection.send_what_goes(request() * 1_000)
        statuses = connection.statuses()
    assert set(statuses[:-1]) == {200}
    assert statuses[-1] in (200, 429)
    assert 1 < len(statuses) <= 100
    assert server.is_well()
