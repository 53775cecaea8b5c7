"""Whatever is sent, the answer is a GraphQL body with a code, and never status 500."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http.server import build_app

EXAMPLES = 400

APP = build_app()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as shared:
        yield shared


async def exchange(
    method: str, query_string: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, bytes]:
    """One request to the application itself: an HTTP client would refuse to send much of this."""
    sent: list[Any] = []

    bodies = [{"type": "http.request", "body": body}]

    async def receive() -> dict[str, Any]:
        return bodies.pop() if bodies else await asyncio.Event().wait()  # type: ignore[return-value]

    async def record(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/graphql",
        "query_string": query_string,
        "headers": headers,
    }
    await APP(scope, receive, record)
    return sent[0]["status"], sent[1]["body"]


def check(reply: tuple[int, bytes]) -> None:
    status, body = reply
    assert status < 500
    if status == 204:
        return
    content = json.loads(body, parse_constant=pytest.fail)
    assert isinstance(content, dict)
    assert "data" in content or content["errors"]
    for error in content.get("errors", ()):
        assert error["message"]
        assert error["extensions"]["code"] != "INTERNAL_SERVER_ERROR"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = r"""
{ } ( ) [ ] : ! $ ... @ = | & " \"\"\" # , \
query mutation subscription fragment on Query Job JobFilter
true null 1 -0 1e9 999999999999999999999999999999
jobs edges node runs first last id echo value types skip if a __schema __type __typename
$n $n:Int filter:{siteId:1} echo(value:$n) jobs(first:$n){edges{cursor}} plainJobs{id} node(id:1){id} é
"""
words = st.sampled_from([*WORDS.split(), "\n", "\u2028", "\x00"])
documents = st.lists(words, max_size=25).map(" ".join)
requests = st.fixed_dictionaries(
    {"query": documents | json_values},
    optional={
        "variables": st.dictionaries(st.sampled_from(["n", "a", "id"]), json_values) | json_values,
        "operationName": st.sampled_from(["A", "", "n"]) | json_values,
        "extensions": json_values | st.just({"cost": True}) | st.just({"persistedQuery": {"version": 1}}),
        "documentId": st.text(max_size=9) | json_values,
    },
)
bodies = (
    requests.map(lambda content: json.dumps(content).encode())
    | json_values.map(lambda content: json.dumps(content).encode())
    | st.binary(max_size=200)
)
media = st.sampled_from(
    [
        b"application/json",
        b"application/graphql-response+json",
        b"*/*",
        b"text/html",
        b"application/json;q=0",
        b"application/json; charset=utf-8",
        b"application/jsonx",
        b";;,,=",
        b"",
        b"a/b;q=1;q=2",
        b"\xff\xfe",
    ]
)
headers = st.tuples(
    media.map(lambda value: [(b"content-type", value)]) | st.just([(b"content-type", b"application/json")]),
    media.map(lambda value: [(b"accept", value)]) | st.just([]),
    st.sampled_from([[], [(b"content-encoding", b"gzip")], [(b"cookie", b"a=b")]]),
).map(lambda parts: [header for part in parts for header in part])


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(body=bodies, headers=headers)
def test_no_body_is_a_server_error(
    runner: asyncio.Runner, body: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    check(runner.run(exchange("POST", b"", headers, body)))


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(content=requests)
def test_no_document_is_a_server_error(runner: asyncio.Runner, content: dict[str, object]) -> None:
    body = json.dumps(content).encode()
    check(runner.run(exchange("POST", b"", [(b"content-type", b"application/json")], body)))


@settings(max_examples=EXAMPLES, derandomize=True, deadline=None)
@given(
    method=st.sampled_from(["GET", "OPTIONS", "PUT"]),
    query_string=st.binary(max_size=60)
    | documents.map(lambda text: urlencode({"query": text, "variables": text}).encode()),
    headers=headers,
)
def test_no_url_is_a_server_error(
    runner: asyncio.Runner, method: str, query_string: bytes, headers: list[tuple[bytes, bytes]]
) -> None:
    check(runner.run(exchange(method, query_string, headers, b"")))
