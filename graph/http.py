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

from graph.documents import DocumentStore
from graph.errors import ErrorCode, RequestRefused, refusal
from graph.execution import Engine, Result
from graph.interruptions import ClientGone, ClientWatch
from graph.negotiation import MediaType, is_json, negotiate, prefers_html
from graph.parameters import Parameters, parameters_of_body, parameters_of_url
from graph.replies import FIXED_HEADERS, Replies, Reply

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

    def close(self) -> None:
        """The operation is over, however it ended."""


ContextT = TypeVar("ContextT", bound=CallerContext)


class Head(NamedTuple):
    """The request headers that matter here."""

    accept: bytes | None = None
    content_type: bytes | None = None
    content_encoding: bytes | None = None
    content_length: int = 0


class GraphQLEndpoint(Generic[ContextT]):
    """Serves an engine over HTTP.

    `get_context` makes the resolvers' context from the connection; an `ApiError` it raises is the answer.
    `explorer` makes the page for a browser. `body_timeout_seconds` is the time for the whole body to arrive.
    """

    def __init__(
        self,
        engine: Engine,
        get_context: Callable[[HTTPConnection], Awaitable[ContextT]],
        *,
        documents: DocumentStore | None = None,
        explorer: Callable[[Request], Response] | None = None,
        body_timeout_seconds: float = 30.0,
        draft_statuses: bool = False,
    ) -> None:
        self._engine = engine
        self._get_context = get_context
        self._documents = documents or DocumentStore()
        self._explorer = explorer
        self._max_body_bytes = engine.limits.max_body_bytes
        self._body_timeout = body_timeout_seconds
        self._replies = Replies(draft_statuses)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method: str = scope["method"]
        head = _head(scope)
        if method == "OPTIONS":
            return await Reply(204, [ALLOW, *FIXED_HEADERS], b"").send(send)
        if method == "GET" and self._explorer is not None and prefers_html(head.accept):
            return await self._explorer(Request(scope))(scope, receive, send)
        try:
            reply = await self._answer(method, head, scope, receive)
        except ClientGone:
            log.debug("the client has gone")
            return None
        await reply.send(send)

    async def _answer(self, method: str, head: Head, scope: Scope, receive: Receive) -> Reply:
        media = negotiate(head.accept)
        try:
            if media is None:
                message = f"Answers come as {MediaType.GRAPHQL_RESPONSE} or {MediaType.JSON}."
                raise refusal(ErrorCode.NOT_ACCEPTABLE, message)
            if method not in ("POST", "GET", "HEAD"):
                raise refusal(ErrorCode.METHOD_NOT_ALLOWED, "Use POST, or GET for queries.")
            if method == "POST":
                self._check_body(head)
                parameters = parameters_of_body(await self._body(receive))
            else:
                parameters = parameters_of_url(scope["query_string"])
            with ClientWatch(receive):
                result = await self._in_time(self._run(parameters, scope, reads_only=method != "POST"))
            return self._replies.executed(result, media)
        except ClientGone:
            raise
        except Exception as error:
            return self._refused(self._engine.errors.unexpected(error), method, media or MediaType.JSON)

    async def _in_time(self, operation: Awaitable[Result]) -> Result:
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

    async def _run(self, parameters: Parameters, scope: Scope, *, reads_only: bool) -> Result:
        context = await self._get_context(HTTPConnection(scope))
        engine = self._engine
        try:
            query = self._documents.resolve(parameters.query, parameters.extensions, parameters.document_id)
            prepared = engine.prepare(
                query, parameters.operation_name, may_introspect=context.allow_introspection
            )
            if reads_only and prepared.operation_type is OperationType.MUTATION:
                raise refusal(ErrorCode.METHOD_NOT_ALLOWED, "Mutations are sent with POST.")
            result = await engine.execute(prepared, parameters.variables, context)
        finally:
            context.close()
        if parameters.extensions is not None and parameters.extensions.get("cost") is True:
            cost = {
                "requested": engine.cost(prepared, parameters.variables or {}),
                "maximum": engine.limits.max_cost,
            }
            result["extensions"] = result.get("extensions", {}) | {"cost": cost}
        return result

    def _refused(self, refused: RequestRefused, method: str, media: MediaType) -> Reply:
        self._engine.errors.log_refusal(refused.errors)
        extra: list[tuple[bytes, bytes]] = []
        if refused.code is ErrorCode.METHOD_NOT_ALLOWED:
            extra.append(ALLOW_POST if method in ("GET", "HEAD") else ALLOW)
        if refused.code in LEFT_UNREAD:
            extra.append(CLOSE)
        return self._replies.refused(refused, media, *extra)

    def _check_body(self, head: Head) -> None:
        if not is_json(head.content_type) or head.content_encoding not in (None, b"identity"):
            message = "Send the parameters as application/json in UTF-8, not compressed."
            raise refusal(ErrorCode.UNSUPPORTED_MEDIA_TYPE, message)
        if head.content_length > self._max_body_bytes:
            raise self._too_large()

    async def _body(self, receive: Receive) -> bytes:
        try:
            async with asyncio.timeout(self._body_timeout):
                return await self._received(receive)
        except TimeoutError:
            raise refusal(ErrorCode.REQUEST_TIMEOUT, "The body did not arrive in time.") from None

    async def _received(self, receive: Receive) -> bytes:
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            chunk: bytes = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body_bytes:
                raise self._too_large()
            chunks.append(chunk)
            more = message.get("more_body", False)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _too_large(self) -> RequestRefused:
        message = f"A body may be at most {self._max_body_bytes} bytes long."
        return refusal(ErrorCode.PAYLOAD_TOO_LARGE, message, maximum=self._max_body_bytes)


def _head(scope: Scope) -> Head:
    accept = content_type = content_encoding = None
    content_length = 0
    headers: Any = scope["headers"]
    for name, value in headers:
        if name == b"accept":
            accept = value if accept is None else accept + b"," + value
        elif name == b"content-type":
            # A second type is a contradiction; joined they name no type that is known.
            content_type = value if content_type is None else content_type + b"," + value
        elif name == b"content-encoding":
            content_encoding = value.lower()
        elif name == b"content-length" and value.isdigit() and len(value) < 20:
            content_length = int(value)
    return Head(accept, content_type, content_encoding, content_length)
