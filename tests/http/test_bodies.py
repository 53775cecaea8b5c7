"""Bodies: strangers' are not read, and those of known callers stay within bounds of bytes and values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from graph.http.bodies import BodyLimits
from tests.http.server import build_app, code_of, send
from tests.http.sockets import Connection, connected, status_by_urllib
from tests.support.api import Api
from tests.support.serving import Server, serving

LARGE = 3_900_000
JSON_BODY = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def served(module_dsn: str) -> Iterator[Server]:
    with serving(module_dsn, RUNGLASS_MAX_BODIES_BYTES="10000000") as server:
        yield server


def port_of(server: Server) -> int:
    return int(server.address.rpartition(":")[2])


def head(*headers: str) -> bytes:
    lines = ["POST /graphql HTTP/1.1", "Host: test", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def memory(server: Server) -> int:
    """Bytes in memory of the server's process."""
    pages = Path(f"/proc/{server.process}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.parametrize(
    "headers",
    [
        ["Content-Length: 3900000"],
        ["Content-Length: 999999999999"],
        ["Transfer-Encoding: chunked"],
        ["Content-Length: 3900000", "Expect: 100-continue"],
        ["Content-Length: 3900000", "Authorization: Bearer rg_unknown"],
        ["Content-Length: 3900000", "Cookie: runglass_session=x", "Sec-Fetch-Site: same-origin"],
    ],
)
def test_a_stranger_is_refused_before_anything_of_the_body_has_come(
    served: Server, headers: list[str]
) -> None:
    with connected(port_of(served)) as connection:
        connection.send(head(*headers))
        answer = connection.answer()
        assert answer is not None
        assert (answer.status, answer.headers["connection"]) == (401, "close")
        assert connection.answer() is None


def test_a_connection_goes_on_after_a_stranger_s_small_body(served: Server) -> None:
    with connected(port_of(served)) as connection:
        for _ in range(2):
            connection.send(head("Content-Length: 5"))
            answer = connection.answer()
            assert answer is not None
            assert (answer.status, "connection" in answer.headers) == (401, False)
            connection.send(b"[],[]")


@pytest.mark.parametrize("body", [b"[" * 1_000, b"{}", b"", b"null", b"[],[]"])
def test_what_a_stranger_sends_is_not_looked_at(api: Api, body: bytes) -> None:
    reply = api.runner.run(api.client.post("/graphql", content=body, headers=JSON_BODY))
    assert (reply.status_code, code_of(reply)) == (401, "UNAUTHENTICATED")


def test_ten_of_ten_strangers_see_that_they_are_not_known(served: Server) -> None:
    body = b"[" + b"[]," * (LARGE // 3)
    asked = [status_by_urllib(f"{served.address}/graphql", body, JSON_BODY) for _ in range(10)]
    assert asked == [401] * 10


def test_a_hundred_unfinished_bodies_of_strangers_take_no_memory(served: Server) -> None:
    with ExitStack() as stack:
        before = memory(served)
        clients = [stack.enter_context(connected(port_of(served))) for _ in range(100)]
        for client in clients:
            client.send(head(f"Content-Length: {LARGE}"))
            client.send_what_goes(b" " * (LARGE - 1))
        answers = [client.answer() for client in clients]
        assert memory(served) - before < 100_000_000
    assert [answer.status for answer in answers if answer] == [401] * 100


@contextmanager
def unfinished_bodies(server: Server, headers: dict[str, str], count: int) -> Iterator[list[Connection]]:
    """So many large bodies, each without its last byte."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(port_of(server))) for _ in range(count)]
        for client in clients:
            client.send(head(f"Content-Length: {LARGE}", f"Authorization: {headers['authorization']}"))
            client.send_what_goes(b" " * (LARGE - 1))
        yield clients


def refused_of(clients: list[Connection]) -> int:
    """How many are told that their body finds no room."""
    answers = [client.answer() for client in clients if client.has_answer()]
    assert {answer and answer.status for answer in answers} == {503}
    return len(answers)


def test_unfinished_bodies_of_known_callers_stay_within_a_bound(served: Server, module_api: Api) -> None:
    ann, bob, cecil = (module_api.as_key(name=name).headers for name in ("ann", "bob", "cecil"))
    url = f"{served.address}/graphql"
    with ExitStack() as stack:
        # One body of each fits, and two of all; each of the others is told.
        of_ann = stack.enter_context(unfinished_bodies(served, ann, 4))
        assert refused_of(of_ann) == 3
        of_bob = stack.enter_context(unfinished_bodies(served, bob, 1))
        of_cecil = stack.enter_context(unfinished_bodies(served, cecil, 1))
        assert refused_of(of_bob + of_cecil) == 1
        small = httpx.post(url, json={"query": "{__typename}"}, headers=ann)
        assert small.status_code == 200


def test_one_callers_unfinished_bodies_leave_room_for_others(served: Server, module_api: Api) -> None:
    body = b" " * LARGE + b'{"query":"{__typename}"}'
    other = module_api.as_key().headers | JSON_BODY
    with unfinished_bodies(served, module_api.headers, 6) as clients:
        assert refused_of(clients) == 5
        answer = httpx.post(f"{served.address}/graphql", content=body, headers=other, timeout=30)
        assert (answer.status_code, answer.json()) == (200, {"data": {"__typename": "Query"}})


@pytest.mark.parametrize(
    "variables",
    [
        [[] for _ in range(1_001)],
        {str(number): number for number in range(1_001)},
        [{"a": 1}] * 501,
        [",[{\\"] * 1_001,
        [1.5] * 1_001,
    ],
    ids=["lists", "keys", "objects", "texts", "numbers"],
)
def test_a_body_of_too_many_values_is_not_parsed(variables: object) -> None:
    app = build_app(bodies=BodyLimits(max_values=1_000))
    body = {"query": "{__typename}", "variables": {"a": variables}}
    reply = send(app, json=body)
    assert (reply.status_code, code_of(reply)) == (413, "PAYLOAD_TOO_LARGE")
    assert "1,000 values" in reply.json()["errors"][0]["message"]


@pytest.mark.parametrize("text", [",[{" * 2_000, '"' * 2_000 + ",", "\\" * 2_001 + '",[{' * 1_001])
def test_what_stands_in_a_text_is_no_value(text: str) -> None:
    app = build_app(bodies=BodyLimits(max_values=1_000))
    body = json.dumps({"query": "{__typename}", "variables": {"a": text}}).encode()
    assert send(app, content=body, headers=JSON_BODY).json() == {"data": {"__typename": "Query"}}


def test_the_largest_body_of_texts_is_read(served: Server, module_api: Api) -> None:
    body = {"query": "query($a: String) { __typename }", "variables": {"a": ',"[{\\' * (LARGE // 7)}}
    reply = httpx.post(f"{served.address}/graphql", json=body, headers=module_api.headers, timeout=30)
    assert reply.json()["errors"][0]["extensions"]["code"] == "GRAPHQL_VALIDATION_FAILED"
