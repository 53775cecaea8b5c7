"""Front ends elsewhere: other origins, and packed answers."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from graph.processes.banner import LOCAL
from graph.settings.config import Settings
from resolvers.access.sessions import issue_sign_in_token
from tests.conftest import Api, Store

OURS, PORT, FOREIGN = "https://ops.example.com", "http://localhost:5173", "https://evil.example.com"
VIEWER = {"query": "{ viewer { name } }"}
RUNS = {"query": "{ runLogs(first: 100) { edges { node { id appType siteId status } } } }"}
PREFLIGHT = {
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,traceparent,apollographql-client-name",
}


@pytest.fixture
def origins() -> str:
    return f"{OURS}, {PORT}"


@pytest.fixture
def api(dsn: str, origins: str) -> Iterator[Api]:
    api = Api(dsn, allowed_origins=origins)
    yield api
    api.close()


def post(api: Api, body: dict[str, Any] = VIEWER, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.runner.run(api.client.post("/graphql", json=body, headers=sent))


def preflight(api: Api, origin: str, **asked: str) -> httpx.Response:
    headers = {"origin": origin, **PREFLIGHT, **asked}
    return api.runner.run(api.client.options("/graphql", headers=headers))


@pytest.mark.parametrize("origin", [OURS, PORT])
def test_a_page_of_an_allowed_origin_asks_with_a_key(api: Api, origin: str) -> None:
    allowed = preflight(api, origin)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == origin
    assert "POST" in allowed.headers["access-control-allow-methods"]
    assert allowed.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
    answer = post(api, origin=origin, **api.headers)
    assert answer.json() == {"data": {"viewer": {"name": "tests"}}}
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "retry-after" in answer.headers["access-control-expose-headers"].lower()
    assert "origin" in answer.headers["vary"].lower()


@pytest.mark.parametrize(
    "origin", [FOREIGN, "https://ops.example.com:8443", "http://ops.example.com", OURS + ".evil.com", "null"]
)
def test_a_page_of_another_origin_is_not_let_in(api: Api, origin: str) -> None:
    for answer in (preflight(api, origin), post(api, origin=origin, **api.headers)):
        assert "access-control-allow-origin" not in answer.headers


def test_without_the_setting_nothing_is_said_of_origins(dsn: str) -> None:
    api = Api(dsn)
    try:
        for answer in (preflight(api, OURS), post(api, origin=OURS, **api.headers)):
            assert not [name for name in answer.headers if name.startswith("access-control")]
    finally:
        api.close()


def test_a_refusal_can_be_read_by_the_page(api: Api) -> None:
    answer = post(api, origin=OURS)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (401, OURS)


def signed_in(api: Api) -> Callable[..., int]:
    """Asks as a browser that is signed in; gives the status."""
    token = api.runner.run(issue_sign_in_token(api.app.state.database, LOCAL, 60))
    browser = api.browser()
    assert api.runner.run(browser.get("/sign-in", params={"token": token})).status_code == 303

    def ask(method: str = "POST", **headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"json": VIEWER} if method == "POST" else {"params": VIEWER}
        return api.runner.run(browser.request(method, "/graphql", headers=sent, **given)).status_code

    return ask


@pytest.mark.parametrize(
    ("site", "origin", "status"),
    [
        ("same-site", OURS, 200),
        ("same-origin", PORT, 200),
        ("cross-site", OURS, 403),
        ("same-site", FOREIGN, 403),
        ("cross-site", FOREIGN, 403),
        ("same-site", "null", 403),
    ],
)
def test_a_cookie_serves_pages_of_allowed_origins_of_the_same_site(
    api: Api, site: str, origin: str, status: int
) -> None:
    ask = signed_in(api)
    assert ask(sec_fetch_site=site, origin=origin) == status
    assert ask("GET", sec_fetch_site=site, origin=origin) == 403
    # Older browsers do not say which site it is.
    assert ask(origin=origin) == (200 if origin in (OURS, PORT) else 403)


@pytest.mark.parametrize("origins", ["*"])
def test_every_origin_may_ask_with_a_key_and_none_with_a_cookie(api: Api) -> None:
    assert preflight(api, FOREIGN).headers["access-control-allow-origin"] == "*"
    answer = post(api, origin=FOREIGN, **api.headers)
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers
    ask = signed_in(api)
    assert ask(sec_fetch_site="same-site", origin=FOREIGN) == ask(origin="*") == 403


@pytest.mark.parametrize(
    "value",
    ["*,https://ops.example.com", "ops.example.com", "https://ops.example.com/", "https://*.a.com", "null",
     "HTTPS://ops.example.com", "https://a.com https://b.com", "ftp://a.com", "https://user@a.com"],
)  # fmt: skip
def test_a_list_that_is_none_of_origins_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        Settings(_env_file=None, allowed_origins=value)


def packed(api: Api, body: dict[str, Any], encoding: str | None) -> tuple[httpx.Response, bytes]:
    """The answer, and its bytes as they came."""
    headers = {**api.headers, "accept-encoding": encoding or ""}
    request = api.client.build_request("POST", "/graphql", json=body, headers=headers)
    if encoding is None:
        del request.headers["accept-encoding"]

    async def ask() -> tuple[httpx.Response, bytes]:
        answer = await api.client.send(request, stream=True)
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
        await answer.aclose()
        return answer, raw

    return api.runner.run(ask())


@pytest.mark.parametrize("encoding", ["gzip", "br, GZIP;q=0.5", "deflate, gzip;q=1.0, *;q=0.5"])
def test_a_long_answer_is_packed_for_who_asks(api: Api, store: Store, encoding: str) -> None:
    for _ in range(50):
        store.run()
    _, plain = packed(api, RUNS, None)
    answer, raw = packed(api, RUNS, encoding)
    assert (answer.headers["content-encoding"], answer.headers["content-length"]) == ("gzip", str(len(raw)))
    assert "accept-encoding" in answer.headers["vary"]
    assert gzip.decompress(raw) == plain
    assert len(raw) < len(plain) / 4


@pytest.mark.parametrize("encoding", [None, "identity", "br", "gzip;q=0", "gzip; q=0.0, br", "xgzip"])
def test_others_get_it_as_it_is(api: Api, store: Store, encoding: str | None) -> None:
    for _ in range(50):
        store.run()
    answer, raw = packed(api, RUNS, encoding)
    assert "content-encoding" not in answer.headers
    assert answer.headers["content-length"] == str(len(raw))


def test_a_short_answer_is_not_packed(api: Api) -> None:
    assert "content-encoding" not in packed(api, VIEWER, "gzip")[0].headers


def test_a_new_key_is_never_packed(api: Api) -> None:
    create = """createApiKey(input: {name: "robot", role: VIEWER, siteIds: ["x"]}) {
      ... on CreatedApiKey { secret apiKey { id name } }
    }"""
    many = " ".join(f"a{number}: {create}" for number in range(10))
    answer, raw = packed(api, {"query": f"mutation {{ {many} }}"}, "gzip")
    assert len(raw) > 1_024
    assert raw.count(b"rg_") == 10
    assert "content-encoding" not in answer.headers


def test_a_very_long_answer_is_packed_beside_others(api: Api, store: Store) -> None:
    for _ in range(100):
        store.run(error_message="x" * 1_900, status="failed")
    body = {"query": "{ alerts(first: 100) { edges { node { runLog { errorMessage } } } } }"}
    answer, raw = packed(api, body, "gzip")
    assert answer.headers["content-encoding"] == "gzip"
    assert len(zlib.decompress(raw, wbits=31)) > 150_000
