"""The bodies of requests: received within bounds of bytes and time, and looked at before they are parsed."""

import asyncio
from collections import Counter
from dataclasses import dataclass

from starlette.types import Receive

from graph.errors import ErrorCode, RequestRefused, refusal
from graph.http.disconnects import ClientGone

SMALL_BYTES = 65_536
"""A body up to this size is always received, however many large ones come at the same time."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What bodies may cost: `in_flight_bytes` is for all of them together, in this process, and
    `caller_bytes` for all of one caller."""

    max_bytes: int = 4_000_000
    max_values: int = 150_000
    in_flight_bytes: int = 64_000_000
    caller_bytes: int = 32_000_000
    seconds: float = 30.0


class Bodies:
    """Receives bodies. Whatever it refuses, it raises `RequestRefused`."""

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self._in_flight = 0
        # Of callers that have a body under way.
        self._of_callers: Counter[str] = Counter()

    async def received(self, receive: Receive, caller: str) -> bytes:
        """A whole body of this caller. Raises `ClientGone` where the client does not send it all."""
        try:
            async with asyncio.timeout(self.limits.seconds):
                body = await self._received(receive, caller)
        except TimeoutError:
            raise refusal(ErrorCode.REQUEST_TIMEOUT, "The body did not arrive in time.") from None
        self._check_values(body)
        return body

    def check_length(self, length: int | None) -> None:
        """Refuse a body by the length that its head declares."""
        if length is not None and length > self.limits.max_bytes:
            raise self._too_large()

    async def _received(self, receive: Receive, caller: str) -> bytes:
        chunks: list[bytes] = []
        size = 0
        more = True
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                chunk: bytes = message.get("body", b"")
                size += len(chunk)
                self._count(caller, len(chunk))
                self._check_size(size, caller)
                chunks.append(chunk)
                more = message.get("more_body", False)
        finally:
            self._count(caller, -size)
            if not self._of_callers[caller]:
                del self._of_callers[caller]
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _count(self, caller: str, size: int) -> None:
        self._in_flight += size
        self._of_callers[caller] += size

    def _check_size(self, size: int, caller: str) -> None:
        if size > self.limits.max_bytes:
            raise self._too_large()
        if size <= SMALL_BYTES:
            return
        if self._of_callers[caller] > self.limits.caller_bytes:
            message = "Too many large bodies of yours come at the same time; send fewer at once."
        elif self._in_flight > self.limits.in_flight_bytes:
            message = "Too many large bodies come at the same time; try again."
        else:
            return
        raise refusal(ErrorCode.SERVICE_UNAVAILABLE, message, retryAfter=1)

    def _check_values(self, body: bytes) -> None:
        """Parsing takes as long as there are values, and nothing else runs meanwhile."""
        limit = self.limits.max_values
        if _separators(body) <= limit:
            return
        quotes = body.count(b'"') - body.count(b'\\"')
        # What stands in texts does not count: every second part between quotes that are not escaped.
        if quotes > 2 * limit or _separators(_without_texts(body)) > limit:
            message = f"A body may hold at most {limit:,} values."
            raise refusal(ErrorCode.PAYLOAD_TOO_LARGE, message, maximum=limit)

    def _too_large(self) -> RequestRefused:
        maximum = self.limits.max_bytes
        return refusal(
            ErrorCode.PAYLOAD_TOO_LARGE, f"A body may be at most {maximum} bytes long.", maximum=maximum
        )


def _separators(body: bytes) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


def _without_texts(body: bytes) -> bytes:
    escaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(escaped.split(b'"')[::2])
