"""From a request to its caller: an API key or a token in `Authorization`, or a browser's session cookie."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from graph.errors import ApiError, ErrorCode
from graph.settings.config import Settings
from graph.settings.issuer import InvalidToken, IssuerSettings
from resolvers.access.authentication import Authentication
from resolvers.access.callers import Caller
from resolvers.access.secrets import KEY_MARK

if TYPE_CHECKING:
    from graph.auth.tokens import TokenVerifier

log = logging.getLogger(__name__)

AUTHORIZATION = b"authorization"
COOKIE = "runglass_session"
HOST_COOKIE = "__Host-runglass_session"
"""Over https; browsers take a cookie of such a name only over https, from this very host and for its root."""
SECURE_COOKIE = "__Secure-runglass_session"
"""Over https, under a path."""

# One message for whatever is wrong, so that nobody learns which keys exist.
REFUSED = "Sign in: send a valid key as 'Authorization: Bearer KEY'."


class RequestAuthenticator:
    """Lets callers in, for one process."""

    def __init__(self, authentication: Authentication, settings: Settings) -> None:
        self.authentication = authentication
        issuer = settings.issuer
        self._tokens = _verifier(issuer) if issuer else None
        self._origins = settings.cookie_origins

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Who sends this request.

        Raises ApiError UNAUTHENTICATED where nobody is known by it, FORBIDDEN for a browser's session that is
        used from another page than ours.
        """
        address = address_of(connection)
        # As they came, for an object of them all takes longer than the search for one.
        given = [
            value.decode("latin-1") for name, value in connection.scope["headers"] if name == AUTHORIZATION
        ]
        if given:
            secret = _bearer(given)
            if not secret.startswith(KEY_MARK):
                return await self._by_token(secret, address)
            caller = await self.authentication.by_key(secret, address)
            if caller is None:
                raise _unauthenticated()
            return caller
        secret = session_secret(connection)
        if secret is None:
            raise _unauthenticated()
        if not is_own_page(connection, self._origins):
            raise ApiError(ErrorCode.FORBIDDEN, "A browser's session answers requests of its own pages only.")
        caller = await self.authentication.by_session(secret, address)
        if caller is None:
            raise _unauthenticated()
        return caller

    async def _by_token(self, secret: str, address: str | None) -> Caller:
        if self._tokens is None:
            raise _unauthenticated()
        try:
            caller = await self._tokens.caller(secret, address)
            forms = await self.authentication.column_forms()
            return replace(caller, scope=caller.scope.spelled(forms))
        except InvalidToken as error:
            log.info("a token was refused: %s", error)
            raise _unauthenticated() from None


def _bearer(given: list[str]) -> str:
    """The secret of a request's only Authorization header. Raises ApiError UNAUTHENTICATED for another."""
    scheme, _, secret = given[0].partition(" ")
    if len(given) > 1 or scheme.lower() != "bearer":
        raise _unauthenticated()
    return secret.strip()


def address_of(connection: HTTPConnection) -> str | None:
    """The client's address, as far as the server knows it."""
    client = connection.scope.get("client")
    return client[0] if client else None


def is_secure(connection: HTTPConnection) -> bool:
    """Whether the request came over TLS, as the server or a proxy that it trusts says."""
    return connection.scope.get("scheme") in ("https", "wss")


def cookie_name(connection: HTTPConnection) -> str:
    """The session cookie's name at this address."""
    if not is_secure(connection):
        return COOKIE
    return SECURE_COOKIE if root_path(connection) else HOST_COOKIE


def root_path(connection: HTTPConnection) -> str:
    """The path under which the outside sees this server; empty at the root of its host."""
    return connection.scope.get("root_path", "")


def session_secret(connection: HTTPConnection) -> str | None:
    """What the browser's cookie holds."""
    return connection.cookies.get(cookie_name(connection))


def is_own_page(connection: HTTPConnection, allowed: Collection[str] = ()) -> bool:
    """Whether a browser says that the request comes from a page of this very address.

    Pages of `allowed` origins count as own ones where they are of the same site. Cookies do
    not tell ports apart, so a page of any other server on this machine could send ours along. A GET never
    counts: links and images send it.
    """
    if connection.scope.get("method", "GET") != "POST" and connection.scope["type"] != "websocket":
        return False
    headers: Headers = connection.headers
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if origin is not None and origin in allowed:
        return site != "cross-site"
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site is not None
    scheme = "https" if is_secure(connection) else "http"
    return origin == f"{scheme}://{headers.get('host', '')}"


def _verifier(issuer: IssuerSettings) -> TokenVerifier:
    # Imported late: it brings the cryptography along, and starting must be quick.
    from graph.auth.tokens import TokenVerifier

    return TokenVerifier(issuer)


def _unauthenticated() -> ApiError:
    return ApiError(ErrorCode.UNAUTHENTICATED, REFUSED)
