"""What callers send, and what they get: methods, media types, bodies, URLs."""

import json
from typing import Any

import httpx
import pytest
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse

from graph.errors import ApiError, ErrorCode
from graph.http.bodies import BodyLimits
from tests.http.server import Context, build_app, code_of, send

NEW = "application/graphql-response+json"
OLD = "application/json"
JSON_BODY = {"content-type": OLD}
QUERY = b'{"query":"{__typename}"}'


def post(content: bytes, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return send(build_app(), content=content, headers=JSON_BODY | named)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"null", "object"),
        (b"123", "object"),
        (b'"x"', "object"),
        (b"true", "object"),
        (b"[]", "Batches"),
        (b'[{"query":"{__typename}"}]', "Batches"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"query":"\xff"}', "not JSON"),
        (b'{"query":"\\ud800"}', "not JSON"),
        (b'\xef\xbb\xbf{"query":"{__typename}"}', "not JSON"),
        (b'{"query":"{__typename}","variables":{"n":' + b"9" * 5000 + b"}}", "not JSON"),
        (b'{"query":"{__typename}","variables":{"n":NaN}}', "not JSON"),
        (b'{"query":"{__typename}","variables":{"n":-Infinity}}', "not JSON"),
        (b'{"query":"{__typename}","variables":{"n":1e999}}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"query":"{__typename}","variables":' + b'{"a":' * 50_000, "not JSON"),
        (b"{}", "query is missing"),
        (b'{"query":null}', "query is missing"),
        (b'{"query":1}', "query must be a string"),
        (b'{"query":"{__typename}","variables":[]}', "variables must be an object"),
        (b'{"query":"{__typename}","operationName":{}}', "operationName must be a string"),
        (b'{"query":"{__typename}","extensions":"x"}', "extensions must be an object"),
        (b'{"documentId":7}', "documentId must be a string"),
    ],
)
@pytest.mark.parametrize("accept", [OLD, NEW])
def test_a_body_that_is_no_request_is_refused(body: bytes, reason: str, accept: str) -> None:
    reply = post(body, accept=accept)
    assert (reply.status_code, code_of(reply)) == (400, "BAD_REQUEST")
    assert reason in reply.json()["errors"][0]["message"]


@pytest.mark.parametrize("value", ["1" * 30, "1.5", "[[[]]]", '{"a":1}', '"x"', "true", "null"])
def test_a_variable_of_a_wrong_value_is_the_callers_mistake(value: str) -> None:
    query = "query ($n: Int!) { jobs(first: $n) { edges { cursor } } }"
    reply = post(f'{{"query":"{query}","variables":{{"n":{value}}}}}'.encode(), accept=NEW)
    assert (reply.status_code, code_of(reply)) == (400, "BAD_USER_INPUT")


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/jsonx",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/graphql",
        "json",
        "application/json, text/plain",
    ],
)
def test_another_content_type_is_415(content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    reply = send(build_app(), content=QUERY, headers=headers)
    assert (reply.status_code, code_of(reply)) == (415, "UNSUPPORTED_MEDIA_TYPE")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "APPLICATION/JSON",
        'application/json; charset="UTF-8"',
        "application/json;charset=utf8",
    ],
)
def test_json_in_utf_8_is_read(content_type: str) -> None:
    reply = send(build_app(), content=QUERY, headers={"content-type": content_type})
    assert (reply.status_code, reply.json()) == (200, {"data": {"__typename": "Query"}})


def test_two_content_types_are_no_content_type() -> None:
    headers = [("content-type", OLD), ("content-type", "text/plain")]
    assert send(build_app(), content=QUERY, headers=headers).status_code == 415


def test_a_compressed_body_is_415() -> None:
    assert post(QUERY, content_encoding="gzip").status_code == 415


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        (NEW, NEW),
        (OLD, OLD),
        ("*/*", OLD),
        ("application/*", OLD),
        ("", OLD),
        (f"{OLD}, {NEW}", NEW),
        (f"{NEW};q=0.5, {OLD}", OLD),
        (f"{NEW};q=0.5, {OLD};q=0.9", OLD),
        (f"{NEW};q=0, */*", OLD),
        (f"{OLD};q=0, */*;q=0.1", NEW),
        (f"{OLD};q=0.2, */*;q=0.1", OLD),
        (f"{NEW}, {OLD};q=0.9", NEW),
        (f"{NEW.upper()};charset=UTF-8", NEW),
        (f"text/html, {OLD};q=0.1", OLD),
        (f"{NEW};q=nan, {OLD}", OLD),
        (f"{NEW};q=2, {OLD}", OLD),
    ],
)
def test_the_answer_is_in_the_format_that_fits_best(accept: str, answer: str) -> None:
    reply = post(QUERY, accept=accept)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == f"{answer}; charset=utf-8"


@pytest.mark.parametrize("accept", ["text/html", f"{OLD};q=0", "*/*;q=0", "garbage", f"{OLD};charset=latin1"])
def test_an_answer_that_nobody_accepts_is_406(accept: str) -> None:
    reply = post(QUERY, accept=accept)
    assert (reply.status_code, code_of(reply)) == (406, "NOT_ACCEPTABLE")


def test_several_accept_headers_are_one_list() -> None:
    headers = [("accept", "text/html"), ("accept", NEW), ("content-type", OLD)]
    assert send(build_app(), content=QUERY, headers=headers).headers["content-type"].startswith(NEW)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "QUERY"])
def test_another_method_is_405_and_says_which_are_allowed(method: str) -> None:
    reply = send(build_app(), method)
    assert (reply.status_code, code_of(reply)) == (405, "METHOD_NOT_ALLOWED")
    assert reply.headers["allow"] == "GET, HEAD, POST, OPTIONS"


def test_options_names_the_methods() -> None:
    reply = send(build_app(), "OPTIONS")
    assert (reply.status_code, reply.content) == (204, b"")
    assert reply.headers["allow"] == "GET, HEAD, POST, OPTIONS"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_mutation_over_get_is_405_and_does_not_run(method: str) -> None:
    reply = send(build_app(), method, params={"query": "mutation { touch }"})
    assert reply.status_code == 405
    assert reply.headers["allow"] == "POST"
    assert b"touched" not in reply.content


def test_a_mutation_by_post_runs() -> None:
    reply = post(b'{"query":"mutation { touch }"}')
    assert reply.json() == {"data": {"touch": "touched"}}


@pytest.mark.parametrize(
    ("query_string", "status"),
    [
        ("query={__typename}", 200),
        ("query={__typename}&variables=", 200),
        ("query={__typename}&variables=null&extensions=&operationName=", 200),
        ("query=query+A{__typename}+query+B{__typename}&operationName=B", 200),
        ("", 400),
        ("variables={}", 400),
        ("query={__typename}&query={__typename}", 400),
        ("query={__typename}&variables=[]", 400),
        ("query={__typename}&variables={", 400),
        ("query={__typename}&variables=NaN", 400),
        ("query=%ff", 400),
        ("query=%ed%a0%80", 400),
        ("&".join(f"a{number}=1" for number in range(40)), 400),
    ],
)
def test_get_takes_the_parameters_from_the_url(query_string: str, status: int) -> None:
    reply = send(build_app(), "GET", f"/graphql?{query_string}")
    assert reply.status_code == status
    assert status == 200 or code_of(reply) == "BAD_REQUEST"


@pytest.mark.parametrize(("accept", "status"), [(NEW, 400), (OLD, 200)])
@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": ""}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nonsense }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "type A { b: Int }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "fragment A on Query { __typename }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query A{__typename} query B{__typename}"}, "OPERATION_RESOLUTION_FAILURE"),
        ({"query": "query A{__typename}", "operationName": "C"}, "OPERATION_RESOLUTION_FAILURE"),
        ({"query": "{__typename}", "operationName": "C"}, "OPERATION_RESOLUTION_FAILURE"),
        ({"query": "query($id:ID!){node(id:$id){id}}"}, "BAD_USER_INPUT"),
        ({"query": "{ plainJobs" + "{plainRuns{job" * 9 + "{id}" + "}}" * 9 + "}"}, "QUERY_TOO_COMPLEX"),
        ({"query": "subscription { a }"}, "GRAPHQL_VALIDATION_FAILED"),
    ],
)
def test_a_document_that_does_not_run_is_400_in_the_new_format_and_200_in_the_old(
    parameters: dict[str, str], code: str, accept: str, status: int
) -> None:
    reply = send(build_app(), json=parameters, headers={"accept": accept})
    assert (reply.status_code, code_of(reply)) == (status, code)


def test_a_named_operation_runs_out_of_several() -> None:
    reply = send(
        build_app(), json={"query": "query A{a:__typename} query B{b:__typename}", "operationName": "B"}
    )
    assert reply.json() == {"data": {"b": "Query"}}


def test_the_draft_statuses_are_a_setting() -> None:
    app = build_app(draft_statuses=True)
    headers = {"accept": NEW}
    assert send(app, json={"query": "{ nonsense }"}, headers=headers).status_code == 422
    assert send(app, json={"query": "{ boom a: __typename }"}, headers=headers).status_code == 294
    assert send(app, json={"query": "{ nonsense }"}, headers={"accept": OLD}).status_code == 200


def test_every_answer_is_private_and_not_sniffed() -> None:
    for reply in (post(QUERY), post(b"null"), send(build_app(), "PUT"), send(build_app(), "OPTIONS")):
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"


def small_app() -> Any:
    return build_app(bodies=BodyLimits(max_bytes=1_000))


def test_a_long_body_is_413_by_its_declared_length() -> None:
    reply = send(small_app(), content=b" " * 1_001, headers=JSON_BODY)
    assert (reply.status_code, code_of(reply)) == (413, "PAYLOAD_TOO_LARGE")
    assert reply.headers["connection"] == "close"


def test_a_long_body_that_is_declared_is_not_read_at_all() -> None:
    def chunks() -> Any:
        yield pytest.fail("the body was read")

    async def never() -> Any:
        for chunk in chunks():
            yield chunk

    headers = JSON_BODY | {"content-length": "1001"}
    assert send(small_app(), content=never(), headers=headers).status_code == 413


def test_a_long_body_without_a_length_is_413_before_it_is_all_read() -> None:
    sent: list[int] = []

    async def chunks() -> Any:
        for number in range(100):
            sent.append(number)
            yield b" " * 300

    reply = send(small_app(), content=chunks(), headers=JSON_BODY)
    assert (reply.status_code, code_of(reply)) == (413, "PAYLOAD_TOO_LARGE")
    assert len(sent) < 10


def test_a_body_in_pieces_is_put_together() -> None:
    async def chunks() -> Any:
        for byte in QUERY:
            yield bytes([byte])

    assert send(build_app(), content=chunks(), headers=JSON_BODY).json() == {"data": {"__typename": "Query"}}


def test_nan_is_never_emitted() -> None:
    reply = post(b'{"query":"{ echo(number: 1e308) }"}')
    assert json.loads(reply.content, parse_constant=pytest.fail) == {"data": {"echo": 1e308}}


@pytest.mark.parametrize("number", ["1e999", "-1E+400", "9" * 400])
def test_infinity_does_not_come_in_by_a_literal(number: str) -> None:
    reply = post(f'{{"query":"{{ echo(number: {number}) }}"}}'.encode())
    assert code_of(reply) == "GRAPHQL_VALIDATION_FAILED"


def test_an_integer_beyond_64_bits_is_answered() -> None:
    assert post(b'{"query":"{ huge }"}').json() == {"data": {"huge": 2**70}}


def test_the_cost_is_told_on_request() -> None:
    reply = send(build_app(), json={"query": "{__typename}", "extensions": {"cost": True}})
    assert reply.json()["extensions"] == {"cost": {"requested": 1, "maximum": 50_000}}
    assert "extensions" not in post(QUERY).json()


def refusing(code: ErrorCode, **extensions: object) -> Any:
    async def get_context(_connection: HTTPConnection) -> Context:
        raise ApiError(code, "No.", **extensions)

    return build_app(get_context=get_context)


@pytest.mark.parametrize("accept", [OLD, NEW])
@pytest.mark.parametrize(
    ("code", "status", "header"),
    [
        (ErrorCode.UNAUTHENTICATED, 401, ("www-authenticate", "Bearer")),
        (ErrorCode.FORBIDDEN, 403, None),
        (ErrorCode.RATE_LIMITED, 429, ("retry-after", "3")),
        (ErrorCode.SERVICE_UNAVAILABLE, 503, None),
    ],
)
def test_a_caller_that_is_turned_away_gets_the_status(
    code: ErrorCode, status: int, header: tuple[str, str] | None, accept: str
) -> None:
    app = refusing(code, retryAfter=2.1)
    reply = send(app, json={"query": "{__typename}"}, headers={"accept": accept})
    assert (reply.status_code, code_of(reply)) == (status, code)
    assert header is None or reply.headers[header[0]] == header[1]


def test_introspection_and_suggestions_are_for_those_who_may() -> None:
    async def anonymous(_connection: HTTPConnection) -> Context:
        return Context(allow_introspection=False)

    app = build_app(get_context=anonymous)
    reply = send(
        app, json={"query": "{ a: __typename ...F } fragment F on Query { __schema { types { name } } }"}
    )
    assert code_of(reply) == "INTROSPECTION_DISABLED"
    assert send(app, json={"query": "{ __typename }"}).json() == {"data": {"__typename": "Query"}}


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def page(_request: Request) -> HTMLResponse:
    return HTMLResponse("<h1>explorer</h1>")


def test_a_browser_gets_the_explorer() -> None:
    reply = send(build_app(explorer=page), "GET", headers={"accept": BROWSER})
    assert (reply.status_code, reply.text) == (200, "<h1>explorer</h1>")


@pytest.mark.parametrize("accept", ["*/*", OLD, f"{OLD}, text/html;q=0.5", "text/html;q=0"])
def test_a_program_does_not_get_the_explorer(accept: str) -> None:
    reply = send(build_app(explorer=page), "GET", headers={"accept": accept})
    assert "explorer" not in reply.text


def test_without_an_explorer_a_browser_gets_an_answer() -> None:
    reply = send(build_app(), "GET", "/graphql?query={__typename}", headers={"accept": BROWSER})
    assert reply.json() == {"data": {"__typename": "Query"}}
