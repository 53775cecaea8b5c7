"""Tokens of an issuer: what is let in, as what, and what is not; keys that rotate."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import psycopg
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from graph.auth import tokens
from graph.settings.config import Settings, SettingsError, load_settings
from tests.support.api import Api, Client

ISSUER = "https://login.example"
AUDIENCE = "runglass"
VIEWER = "{ viewer { name role siteIds readsTexts } }"
PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CURVE = ec.generate_private_key(ec.SECP256R1())
EDWARDS = ed25519.Ed25519PrivateKey.generate()


def public_jwk(key: Any, key_id: str, algorithm: str, **more: Any) -> dict[str, Any]:
    made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**made, "kid": key_id, "alg": algorithm, "use": "sig", **more}


class Issuer:
    """A key server on loopback. `keys` may be changed at any time, `failing` makes it answer 500."""

    def __init__(self) -> None:
        self.keys = [
            public_jwk(PRIVATE, "one", "RS256"),
            public_jwk(CURVE, "curve", "ES256"),
            public_jwk(EDWARDS, "edwards", "EdDSA"),
            {
                "kty": "oct",
                "kid": "shared",
                "alg": "HS256",
                "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0MTI",
            },
            public_jwk(OTHER, "sealing", "RS256", use="enc"),
        ]
        self.failing = False
        self.asked: list[str] = []
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked.append(self.path)
                body = json.dumps(issuer.document(self.path)).encode()
                self.send_response(500 if issuer.failing else 200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def document(self, path: str) -> Any:
        if path == "/discovery":
            return {"issuer": ISSUER, "jwks_uri": f"{self.url}/keys"}
        if path == "/trap":
            return {"issuer": ISSUER, "jwks_uri": "file:///etc/hostname"}
        return {"keys": self.keys}

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(scope="module")
def issuer_server() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def issuer(issuer_server: Issuer) -> Iterator[Issuer]:
    """The issuer as it begins."""
    keys = list(issuer_server.keys)
    issuer_server.asked.clear()
    yield issuer_server
    issuer_server.keys, issuer_server.failing = keys, False


@pytest.fixture
def make_api(dsn: str, issuer: Issuer) -> Iterator[Callable[..., Api]]:
    """Starts the app with the issuer configured; keyword arguments are further settings."""
    started: list[Api] = []

    def make(**settings: Any) -> Api:
        defaults = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_keys_url": f"{issuer.url}/keys"}
        started.append(Api(dsn, **(defaults | settings)))
        return started[-1]

    yield make
    for api in started:
        api.close()


@pytest.fixture
def api(make_api: Callable[..., Api]) -> Api:
    """The app with the issuer configured."""
    return make_api()


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "u1",
        "exp": now + 600,
        "iat": now,
        "role": "operator",
        "sites": ["tokyo", 7],
    }
    return {name: value for name, value in (base | changes).items() if value is not None}


def token(
    key: Any = PRIVATE, algorithm: str | None = "RS256", key_id: str | None = "one", **changes: Any
) -> str:
    headers = {} if key_id is None else {"kid": key_id}
    return jwt.encode(claims(**changes), key, algorithm=algorithm, headers=headers)


def bearer(api: Api, text: str) -> Client:
    return Client(api.runner, api.client, {"authorization": f"Bearer {text}"})


def refused(api: Api, text: str) -> None:
    error = bearer(api, text).error(VIEWER)
    assert error == {
        "code": "UNAUTHENTICATED",
        "message": "Sign in: send a valid key as 'Authorization: Bearer KEY'.",
    }


def test_a_token_says_who_calls_and_where(api: Api) -> None:
    assert bearer(api, token()).data(VIEWER)["viewer"] == {
        "name": "u1",
        "role": "OPERATOR",
        "siteIds": ["7", "tokyo"],
        "readsTexts": False,
    }


@pytest.mark.parametrize("subject", ["", "  ", "\t", "a\0b"])
def test_a_token_that_names_nobody_is_refused(api: Api, subject: str) -> None:
    refused(api, token(sub=subject))


def test_no_two_subjects_share_an_identity(api: Api, dsn: str) -> None:
    subjects = ["u" * 300 + end for end in "ab"] + ["u" * 195, "u" * 196, "u" * 197]
    # Whatever a caller is a key of: here of what it may ask once.
    record = """mutation { recordRuns(input: {idempotencyKey: "k", runs: [
        {siteId: "tokyo", appType: "chat", status: SUCCESS}
    ]}) { __typename ... on RecordedRuns { runIds } } }"""
    answers = [bearer(api, token(sub=subject)).data(record)["recordRuns"] for subject in subjects]
    assert len({answer["runIds"][0] for answer in answers}) == len(subjects)
    again = bearer(api, token(sub=subjects[0])).data(record)["recordRuns"]
    assert again == answers[0]
    with psycopg.connect(dsn) as connection:
        actors = connection.execute("SELECT actor_id FROM runglass.audit_log").fetchall()
    assert len({actor for (actor,) in actors}) == len(subjects)
    assert max(len(actor) for (actor,) in actors) <= 200


def test_sites_have_one_form_and_no_white_space(dsn: str, make_api: Callable[..., Api]) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP TABLE biz.ai_cache CASCADE")
        connection.execute("CREATE TABLE biz.ai_cache (id bigint, site_id integer)")
    shown = bearer(make_api(), token(sites=["007", 12, " 9", "tokyo", "+7"])).data(VIEWER)["viewer"]
    assert shown["siteIds"] == ["12", "7"]


@pytest.mark.parametrize(
    ("key", "algorithm", "key_id"), [(CURVE, "ES256", "curve"), (EDWARDS, "EdDSA", "edwards")]
)
def test_other_signatures_count(api: Api, key: Any, algorithm: str, key_id: str) -> None:
    assert bearer(api, token(key, algorithm, key_id)).data(VIEWER)["viewer"]["name"] == "u1"


def test_keys_count_beside_tokens(api: Api) -> None:
    assert api.data(VIEWER)["viewer"]["name"] == "tests"


def _unsigned(**headers: Any) -> str:
    return jwt.encode(claims(), None, algorithm="none", headers={"kid": "one", **headers})


def _by_public_key() -> str:
    """Signed by HMAC with the public key, which everybody knows, as its secret."""
    import base64
    import hashlib
    import hmac

    pem = PRIVATE.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )

    def part(content: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=")

    signed = part({"alg": "HS256", "kid": "one", "typ": "JWT"}) + b"." + part(claims())
    signature = base64.urlsafe_b64encode(hmac.new(pem, signed, hashlib.sha256).digest()).rstrip(b"=")
    return (signed + b"." + signature).decode()


SHARED = "secretsecretsecretsecretsecret12"
NOW = int(time.time())
WRONG: dict[str, Callable[[], str]] = {
    "alg none": _unsigned,
    "HMAC with the public key": _by_public_key,
    "a published shared secret": lambda: token(SHARED, "HS256", "shared"),
    "another key": lambda: token(OTHER),
    "a key for encryption": lambda: token(OTHER, key_id="sealing"),
    "another algorithm than the key's": lambda: token(PRIVATE, "RS512"),
    "a key of another type": lambda: token(PRIVATE, "RS256", "curve"),
    "unknown key id": lambda: token(key_id="unknown"),
    "no key id": lambda: token(key_id=None),
    "wrong audience": lambda: token(aud="others"),
    "no audience": lambda: token(aud=None),
    "wrong issuer": lambda: token(iss="https://evil.example"),
    "no issuer": lambda: token(iss=None),
    "expired": lambda: token(exp=NOW - 3600),
    "never expires": lambda: token(exp=None),
    "not valid yet": lambda: token(nbf=NOW + 3600),
    "issued in the future": lambda: token(iat=NOW + 3600),
    "no subject": lambda: token(sub=None),
    "cut": lambda: token()[:-8],
    "three dots": lambda: token() + ".x",
    "no token": lambda: "a.b.c",
    "too long": lambda: token(padding="x" * 20_000),
    "changed": lambda: ".".join(
        [token().split(".")[0], token(role="admin").split(".")[1], token().split(".")[2]]
    ),
}


@pytest.fixture(scope="module")
def shared_api(server_dsn: Any, template: str, issuer_server: Issuer) -> Iterator[Api]:
    """One app for the many tokens that change nothing."""
    from tests.support.databases import cloned_database

    with cloned_database(server_dsn, "jwt_refusals", template):
        api = Api(
            server_dsn("jwt_refusals"),
            jwt_issuer=ISSUER,
            jwt_audience=AUDIENCE,
            jwt_keys_url=f"{issuer_server.url}/keys",
        )
        yield api
        api.close()


@pytest.mark.parametrize("name", WRONG)
def test_what_proves_nothing_is_refused(shared_api: Api, name: str) -> None:
    assert bearer(shared_api, token()).data(VIEWER)
    refused(shared_api, WRONG[name]())


@pytest.mark.parametrize(
    ("changes", "role", "sites", "texts"),
    [
        ({"role": "viewer"}, "VIEWER", ["7", "tokyo"], False),
        ({"role": ["viewer", "admin", "unheard of"]}, "ADMIN", ["7", "tokyo"], False),
        ({"sites": "tokyo"}, "OPERATOR", ["tokyo"], False),
        ({"sites": "*"}, "OPERATOR", None, False),
        ({"sites": ["a", "*"]}, "OPERATOR", None, False),
        ({"sites": None}, "OPERATOR", [], False),
        ({"sites": []}, "OPERATOR", [], False),
        ({"sites": {"a": 1}}, "OPERATOR", [], False),
        ({"sites": [True, "", None]}, "OPERATOR", [], False),
        ({"reads_texts": True}, "OPERATOR", ["7", "tokyo"], True),
        ({"reads_texts": "yes"}, "OPERATOR", ["7", "tokyo"], False),
    ],
)
def test_claims_say_what_the_caller_may_do(
    shared_api: Api, changes: dict[str, Any], role: str, sites: list[str] | None, texts: bool
) -> None:
    viewer = bearer(shared_api, token(**changes)).data(VIEWER)["viewer"]
    assert viewer == {"name": "u1", "role": role, "siteIds": sites, "readsTexts": texts}


@pytest.mark.parametrize("role", [None, "nobody", ["nobody"], 3, {"admin": True}])
def test_a_valid_token_without_a_role_is_forbidden(shared_api: Api, role: Any) -> None:
    assert bearer(shared_api, token(role=role)).error(VIEWER)["code"] == "FORBIDDEN"


def test_settings_name_the_claims_and_map_the_roles(make_api: Callable[..., Api]) -> None:
    api = make_api(
        jwt_role_claim="realm.roles",
        jwt_roles="ops=operator, bosses = admin",
        jwt_sites_claim="https://x.example/shops",
        jwt_texts_claim="texts",
        jwt_name_claim="email",
    )
    text = token(
        role="admin",
        realm={"roles": ["bosses", "ops"]},
        email="ann@x.example",
        texts=True,
        **{"https://x.example/shops": ["a"]},
    )
    viewer = {"name": "ann@x.example", "role": "ADMIN", "siteIds": ["a"], "readsTexts": True}
    assert bearer(api, text).data(VIEWER)["viewer"] == viewer
    assert bearer(api, token(realm={"roles": "admin"})).error(VIEWER)["code"] == "FORBIDDEN"


def test_keys_are_found_by_the_discovery_document(make_api: Callable[..., Api], issuer: Issuer) -> None:
    api = make_api(jwt_keys_url=f"{issuer.url}/discovery")
    assert bearer(api, token()).data(VIEWER)
    assert issuer.asked == ["/discovery", "/keys"]


def test_keys_may_be_a_file(make_api: Callable[..., Api], issuer: Issuer, tmp_path: Path) -> None:
    file = tmp_path / "the keys.json"
    file.write_text(json.dumps({"keys": issuer.keys}))
    api = make_api(jwt_keys_url=file.as_uri())
    assert bearer(api, token()).data(VIEWER)


def test_a_document_of_the_network_names_no_file(make_api: Callable[..., Api], issuer: Issuer) -> None:
    api = make_api(jwt_keys_url=f"{issuer.url}/trap")
    assert bearer(api, token()).error(VIEWER)["code"] == "SERVICE_UNAVAILABLE"


def test_keys_are_read_once_for_many_requests(api: Api, issuer: Issuer) -> None:
    assert issuer.asked == []
    answers = bearer(api, token()).at_once(VIEWER, [{}] * 10)
    assert all(answer["viewer"]["name"] == "u1" for answer in answers)
    assert issuer.asked == ["/keys"]


def test_a_rotated_key_is_found_and_the_old_one_refused(
    api: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bearer(api, token()).data(VIEWER)
    issuer.keys = [public_jwk(OTHER, "two", "RS256")]
    # Too soon after the last reading: guessed key ids must not become requests to the issuer.
    refused(api, token(OTHER, key_id="two"))
    assert issuer.asked == ["/keys"]
    monkeypatch.setattr(tokens, "RETRY_SECONDS", -1.0)
    assert bearer(api, token(OTHER, key_id="two")).data(VIEWER)
    assert issuer.asked == ["/keys", "/keys"]
    refused(api, token())


def test_a_key_that_was_withdrawn_ceases_to_count_in_time(
    api: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bearer(api, token()).data(VIEWER)
    issuer.keys = [public_jwk(OTHER, "two", "RS256")]
    monkeypatch.setattr(tokens, "RETRY_SECONDS", -1.0)
    monkeypatch.setattr(tokens, "KEYS_HOLD_SECONDS", -1.0)
    refused(api, token())


def test_while_the_issuer_is_gone_its_known_keys_count(
    api: Api, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bearer(api, token()).data(VIEWER)
    issuer.failing = True
    monkeypatch.setattr(tokens, "RETRY_SECONDS", -1.0)
    monkeypatch.setattr(tokens, "KEYS_HOLD_SECONDS", -1.0)
    assert bearer(api, token()).data(VIEWER)
    assert len(issuer.asked) == 2
    monkeypatch.setattr(tokens, "KEYS_COUNT_SECONDS", -1.0)
    assert bearer(api, token()).error(VIEWER)["code"] == "SERVICE_UNAVAILABLE"


def test_an_issuer_that_was_never_reached_is_no_refusal_of_the_token(api: Api, issuer: Issuer) -> None:
    issuer.failing = True
    response: httpx.Response = api.runner.run(bearer(api, token()).post(VIEWER))
    assert response.status_code == 503
    # Nor does every request ask again.
    assert bearer(api, token()).error(VIEWER)["code"] == "SERVICE_UNAVAILABLE"
    assert issuer.asked == ["/keys"]


def test_without_an_issuer_no_token_counts(dsn: str) -> None:
    api = Api(dsn)
    try:
        refused(api, token())
    finally:
        api.close()


def test_the_audit_log_names_the_subject(api: Api) -> None:
    job = 'mutation { invalidateCache(input: {siteId: "tokyo"}) { __typename } }'
    bearer(api, token(name="Ann")).data(job)
    entry = api.data("{ auditLog { edges { node { actor actorId siteId } } } }")["auditLog"]["edges"][0][
        "node"
    ]
    assert entry == {"actor": "u1", "actorId": "jwt:u1", "siteId": "tokyo"}


@pytest.mark.parametrize(
    ("wrong", "names"),
    [
        ({"jwt_issuer": ISSUER}, "RUNGLASS_JWT_AUDIENCE"),
        ({"jwt_roles": "ops=king"}, "RUNGLASS_JWT_ROLES"),
        ({"jwt_roles": "ops"}, "RUNGLASS_JWT_ROLES"),
        ({"jwt_keys_url": "ftp://x"}, "RUNGLASS_JWT_KEYS_URL"),
    ],
)
def test_a_wrong_setting_is_named(wrong: dict[str, str], names: str) -> None:
    with pytest.raises(SettingsError, match=names):
        load_settings(**wrong, _env_file=None)


def test_an_issuer_without_a_keys_url_is_asked_for_its_discovery_document() -> None:
    settings = Settings(jwt_issuer=f"{ISSUER}/", jwt_audience="a", _env_file=None)
    assert settings.issuer is not None
    assert settings.issuer.keys_url == f"{ISSUER}/.well-known/openid-configuration"
