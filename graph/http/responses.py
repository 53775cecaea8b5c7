"""Answers in bytes: status, headers and body, each formed once."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from starlette.types import Send

from graph.encoding import encode
from graph.errors import ApiError, ErrorCode, RequestRefused, coded
from graph.http.negotiation import MediaType

REQUEST_STATUS: Mapping[ErrorCode, int] = {
    ErrorCode.BAD_REQUEST: 400,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.METHOD_NOT_ALLOWED: 405,
    ErrorCode.NOT_ACCEPTABLE: 406,
    ErrorCode.REQUEST_TIMEOUT: 408,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: 415,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.INTERNAL_SERVER_ERROR: 500,
    ErrorCode.SERVICE_UNAVAILABLE: 503,
    ErrorCode.READ_ONLY: 503,
    ErrorCode.EXECUTION_TIMEOUT: 504,
}
"""Codes that have this status in either format. Any other refusal is the document's: 400, or 200 in the older
one."""

DRAFT_REFUSAL = 422
DRAFT_PARTIAL = 294
UNPROCESSABLE = (ErrorCode.GRAPHQL_VALIDATION_FAILED, ErrorCode.BAD_USER_INPUT)

FIXED_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"vary", b"accept, accept-encoding"),
    (b"x-content-type-options", b"nosniff"),
)
HEADERS = {
    media: ((b"content-type", f"{media.value}; charset=utf-8".encode()), *FIXED_HEADERS)
    for media in MediaType
}


class EncodedResponse(NamedTuple):
    """One answer, ready to send."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    may_be_packed: bool = False

    async def send(self, send: Send) -> None:
        """Send the answer."""
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Responses:
    """Forms answers. `draft_statuses` takes 422 and 294 of the newest GraphQL over HTTP draft, where it asks
    for them."""

    def __init__(self, draft_statuses: bool = False, max_bytes: int = 16_000_000) -> None:
        self._draft = draft_statuses
        self._max_bytes = max_bytes

    def executed(self, result: Mapping[str, Any], media: MediaType) -> EncodedResponse:
        """The answer to an operation that ran. Raises TypeError or ValueError for data that JSON cannot
        express."""
        partial = self._draft and "errors" in result and media is MediaType.GRAPHQL_RESPONSE
        reply = _reply(DRAFT_PARTIAL if partial else 200, media, result)
        if len(reply.body) <= self._max_bytes:
            return reply
        message = (
            f"The answer has {len(reply.body):,} bytes; {self._max_bytes:,} are sent at most. Ask for less at"
            " once. Mutations were done."
        )
        error = ApiError(ErrorCode.ANSWER_TOO_LARGE, message, maximum=self._max_bytes)
        return self.executed({"errors": [coded(error)], "data": None}, media)

    def refused(
        self, refused: RequestRefused, media: MediaType, *extra: tuple[bytes, bytes]
    ) -> EncodedResponse:
        """The answer to a request that did not run."""
        result: dict[str, Any] = {"errors": refused.errors}
        if refused.omitted:
            result["extensions"] = {"errorsOmitted": refused.omitted}
        headers = (*extra, *_headers_of(refused))
        return _reply(self._status(refused.code, media), media, result, *headers)

    def _status(self, code: ErrorCode, media: MediaType) -> int:
        status = REQUEST_STATUS.get(code)
        if status is not None:
            return status
        if media is MediaType.JSON:
            return 200
        return DRAFT_REFUSAL if self._draft and code in UNPROCESSABLE else 400


def _headers_of(refused: RequestRefused) -> list[tuple[bytes, bytes]]:
    headers: list[tuple[bytes, bytes]] = []
    if refused.code is ErrorCode.UNAUTHENTICATED:
        headers.append((b"www-authenticate", b"Bearer"))
    retry_after = refused.errors[0]["extensions"].get("retryAfter")
    if isinstance(retry_after, int | float):
        headers.append((b"retry-after", str(max(int(-(-retry_after // 1)), 0)).encode()))
    return headers


def _reply(
    status: int, media: MediaType, result: Mapping[str, Any], *extra: tuple[bytes, bytes]
) -> EncodedResponse:
    body = encode(result)
    length = (b"content-length", str(len(body)).encode())
    return EncodedResponse(status, [length, *HEADERS[media], *extra], body)
