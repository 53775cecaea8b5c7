"""JSON Web Tokens of an OIDC issuer: verified with its published keys, and mapped to callers by settings.

PyJWT does the cryptography. Only signatures by a published asymmetric key count, so that neither `alg: none`
nor an HMAC over a public key can pass.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import jwt
from jwt import PyJWK, PyJWKClient, PyJWKSet

from db.sql.scope import EVERY_SITE, Scope
from graph.errors import ApiError, ErrorCode
from graph.settings.issuer import InvalidToken, IssuerSettings
from resolvers.access.callers import Caller, Role

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
LEEWAY_SECONDS = 30
"""How far the clocks of the issuer and of this machine may differ."""
MAX_TOKEN_LENGTH = 16_384
KEYS_HOLD_SECONDS = 300.0
"""After this the keys are read again."""
KEYS_COUNT_SECONDS = 86_400.0
"""How long keys count while they cannot be read again."""
RETRY_SECONDS = 10.0
"""Least time between two readings: unknown key ids must not become requests to the issuer."""
FETCH_SECONDS = 5.0
EVERY = "*"
_MAX_NAME = 200


class IssuerKeys:
    """The issuer's public keys, read when first needed, and again when they are old or one is missing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, PyJWK] = {}
        self._read_at = self._tried_at = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, key_id: str) -> PyJWK | None:
        """The key of this id, or None.

        Raises ApiError SERVICE_UNAVAILABLE where no key could ever be read.
        """
        age = time.monotonic() - self._read_at
        if age > KEYS_COUNT_SECONDS:
            self._keys = {}
        missing = key_id not in self._keys
        if missing or (age > KEYS_HOLD_SECONDS and self._may_try()):
            async with self._reading:
                # Whoever waited here finds what the first one read.
                if self._may_try():
                    await self._read()
        if not self._keys:
            raise ApiError(
                ErrorCode.SERVICE_UNAVAILABLE, "The issuer's keys cannot be read; try again later."
            )
        return self._keys.get(key_id)

    def _may_try(self) -> bool:
        return time.monotonic() - self._tried_at > RETRY_SECONDS

    async def _read(self) -> None:
        self._tried_at = time.monotonic()
        try:
            self._keys = await asyncio.to_thread(_read_keys, self._url)
            self._read_at = time.monotonic()
        except (jwt.PyJWTError, OSError, ValueError) as error:
            log.warning("the issuer's keys cannot be read: %s", str(error).split("\n", 1)[0])


def _read_keys(url: str) -> dict[str, PyJWK]:
    document = _read_document(url)
    if "keys" not in document:
        # What a document of the network names must not be a file of this machine.
        document = _fetch(str(document.get("jwks_uri", "")))
    usable = PyJWKSet.from_dict(document).keys
    return {
        key.key_id: key
        for key in usable
        if key.key_id and key.public_key_use in (None, "sig") and key.algorithm_name in ALGORITHMS
    }


def _read_document(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    if parts.scheme == "file":
        content: object = json.loads(Path(unquote(parts.path)).read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"{url} holds no JSON object")
        return cast("dict[str, Any]", content)
    return _fetch(url)


def _fetch(url: str) -> dict[str, Any]:
    return PyJWKClient(url, cache_jwk_set=False, timeout=FETCH_SECONDS).fetch_data()


class TokenVerifier:
    """Turns the tokens of one issuer into callers."""

    def __init__(self, settings: IssuerSettings) -> None:
        self._settings = settings
        self._keys = IssuerKeys(settings.keys_url)

    async def caller(self, token: str, address: str | None) -> Caller:
        """The caller that a token names.

        Raises InvalidToken, and ApiError FORBIDDEN for a valid token that grants no role here.
        """
        claims = await self._verified(token)
        role = self._role(_claim(claims, self._settings.role_claim))
        if role is None:
            raise ApiError(ErrorCode.FORBIDDEN, "Your token is valid but grants no role here.")
        subject = _subject(claims["sub"])
        name = _claim(claims, self._settings.name_claim)
        return Caller(
            name=(name if isinstance(name, str) and name and "\0" not in name else subject)[:_MAX_NAME],
            scope=_scope(_claim(claims, self._settings.sites_claim)),
            role=role,
            reads_texts=_claim(claims, self._settings.texts_claim) is True,
            address=address,
            id=identity_of(subject),
        )

    async def _verified(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_LENGTH:
            raise InvalidToken("too long")
        try:
            header = jwt.get_unverified_header(token)
            key_id, algorithm = header.get("kid"), header.get("alg")
            if not isinstance(key_id, str) or algorithm not in ALGORITHMS:
                raise InvalidToken("no key id, or an algorithm that does not count")
            key = await self._keys.find(key_id)
            if key is None:
                raise InvalidToken("unknown key id")
            return jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError) as error:
            raise InvalidToken(type(error).__name__) from error

    def _role(self, value: object) -> Role | None:
        words = cast("list[object]", value) if isinstance(value, list) else [value]
        known = self._settings.roles or {role.value: role for role in Role}
        granted = [known[word] for word in words if isinstance(word, str) and word in known]
        return max(granted, key=list(Role).index, default=None)


def _subject(value: object) -> str:
    """Whom a token names. Raises InvalidToken where it names nobody, or what cannot be stored."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidToken("it names no subject")
    return value


def identity_of(subject: str) -> str:
    """What tells subjects apart wherever a caller is a key: two of them never have the same."""
    identity = f"jwt:{subject}"
    if len(identity) <= _MAX_NAME:
        return identity
    return f"jwt-sha256:{hashlib.sha256(subject.encode()).hexdigest()}"


def _claim(claims: Mapping[str, Any], name: str) -> object:
    """The claim of this name, or what the dotted path leads to."""
    if name in claims:
        return claims[name]
    value: object = claims
    for part in name.split("."):
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, object]", value).get(part)
    return value


def _scope(value: object) -> Scope:
    """`*` is every site; a list or one text names sites; anything else names none."""
    sites = cast("list[object]", value) if isinstance(value, list) else [value]
    if EVERY in sites:
        return EVERY_SITE
    named = (str(site) for site in sites if isinstance(site, str | int) and not isinstance(site, bool))
    # White space around a name is refused everywhere: the token names no site by it.
    return Scope(frozenset(site for site in named if site and site == site.strip()))
