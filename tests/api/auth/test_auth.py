"""Who is let in: keys, sessions of browsers, and what happens when either ends."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from datetime import UTC, datetime, timedelta

import httpx
import psycopg
import pytest
from psycopg import sql

from db.sql.scope import Scope
from graph.processes.banner import LOCAL, start_message
from resolvers.access.authentication import Authentication
from resolvers.access.callers import Caller, Role
from resolvers.access.secrets import new_key
from resolvers.access.sessions import issue_sign_in_token
from tests.support.api import Api
from tests.support.store import Store

VIEWER = "{ viewer { name role siteIds readsTexts } }"
LOOKED_UP = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%api_keys%'
"""
REFUSED = {"code": "UNAUTHENTICATED", "message": "Sign in: send a valid key as 'Authorization: Bearer KEY'."}


def authentication(api: Api) -> Authentication:
    return api.app.state.authentication


def ask(api: Api, **headers: str) -> httpx.Response:
    client = api.browser()
    return api.runner.run(client.post("/graphql", json={"query": VIEWER}, headers=headers))


def refusal(response: httpx.Response) -> dict[str, str]:
    assert "data" not in response.json()
    error = response.json()["errors"][0]
    return {"message": error["message"], **error["extensions"]}


def test_a_key_says_who_calls_and_where(api: Api) -> None:
    key = api.as_key(role="operator", sites=["tokyo", "berlin"], reads_texts=True, name="robot")
    assert key.data(VIEWER)["viewer"] == {
        "name": "robot",
        "role": "OPERATOR",
        "siteIds": ["berlin", "tokyo"],
        "readsTexts": True,
    }


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer rg_",
        "Bearer rg_short",
        "Bearer " + new_key().text,
        "Bearer " + new_key().text + "x",
        "Bearer rg_" + "ä" * 43,
        "Bearer rg_" + "0" * 100_000,
        "Bearer eyJhbGciOiJub25lIn0.e30.",
        "Basic cm9vdDpyb290",
        new_key().text,
    ],
)
def test_whatever_is_no_key_gets_one_neutral_answer(api: Api, header: str) -> None:
    response = api.runner.run(
        api.browser().post(
            "/graphql",
            json={"query": VIEWER},
            headers=[(b"authorization", header.encode()), (b"content-type", b"application/json")],
        )
    )
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"
    assert refusal(response) == REFUSED


def test_without_a_key_there_is_nothing_not_even_the_schema(api: Api) -> None:
    for query in ("{ __typename }", "{ __schema { types { name } } }", "{ nonsense }"):
        response = api.runner.run(api.browser().post("/graphql", json={"query": query}))
        assert response.status_code == 401
        assert refusal(response) == REFUSED


def test_two_headers_are_no_key(api: Api) -> None:
    key = api.headers["authorization"]
    response = api.runner.run(
        api.browser().post(
            "/graphql", json={"query": VIEWER}, headers=[("authorization", key), ("authorization", key)]
        )
    )
    assert refusal(response) == REFUSED


def test_the_scheme_is_read_in_any_case(api: Api) -> None:
    response = ask(api, authorization=api.headers["authorization"].replace("Bearer", "bEARER"))
    assert response.json()["data"]["viewer"]["name"] == "tests"


def test_an_expired_key_is_refused_like_an_unknown_one(api: Api, store: Store) -> None:
    key = api.as_key(name="short")
    assert key.data(VIEWER)
    store.rows("UPDATE runglass.api_keys SET expires_at = now() WHERE name = 'short'")
    authentication(api).forget()
    assert key.error(VIEWER) == REFUSED


def test_a_remembered_key_expires_on_time(api: Api, store: Store) -> None:
    key = api.as_key(name="short")
    assert key.data(VIEWER)
    # Only what is remembered knows the expiry: no notice tells of time.
    store.rows("ALTER TABLE runglass.api_keys DISABLE TRIGGER api_keys_changed")
    store.rows("UPDATE runglass.api_keys SET expires_at = now() + interval '1 hour' WHERE name = 'short'")
    authentication(api).forget()
    assert key.data(VIEWER)
    for remembered in authentication(api)._remembered.values():
        object.__setattr__(remembered, "expires_at", datetime.now(UTC) - timedelta(seconds=1))
    store.rows("UPDATE runglass.api_keys SET expires_at = now() WHERE name = 'short'")
    assert key.error(VIEWER) == REFUSED


def test_a_key_that_was_just_seen_costs_no_statement(api: Api) -> None:
    assert api.statements(VIEWER) == 0


@pytest.mark.parametrize(
    ("key", "statements"), [(new_key().text, [1, 0]), ("rg_guess", [0, 0]), ("guess", [0, 0])]
)
def test_what_is_refused_costs_one_statement_at_most(api: Api, key: str, statements: list[int]) -> None:
    request = {"json": {"query": VIEWER}, "headers": {"authorization": f"Bearer {key}"}}
    for expected in statements:
        response, count = api.counted(api.browser().post("/graphql", **request))
        assert refusal(response) == REFUSED
        assert count == expected


REVOKE = "mutation ($id: ID!) { revokeApiKey(input: {keyId: $id}) { __typename } }"


def test_the_process_that_revokes_refuses_from_its_very_next_request(api: Api, store: Store) -> None:
    key = api.as_key(name="gone")
    assert key.data(VIEWER)
    # Nobody tells: the process must know by itself.
    store.rows("ALTER TABLE runglass.api_keys DISABLE TRIGGER api_keys_changed")
    number = store.value("SELECT id FROM runglass.api_keys WHERE name = 'gone'")
    assert api.data(REVOKE, {"id": f"key_{number}"})["revokeApiKey"] == {"__typename": "ApiKey"}
    assert key.error(VIEWER) == REFUSED


def heard(api: Api, change: str) -> None:
    """Make a change by another connection and let the app hear of it."""
    seen = authentication(api)._changes

    async def wait() -> None:
        with psycopg.connect(api.settings.dsn, autocommit=True) as other:
            other.execute(change)
        while authentication(api)._changes == seen:  # noqa: ASYNC110 - told by another connection
            await asyncio.sleep(0)

    api.runner.run(wait())


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE runglass.api_keys SET revoked_at = now(), revoked_by = 'x' WHERE name = 'gone'",
        "DELETE FROM runglass.api_keys WHERE name = 'gone'",
        "UPDATE runglass.api_keys SET expires_at = now() WHERE name = 'gone'",
    ],
)
def test_a_change_by_any_other_process_is_heard(api: Api, change: str) -> None:
    key = api.as_key(name="gone")
    assert key.data(VIEWER)
    heard(api, change)
    assert key.error(VIEWER) == REFUSED


def test_a_smaller_role_counts_at_once(api: Api) -> None:
    key = api.as_key(name="robot", role="admin")
    assert key.data(VIEWER)["viewer"]["role"] == "ADMIN"
    heard(api, "UPDATE runglass.api_keys SET role = 'viewer' WHERE name = 'robot'")
    assert key.data(VIEWER)["viewer"]["role"] == "VIEWER"


def test_while_notices_do_not_arrive_nothing_is_remembered(api: Api) -> None:
    assert api.statements(VIEWER) == 0
    authentication(api)._set_listening(False)
    assert api.statements(VIEWER) == 1


def test_a_lost_connection_for_notices_is_made_again(api: Api, store: Store) -> None:
    auth = authentication(api)
    assert api.data(VIEWER)

    async def lose_and_regain() -> None:
        lost = store.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'runglass notifications' AND datname = current_database()"
        )
        assert len(lost) == 1

        while auth._listening.is_set():  # noqa: ASYNC110 - told by another connection
            await asyncio.sleep(0)
        assert not auth._remembered
        await auth._listening.wait()

    api.runner.run(lose_and_regain())
    assert api.statements(VIEWER) == 0


def test_a_look_up_that_a_change_overtook_is_not_remembered(api: Api) -> None:
    auth = authentication(api)
    auth.forget()

    async def overtaken(connection: object, key_hash: bytes) -> object:
        auth.forget()
        return await auth._look_up_key(connection, key_hash)  # type: ignore[arg-type]

    key = api.headers["authorization"].removeprefix("Bearer ")
    found = api.runner.run(auth._find(hashlib.sha256(key.encode()).digest(), overtaken))  # type: ignore[arg-type]
    assert found is not None
    assert not auth._remembered


def test_zero_seconds_remember_nothing(dsn: str) -> None:
    api = Api(dsn, key_cache_seconds=0)
    try:
        assert api.statements(VIEWER) == 1
    finally:
        api.close()


def test_last_use_is_written_off_the_request_and_once_a_minute(api: Api, store: Store) -> None:
    used = "SELECT last_used_at FROM runglass.api_keys WHERE name = 'tests'"
    api.data(VIEWER)
    assert store.value(used) is None

    api.runner.run(authentication(api).write_uses())
    first = store.value(used)
    assert datetime.now(UTC) - first < timedelta(minutes=1)

    api.data(VIEWER)
    api.runner.run(authentication(api).write_uses())
    assert store.value(used) == first

    store.rows("UPDATE runglass.api_keys SET last_used_at = last_used_at - interval '61 seconds'")
    api.data(VIEWER)
    api.runner.run(authentication(api).write_uses())
    assert store.value(used) >= first


def test_writing_last_use_makes_nobody_forget(api: Api) -> None:
    api.data(VIEWER)
    changes = authentication(api)._changes
    api.runner.run(authentication(api).write_uses())
    heard(api, "UPDATE runglass.api_keys SET name = name")
    assert authentication(api)._changes == changes + 1


def test_a_database_that_is_gone_is_no_refusal_of_the_key(api: Api, store: Store) -> None:
    name = store.value("SELECT current_database()")
    authentication(api).forget()
    with psycopg.connect(api.settings.dsn.replace(name, "postgres"), autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(name)))
        admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        try:
            response = ask(api, authorization=api.headers["authorization"])
        finally:
            admin.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(sql.Identifier(name)))
    assert refusal(response)["code"] == "SERVICE_UNAVAILABLE"
    assert response.status_code == 503


def test_no_key_is_stored_or_logged(api: Api, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    create = """mutation {
      createApiKey(input: {name: "n", role: VIEWER, everySite: true}) { ... on CreatedApiKey { secret } }
    }"""
    secret = api.data(create)["createApiKey"]["secret"]
    assert ask(api, authorization=f"Bearer {secret}").status_code == 200
    assert ask(api, authorization=f"Bearer {secret}x").status_code == 401
    tables = store.rows(
        "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables"
        " WHERE table_schema IN ('runglass', 'biz') AND table_type = 'BASE TABLE'"
    )
    assert len(tables) > 5
    for table in tables:
        rows = store.rows(f"SELECT t::text AS row FROM {table['name']} AS t")
        assert not [row for row in rows if secret[3:] in row["row"]], table
    assert secret[3:] not in caplog.text


# Browsers


@pytest.fixture
def link(api: Api) -> str:
    """A sign-in link as `runglass serve` prints it."""
    database = api.app.state.database
    text = api.runner.run(start_message(database, api.settings, "127.0.0.1", 8000, demo=False))
    return text.split("http://127.0.0.1:8000/sign-in?token=", 1)[1].split("\n", 1)[0]


@pytest.fixture
def browser(api: Api) -> httpx.AsyncClient:
    """A browser at the server's address."""
    return api.browser("http://127.0.0.1:8000")


SAME_ORIGIN = {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}


def sign_in(api: Api, browser: httpx.AsyncClient, token: str) -> httpx.Response:
    return api.runner.run(browser.get("/sign-in", params={"token": token}))


def browse(api: Api, browser: httpx.AsyncClient, headers: dict[str, str]) -> httpx.Response:
    return api.runner.run(browser.post("/graphql", json={"query": VIEWER}, headers=headers))


def test_a_link_signs_a_browser_in(api: Api, browser: httpx.AsyncClient, link: str) -> None:
    response = sign_in(api, browser, link)
    assert (response.status_code, response.headers["location"]) == (303, "/graphql")
    cookie = response.headers["set-cookie"]
    assert cookie.startswith("runglass_session=")
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/", "Max-Age=43200"):
        assert attribute in cookie
    assert "Secure" not in cookie
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["referrer-policy"] == "no-referrer"
    viewer = browse(api, browser, SAME_ORIGIN).json()["data"]["viewer"]
    assert viewer == {"name": "local", "role": "ADMIN", "siteIds": None, "readsTexts": True}


def test_over_https_the_cookie_is_secure_and_bound_to_the_host(api: Api, link: str) -> None:
    browser = api.browser("https://ops.example")
    cookie = sign_in(api, browser, link).headers["set-cookie"]
    assert cookie.startswith("__Host-runglass_session=")
    assert "Secure" in cookie
    response = browse(api, browser, {"origin": "https://ops.example"})
    assert response.json()["data"]["viewer"]["name"] == "local"


def test_a_link_works_once(api: Api, browser: httpx.AsyncClient, link: str) -> None:
    sign_in(api, browser, link)
    again = sign_in(api, api.browser("http://127.0.0.1:8000"), link)
    assert again.status_code == 403
    assert "set-cookie" not in again.headers


def test_ten_clicks_at_once_make_one_session(api: Api, store: Store, link: str) -> None:

    async def click() -> list[httpx.Response]:
        return await asyncio.gather(*(api.client.get("/sign-in", params={"token": link}) for _ in range(10)))

    statuses = sorted(response.status_code for response in api.runner.run(click()))
    assert statuses == [303] + [403] * 9
    assert store.value("SELECT count(*) FROM runglass.sessions") == 1


@pytest.mark.parametrize("token", ["", "x", "0" * 43, "\x00" * 43, "ä" * 43])
def test_a_made_up_link_is_refused(api: Api, browser: httpx.AsyncClient, link: str, token: str) -> None:
    assert sign_in(api, browser, token).status_code == 403


def test_an_expired_link_is_refused(api: Api, store: Store, browser: httpx.AsyncClient, link: str) -> None:
    store.rows("UPDATE runglass.sign_in_tokens SET expires_at = now()")
    assert sign_in(api, browser, link).status_code == 403
    assert store.value("SELECT count(*) FROM runglass.sessions") == 0


def test_looking_at_a_link_does_not_use_it_up(api: Api, browser: httpx.AsyncClient, link: str) -> None:
    head = api.runner.run(browser.head("/sign-in", params={"token": link}))
    ahead = api.runner.run(
        browser.get("/sign-in", params={"token": link}, headers={"sec-purpose": "prefetch"})
    )
    assert (head.status_code, ahead.status_code) == (204, 204)
    assert sign_in(api, browser, link).status_code == 303


def test_the_token_and_the_session_are_stored_hashed(
    api: Api, store: Store, browser: httpx.AsyncClient, link: str
) -> None:
    stored = bytes(store.value("SELECT token_hash FROM runglass.sign_in_tokens"))
    assert stored == hashlib.sha256(link.encode()).digest()
    sign_in(api, browser, link)
    secret = browser.cookies["runglass_session"]
    stored = bytes(store.value("SELECT session_hash FROM runglass.sessions"))
    assert stored == hashlib.sha256(secret.encode()).digest()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9000", "sec-fetch-site": "same-site"},
        {"origin": "http://127.0.0.1:8000", "sec-fetch-site": "cross-site"},
        {"origin": "http://evil.example", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
    ],
)
def test_a_session_is_no_use_to_other_pages(
    api: Api, browser: httpx.AsyncClient, link: str, headers: dict[str, str]
) -> None:
    sign_in(api, browser, link)
    response = browse(api, browser, headers)
    assert response.status_code == 403
    assert refusal(response)["code"] == "FORBIDDEN"


def test_a_session_answers_no_get(api: Api, browser: httpx.AsyncClient, link: str) -> None:
    sign_in(api, browser, link)
    response = api.runner.run(browser.get("/graphql", params={"query": VIEWER}, headers=SAME_ORIGIN))
    assert response.status_code == 403


def test_a_form_is_refused(api: Api, browser: httpx.AsyncClient, link: str) -> None:
    sign_in(api, browser, link)
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        response = api.runner.run(
            browser.post(
                "/graphql",
                content='{"query": "{ __typename }"}',
                headers={"content-type": kind, **SAME_ORIGIN},
            )
        )
        assert response.status_code == 415


def test_a_wrong_key_is_not_mended_by_a_session(api: Api, browser: httpx.AsyncClient, link: str) -> None:
    sign_in(api, browser, link)
    response = browse(api, browser, {"authorization": "Bearer rg_x", **SAME_ORIGIN})
    assert refusal(response) == REFUSED


def test_signing_out_ends_the_session_everywhere(
    api: Api, store: Store, browser: httpx.AsyncClient, link: str
) -> None:
    sign_in(api, browser, link)
    secret = browser.cookies["runglass_session"]
    assert browse(api, browser, SAME_ORIGIN).status_code == 200
    out = api.runner.run(browser.post("/sign-out", headers=SAME_ORIGIN))
    assert out.status_code == 303
    assert "Max-Age=0" in out.headers["set-cookie"]
    thief = api.browser("http://127.0.0.1:8000", cookies={"runglass_session": secret})
    assert refusal(browse(api, thief, SAME_ORIGIN)) == REFUSED
    actions = [row["action"] for row in store.rows("SELECT action FROM runglass.audit_log ORDER BY id")]
    assert actions == ["signIn", "signOut"]


def test_another_page_cannot_sign_out(api: Api, browser: httpx.AsyncClient, link: str) -> None:
    sign_in(api, browser, link)
    out = api.runner.run(browser.post("/sign-out", headers={"origin": "http://evil.example"}))
    assert out.status_code == 403
    assert browse(api, browser, SAME_ORIGIN).status_code == 200


def test_a_session_ends_by_time(api: Api, store: Store, browser: httpx.AsyncClient, link: str) -> None:
    sign_in(api, browser, link)
    assert browse(api, browser, SAME_ORIGIN).status_code == 200
    heard(api, "UPDATE runglass.sessions SET expires_at = now()")
    assert refusal(browse(api, browser, SAME_ORIGIN)) == REFUSED


def test_a_session_may_do_what_its_token_was_made_for(api: Api, browser: httpx.AsyncClient) -> None:
    someone = Caller("someone", Scope.of("berlin"), Role.VIEWER)
    token = api.runner.run(issue_sign_in_token(api.app.state.database, someone, 60))
    sign_in(api, browser, token)
    assert browse(api, browser, SAME_ORIGIN).json()["data"]["viewer"] == {
        "name": "someone",
        "role": "VIEWER",
        "siteIds": ["berlin"],
        "readsTexts": False,
    }


def test_issuing_a_link_clears_what_has_expired(api: Api, store: Store, link: str) -> None:
    store.rows("UPDATE runglass.sign_in_tokens SET expires_at = now()")
    api.runner.run(issue_sign_in_token(api.app.state.database, LOCAL, 60))
    assert store.value("SELECT count(*) FROM runglass.sign_in_tokens") == 1


def test_the_greeting_shows_a_key_only_while_there_is_none(api: Api, store: Store) -> None:
    database = api.app.state.database

    def greet(host: str = "127.0.0.1") -> str:
        return api.runner.run(start_message(database, api.settings, host, 8000, demo=True))

    store.rows("DELETE FROM runglass.api_keys")
    first, second = greet(), greet()
    assert first.count("rg_") == 1
    assert "rg_" not in second
    assert "runglass key create" in second
    key = first[first.index("rg_") :].split()[0]
    assert ask(api, authorization=f"Bearer {key}").json()["data"]["viewer"]["role"] == "ADMIN"
    assert "/sign-in?token=" in second
    assert "/sign-in?token=" not in greet("192.0.2.1")


# Secrets that nobody has


def test_a_wrong_session_is_looked_up_once(api: Api) -> None:
    browser = api.browser("http://127.0.0.1:8000", cookies={"runglass_session": "x" * 43})
    counts = [
        api.counted(browser.post("/graphql", json={"query": VIEWER}, headers=SAME_ORIGIN)) for _ in range(3)
    ]
    assert [(reply.status_code, statements) for reply, statements in counts] == [(401, 1), (401, 0), (401, 0)]


def test_a_refused_key_is_good_as_soon_as_it_is_made_good(api: Api) -> None:
    key = api.as_key(name="robot")
    heard(api, "UPDATE runglass.api_keys SET expires_at = now() WHERE name = 'robot'")
    assert key.error(VIEWER) == REFUSED
    heard(api, "UPDATE runglass.api_keys SET expires_at = NULL WHERE name = 'robot'")
    assert key.data(VIEWER)["viewer"]["name"] == "robot"


def test_a_flood_of_wrong_keys_leaves_the_pool_to_known_callers(api: Api, store: Store) -> None:
    api.data(VIEWER)
    api.app.state.authentication.forget()

    def guess() -> asyncio.Task[httpx.Response]:
        headers = {"authorization": f"Bearer {new_key().text}"}
        return asyncio.create_task(api.client.post("/graphql", json={"query": VIEWER}, headers=headers))

    async def flood() -> tuple[int, list[int], httpx.Response]:
        with psycopg.connect(api.settings.dsn) as other:
            other.execute("LOCK TABLE runglass.api_keys IN ACCESS EXCLUSIVE MODE")
            strangers = [guess() for _ in range(110)]
            # Those that find no place to wait are told so at once.
            while sum(task.done() for task in strangers) < 10:  # noqa: ASYNC110 - told by the app
                await asyncio.sleep(0)
            looked_up = store.value(LOOKED_UP)
            other.rollback()
        known = await api.post(VIEWER)
        answers = await asyncio.gather(*strangers)
        return looked_up, [answer.status_code for answer in answers], known

    looked_up, statuses, known = api.runner.run(flood())
    assert looked_up <= 2
    assert sorted(statuses) == [401] * 100 + [429] * 10
    assert known.status_code == 200
