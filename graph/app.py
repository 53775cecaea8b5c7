"""The ASGI application: the API, its health, and what runs beside it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from math import ceil
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from db.loaders import LoadCancelled, Loaders
from db.postgres.errors import (
    InvalidValue,
    NotPermitted,
    ReadOnly,
    RefusedByTable,
    StatementTimeout,
    Unavailable,
)
from db.postgres.pool import Database
from db.postgres.shares import Shares
from graph.auth.authentication import RequestAuthenticator, root_path
from graph.auth.sign_in import sign_in_routes
from graph.context import Context
from graph.errors import ApiError, ErrorCode, ErrorFormatter, sentence
from graph.execution.engine import Engine
from graph.execution.limits import Limits
from graph.http.bodies import BodyLimits
from graph.http.endpoint import GraphQLEndpoint
from graph.http.explorer import explorer_page, explorer_routes
from graph.schema import schema
from graph.settings.config import Settings, load_settings
from graph.types.refusals import input_field
from resolvers.access.authentication import Authentication, TooManyStrangers
from resolvers.access.rate_limits import RateLimited, RateLimiter
from resolvers.errors import Refusal
from resolvers.worker.maintenance import readiness, run_upkeep

log = logging.getLogger(__name__)

PATH = "/graphql"


def create_app(settings: Settings | None = None, database: Database | None = None) -> Starlette:
    """The application; settings come from the environment where none are given.

    The database's migrations must have been applied, as `runglass serve` and `runglass migrate` do.
    """
    settings = settings or load_settings()
    database = database or Database(settings.dsn, settings.pool)
    authenticator = RequestAuthenticator(
        Authentication(database, cache_seconds=settings.key_cache_seconds), settings
    )
    endpoint = GraphQLEndpoint(
        make_engine(settings),
        _context_maker(database, settings, authenticator),
        documents=settings.documents,
        explorer=explorer_page,
        bodies=BodyLimits(
            max_bytes=settings.max_body_bytes,
            max_values=settings.max_body_values,
            in_flight_bytes=settings.max_bodies_bytes,
            caller_bytes=settings.share_of_bodies,
            seconds=settings.body_timeout,
        ),
        draft_statuses=settings.draft_statuses,
    )
    app = Starlette(
        routes=[
            Route(PATH, endpoint),
            *explorer_routes(),
            *sign_in_routes(settings),
            Route("/healthz", _healthz),
            Route("/readyz", _readyz),
        ],
        middleware=_middleware(settings),
        lifespan=_lifespan,
        exception_handlers={404: _not_found},
    )
    # A redirect would go to whatever the request's Host says.
    app.router.redirect_slashes = False
    app.state.stopping = False
    app.state.settings = settings
    app.state.database = database
    app.state.authentication = authenticator.authentication
    return app


def _middleware(settings: Settings) -> list[Middleware]:
    origins = settings.origins
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST"],
            # Clients bring headers of their own, such as traceparent and apollographql-client-name.
            allow_headers=["*"],
            allow_credentials="*" not in origins,
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    ]


def make_engine(settings: Settings) -> Engine:
    """The engine that runs the schema with these settings."""
    limits = Limits(
        max_depth=settings.max_depth,
        max_cost=settings.max_cost,
        max_aliases=settings.max_aliases,
        max_errors=settings.max_errors,
        max_list=settings.max_list,
        max_values=settings.max_values,
        max_text=settings.max_text,
        max_report_text=settings.max_report_text,
        timeout_seconds=settings.execution_timeout,
        max_answer_bytes=settings.max_answer_bytes,
    )
    suggests = settings.suggestions and settings.introspection
    errors = ErrorFormatter(show_suggestions=suggests, translations=TRANSLATIONS)
    return Engine(schema, limits=limits, errors=errors, fast_paths=settings.fast_paths)


def _context_maker(
    database: Database, settings: Settings, authenticator: RequestAuthenticator
) -> Callable[[HTTPConnection], Any]:
    limiter = RateLimiter(database, settings.rate) if settings.rate else None
    shares = Shares(database, connections=settings.share_of_pool, wait_seconds=settings.pool_wait)

    async def make_context(connection: HTTPConnection) -> Context:
        # A caller that is remembered would get as far as the fields.
        await database.require()
        caller = await authenticator.caller(connection)
        if limiter:
            await limiter.spend(caller.identity)
        shared = shares.of(caller.identity)
        loaders = Loaders(shared, caller.scope)
        return Context(
            shared,
            settings,
            caller,
            loaders,
            access_changed=authenticator.authentication.forget,
            allow_introspection=settings.introspection,
        )

    return make_context


def _unavailable(error: Exception) -> ApiError:
    # What needs an operator is not over in a second.
    extensions = {} if isinstance(error, NotPermitted) else {"retryAfter": 1}
    return ApiError(ErrorCode.SERVICE_UNAVAILABLE, sentence(error), **extensions)


def _read_only(error: Exception) -> ApiError:
    return ApiError(ErrorCode.READ_ONLY, sentence(error))


def _timed_out(error: Exception) -> ApiError:
    return ApiError(ErrorCode.EXECUTION_TIMEOUT, sentence(error))


def _bad_value(_error: Exception) -> ApiError:
    return ApiError(ErrorCode.BAD_USER_INPUT, "A value does not fit what it is compared with or stored in.")


def _refused_by_table(error: RefusedByTable) -> ApiError:
    extensions = {"argument": field} if (field := input_field(error)) else {}
    return ApiError(ErrorCode.BAD_USER_INPUT, sentence(error), **extensions)


def _refused(error: Exception) -> ApiError:
    extensions = {"argument": field} if (field := getattr(error, "field", None)) else {}
    return ApiError(ErrorCode.BAD_USER_INPUT, str(error), **extensions)


def _rate_limited(error: RateLimited) -> ApiError:
    return ApiError(ErrorCode.RATE_LIMITED, str(error), retryAfter=ceil(error.seconds))


def _too_many_strangers(error: Exception) -> ApiError:
    return ApiError(ErrorCode.RATE_LIMITED, str(error), retryAfter=1)


TRANSLATIONS: dict[type[Exception], Callable[[Any], ApiError]] = {
    Unavailable: _unavailable,
    ReadOnly: _read_only,
    LoadCancelled: _unavailable,
    StatementTimeout: _timed_out,
    InvalidValue: _bad_value,
    RefusedByTable: _refused_by_table,
    RateLimited: _rate_limited,
    TooManyStrangers: _too_many_strangers,
    # Where a mutation's union has no member for it, and in queries.
    Refusal: _refused,
}


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncGenerator[None, None]:
    database: Database = app.state.database
    await database.open()
    authentication: Authentication = app.state.authentication
    settings: Settings = app.state.settings
    upkeep = asyncio.create_task(run_upkeep(database, reservation_seconds=settings.reservation_lifetime))
    access = asyncio.create_task(authentication.run_upkeep())
    await authentication.until_listening()
    try:
        yield
    finally:
        await _end(upkeep)
        await _end(access)
        await authentication.write_uses()
        await database.close()


async def _end(task: asyncio.Task[Any]) -> None:
    # Python 3.11's wait_for, on which the driver waits, may swallow a cancellation that meets its result.
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.2)


async def _healthz(_request: Request) -> Response:
    """Answers while the process lives."""
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


async def _readyz(request: Request) -> Response:
    """Answers 200 only when the database answers and its migrations are applied."""
    reason, takes_changes = await readiness(request.app.state.database)
    if request.app.state.stopping:
        reason = "the server stops"
    body = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
    if reason is None and not takes_changes:
        body["changes"] = "refused: the database is a standby, or read-only"
    return JSONResponse(body, 200 if reason is None else 503, headers={"cache-control": "no-store"})


async def _not_found(request: Request, _error: Exception) -> Response:
    message = f"There is nothing here; the API is at {root_path(request)}{PATH}."
    return JSONResponse({"errors": [{"message": message, "extensions": {"code": "NOT_FOUND"}}]}, 404)
