"""GraphQL over HTTP: one ASGI application that reads a request, runs it and answers, to the letter of the
draft.

Every answer is a GraphQL body, also where HTTP itself refuses. Nothing a caller sends ends in status 500.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from graphql import OperationType
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from graph.documents.store import DocumentStore
from graph.errors import ErrorCode, RequestRefused, refusal
from graph.execution.engine import Engine, Result
from graph.http.bodies import Bodies, BodyLimits
from graph.http.compression import packed, takes_gzip
from graph.http.disconnects import ClientGone, ClientWatch
from graph.http.negotiation import MediaType, is_json, negotiate, prefers_html
from graph.http.parameters import Parameters, parameters_of_body, parameters_of_url
from graph.http.responses import FIXED_HEADERS, EncodedResponse, Responses

log = logging.getLogger(__name__)

ALLOW = (b"allow", b"GET, HEAD, POST, OPTIONS")
ALLOW_POST = (b"allow", b"POST")
CLOSE = (b"connection", b"close")
LEFT_UNREAD = (ErrorCode.PAYLOAD_TOO_LARGE, ErrorCode.REQUEST_TIMEOUT)
"""What is left of a body that was refused must not be read as the next request."""


class CallerContext(Protocol):
    """What the endpoint asks of a request's context."""

    @property
    def allow_introspection(self) -> bool: ...

    @property
    def identity(self) -> str:
        """What tells this caller from all others."""
        ...

    def close(self) -> None:
        """The operation is over, however it ended."""


# Whether more than this of a request is left unread tells whether its connection can go on.
SMALL_REST_BYTES = 16_384

ContextT = TypeVar("ContextT", bound=CallerContext)
T = TypeVar("T")


class Head(NamedTuple):
    """The request headers that matter here."""

    accept: bytes | None = None
    accept_encoding: bytes | None = None
    content_type: bytes | None = None
    content_encoding: bytes | None = None
    content_length: int | None = None
    ends_unknown: bool = False

    @property
    def has_large_body(self) -> bool:
        """Whether there may be more than is passed over for the next request's sake."""
        return self.ends_unknown or (self.content_length or 0) > SMALL_REST_BYTES


class GraphQLEndpoint(Generic[ContextT]):
    """Serves an engine over HTTP.

    `get_context` makes the resolvers' context from the connection; an `ApiError` it raises is the answer.
    It is called before anything of the body is read. `explorer` makes the page for a browser.
    """

    def __init__(
        self,
        engine: Engine,
        get_context: Callable[[HTTPConnection], Awaitable[ContextT]],
        *,
        documents: DocumentStore | None = None,
        explorer: Callable[[Request], Response] | None = None,
        bodies: BodyLimits | None = None,
        draft_statuses: bool = False,
    ) -> None:
        self._engine = engine
        self._get_context = get_context
        self._documents = documents or DocumentStore()
        self._explorer = explorer
        self._bodies = Bodies(bodies or BodyLimits())
        self._responses = Responses(draft_statuses, engine.limits.max_answer_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        head = _head(scope)
        if method == "OPTIONS":
            return await EncodedResponse(204, [ALLOW, *FIXED_HEADERS], b"").send(send)
        if method == "GET" and self._explorer is not None and prefers_html(head.accept):
            return await self._explorer(Request(scope))(scope, receive, send)
        try:
            reply = await self._answer(method, head, scope, receive)
        except ClientGone:
            log.debug("the client has gone")
            return None
        if reply.may_be_packed and takes_gzip(head.accept_encoding):
            reply = await packed(reply)
        await reply.send(send)

    async def _answer(self, method: str, head: Head, scope: Scope, receive: Receive) -> EncodedResponse:
        media = negotiate(head.accept)
        unread = head.has_large_body
        try:
            if media is None:
                message = f"Answers come as {MediaType.GRAPHQL_RESPONSE} or {MediaType.JSON}."
                raise refusal(ErrorCode.NOT_ACCEPTABLE, message)
            if method not in ("POST", "GET", "HEAD"):
                raise refusal(ErrorCode.METHOD_NOT_ALLOWED, "Use POST, or GET for queries.")
            # First, so that a stranger's body costs nothing.
            context = await self._in_time(self._get_context(HTTPConnection(scope)))
            try:
                if method == "POST":
                    self._check_body(head)
                    body = await self._bodies.received(receive, context.identity)
                    unread = False
                    parameters = parameters_of_body(body)
                else:
                    parameters = parameters_of_url(scope["query_string"])
                with ClientWatch(receive):
                    running = self._run(parameters, context, reads_only=method != "POST")
                    result, changes = await self._in_time(running)
            finally:
                context.close()
            # A new key beside what the caller sent: from the size of such a packed text secrets can be
            # guessed (BREACH), so that no mutation's answer is packed.
            return self._responses.executed(result, media)._replace(may_be_packed=not changes)
        except ClientGone:
            raise
        except Exception as error:
            refused = self._engine.errors.unexpected(error)
            return self._refused(refused, method, media or MediaType.JSON, unread=unread)

    async def _in_time(self, operation: Awaitable[T]) -> T:
        seconds = self._engine.limits.timeout_seconds
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                return await operation
        except TimeoutError:
            if not deadline.expired():
                raise
            message = f"The operation took longer than {seconds:g} s."
            raise refusal(ErrorCode.EXECUTION_TIMEOUT, message) from None

    async def _run(
        self, parameters: Parameters, context: ContextT, *, reads_only: bool
    ) -> tuple[Result, bool]:
        """The result, and whether the operation is a mutation."""
        engine = self._engine
        query = self._documents.resolve(parameters.query, parameters.extensions, parameters.document_id)
        prepared = engine.prepare(
            query, parameters.operation_name, may_introspect=context.allow_introspection
        )
        if reads_only and prepared.operation_type is OperationType.MUTATION:
            raise refusal(ErrorCode.METHOD_NOT_ALLOWED, "Mutations are sent with POST.")
        result = await engine.execute(prepared, parameters.variables, context)
        if parameters.extensions is not None and parameters.extensions.get("cost") is True:
            cost = {
                "requested": engine.cost(prepared, parameters.variables or {}),
                "maximum": engine.limits.max_cost,
            }
            result["extensions"] = result.get("extensions", {}) | {"cost": cost}
        return result, prepared.operation_type is OperationType.MUTATION

    def _refused(
        self, refused: RequestRefused, method: str, media: MediaType, *, unread: bool
    ) -> EncodedResponse:
        self._engine.errors.log_refusal(refused.errors)
        extra: list[tuple[bytes, bytes]] = []
        if refused.code is ErrorCode.METHOD_NOT_ALLOWED:
            extra.append(ALLOW_POST if method in ("GET", "HEAD") else ALLOW)
        if unread or refused.code in LEFT_UNREAD:
            extra.append(CLOSE)
        return self._responses.refused(refused, media, *extra)

    def _check_body(self, head: Head) -> None:
        if not is_json(head.content_type) or head.content_encoding not in (None, b"identity"):
            message = "Send the parameters as application/json in UTF-8, not compressed."
            raise refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, message)
        self._bodies.check_length(head.content_length)


def _head(scope: Scope) -> Head:
    accept = accept_encoding = content_type = content_encoding = None
    content_length: int | None = None
    ends_unknown = False
    headers: Any = scope["headers"]
    for name, value in headers:
        if name == b"accept":
            accept = value if accept is None else accept + b"," + value
        elif name == b"accept-encoding":
            accept_encoding = value if accept_encoding is None else accept_encoding + b"," + value
        elif name == b"content-type":
            # A second type is a contradiction; joined they name no type that is known.
            content_type = value if content_type is None else content_type + b"," + value
        elif name == b"content-encoding":
            content_encoding = value.lower()
        elif name == b"content-length" and value.isdigit() and len(value) < 20:
            content_length = int(value)
        elif name in (b"transfer-encoding", b"expect"):
            ends_unknown = True
    return Head(accept, accept_encoding, content_type, content_encoding, content_length, ends_unknown)
