"""Signing a browser in by a one-time link, and out again."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from db.postgres.errors import StatementTimeout, Unavailable
from graph.auth.authentication import (
    address_of,
    cookie_name,
    is_own_page,
    is_secure,
    root_path,
    session_secret,
)
from graph.settings.config import Settings
from resolvers.access import sessions

SIGN_IN_PATH = "/sign-in"
SIGN_OUT_PATH = "/sign-out"
_HOME = "/graphql"

# The token stands in the address: no page may learn it as its referrer, and nothing may keep it.
_HEADERS = {
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
}
_WORTHLESS = (
    "This link is used up or expired. Start the server again for a new one,"
    " or send a key: see runglass key create --help.\n"
)


def sign_in_routes(settings: Settings) -> list[BaseRoute]:
    """`GET /sign-in?token=…` and `POST /sign-out`."""

    async def sign_in(request: Request) -> Response:
        return await _or_unavailable(_sign_in(request, settings))

    async def sign_out(request: Request) -> Response:
        return await _or_unavailable(_sign_out(request, settings))

    return [
        Route(SIGN_IN_PATH, sign_in, methods=["GET"]),
        Route(SIGN_OUT_PATH, sign_out, methods=["POST"]),
    ]


async def _or_unavailable(answer: Awaitable[Response]) -> Response:
    try:
        return await answer
    except (Unavailable, StatementTimeout):
        return PlainTextResponse("The database does not answer; try again later.\n", 503, _HEADERS)


async def _sign_in(request: Request, settings: Settings) -> Response:
    # Programs that only look at a link ask by HEAD or say that they fetch ahead; they must not use it up.
    if request.method != "GET" or "sec-purpose" in request.headers:
        return Response(None, 204, _HEADERS)
    secret = await sessions.sign_in(
        request.app.state.database,
        request.query_params.get("token", ""),
        settings.session_lifetime,
        address_of(request),
    )
    if secret is None:
        return PlainTextResponse(_WORTHLESS, 403, _HEADERS)
    response = RedirectResponse(root_path(request) + _HOME, 303, _HEADERS)
    response.set_cookie(
        cookie_name(request),
        secret,
        max_age=settings.session_lifetime,
        path=root_path(request) or "/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return response


async def _sign_out(request: Request, settings: Settings) -> Response:
    if not is_own_page(request, settings.cookie_origins):
        return PlainTextResponse("Sign out from a page of this server.\n", 403, _HEADERS)
    secret = session_secret(request)
    if secret is not None:
        await sessions.sign_out(request.app.state.database, secret, address_of(request))
        request.app.state.authentication.forget()
    response = RedirectResponse(root_path(request) + _HOME, 303, _HEADERS)
    response.delete_cookie(
        cookie_name(request),
        path=root_path(request) or "/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return response
