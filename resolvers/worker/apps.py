"""Apps as HTTP endpoints: how one is described, called, and what counts as its answer."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import math
import random
import time
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urljoin, urlsplit

import httpx

from resolvers.names import MAX_NAME
from resolvers.runs.run_bounds import MAX_LATENCY_MS, MAX_TOKENS

MAX_ANSWER_BYTES = 4_000_000
_RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_FIRST_POLL_SECONDS = 0.2
_LAST_POLL_SECONDS = 5.0

CallStatus = Literal["success", "failed", "timeout", "circuit_open"]


@dataclass(frozen=True, slots=True)
class App:
    """An app that the workers can call. Times are in seconds."""

    name: str
    url: str
    secret: str
    # For one attempt, and for the whole call with its repetitions and polls.
    timeout: float = 30.0
    budget: float = 120.0
    retries: int = 2
    # Before the first repetition; doubled for each further one.
    backoff: float = 0.5
    # The circuit opens after so many failures in a row, for so long.
    failures: int = 5
    open_for: float = 30.0
    # Most jobs at once that call it, on all workers together; None is as many as the sites may have.
    concurrency: int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call; `tokens` is None where nobody knows them.

    `is_fault` tells that the app did not work, as its circuit breaker counts it.
    """

    status: CallStatus
    tokens: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    model: str | None = None
    response: str | None = None
    latency_ms: int | None = None
    error: str | None = None
    is_fault: bool = False


class Malformed(Exception):
    """An app's answer is not what it should be; the message says in what."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    answer: Answer
    may_repeat: bool = False
    wait_seconds: float = 0.0


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """The signature of a request: HMAC-SHA256 over the timestamp, a full stop and the body, in hex."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


class AppClient:
    """Calls apps over HTTP. Holds no database connection."""

    def __init__(self, *, connections: int) -> None:
        self._http = httpx.AsyncClient(
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113 - every attempt has a deadline of its own
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            headers={"user-agent": "runglass"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def call(
        self, app: App, request: dict[str, Any], idempotency_key: str, *, seconds: float
    ) -> Answer:
        """The app's answer; faults (no connection, no time, 5xx, malformed) are answers too, not exceptions.

        A fault is repeated with the same idempotency key, within the app's retries and budget, and in no more
        than `seconds`.
        """
        body = json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
        deadline = time.monotonic() + min(app.budget, seconds)
        attempt = 0
        while True:
            made = await self._attempt(app, body, idempotency_key, deadline)
            pause = max(made.wait_seconds, app.backoff * 2**attempt * random.uniform(0.8, 1.2))  # noqa: S311
            if not made.may_repeat or attempt == app.retries or time.monotonic() + pause >= deadline:
                return made.answer
            await asyncio.sleep(pause)
            attempt += 1

    async def _attempt(self, app: App, body: bytes, key: str, deadline: float) -> _Attempt:
        started = time.monotonic()
        try:
            async with asyncio.timeout(min(app.timeout, deadline - started)):
                status, headers, text = await self._send(app, "POST", app.url, body, key)
            if status == 202:
                async with asyncio.timeout(deadline - time.monotonic()):
                    status, headers, text = await self._poll(app, headers, text, key)
        except TimeoutError:
            error = f"no answer within {time.monotonic() - started:.1f} s"
            return _Attempt(Answer("timeout", error=error, is_fault=True), may_repeat=True)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            text = f"could not be called: {type(error).__name__}: {error}"
            return _Attempt(Answer("failed", error=_clean(text), is_fault=True), may_repeat=True)
        except Malformed as error:
            return _Attempt(Answer("failed", error=f"malformed answer: {error}", is_fault=True))
        return _judge(status, headers, text, round((time.monotonic() - started) * 1000))

    async def _poll(
        self, app: App, headers: httpx.Headers, text: bytes, key: str
    ) -> tuple[int, httpx.Headers, bytes]:
        url = _poll_url(app, headers, text)
        pause = _FIRST_POLL_SECONDS
        while True:
            await asyncio.sleep(max(pause, _retry_after(headers)))
            status, headers, text = await self._send(app, "GET", url, b"", key)
            if status != 202:
                return status, headers, text
            pause = min(pause * 1.5, _LAST_POLL_SECONDS)

    async def _send(
        self, app: App, method: str, url: str, body: bytes, key: str
    ) -> tuple[int, httpx.Headers, bytes]:
        timestamp = str(int(time.time()))
        headers = {
            "content-type": "application/json",
            "accept": "application/json",
            # What is compressed may grow beyond all bounds where it is read.
            "accept-encoding": "identity",
            "idempotency-key": key,
            "x-runglass-timestamp": timestamp,
            "x-runglass-signature": sign(app.secret, timestamp, body),
        }
        async with self._http.stream(method, url, content=body, headers=headers) as response:
            if response.headers.get("content-encoding", "identity").lower() != "identity":
                raise Malformed("it is compressed, which was not asked for")
            read = bytearray()
            async for part in response.aiter_raw():
                read += part
                if len(read) > MAX_ANSWER_BYTES:
                    raise Malformed(f"longer than {MAX_ANSWER_BYTES:,} bytes")
        return response.status_code, response.headers, bytes(read)


def _judge(status: int, headers: httpx.Headers, text: bytes, took_ms: int) -> _Attempt:
    if status != 200:
        answer = Answer("failed", latency_ms=took_ms, error=f"HTTP {status}", is_fault=status >= 500)
        return _Attempt(answer, status in _RETRIED, _retry_after(headers))
    try:
        return _Attempt(parse_answer(text, took_ms))
    except Malformed as error:
        message = f"malformed answer: {error}"
        return _Attempt(Answer("failed", latency_ms=took_ms, error=message, is_fault=True))


def parse_answer(text: bytes, took_ms: int) -> Answer:
    """Read an app's answer. `took_ms` is its latency where it gives none itself. Raises Malformed."""
    answer = _json_object(text)
    status = answer.get("status")
    if status not in ("success", "failed"):
        raise Malformed('status must be "success" or "failed"')
    prompt = _count(answer, "promptTokens", MAX_TOKENS)
    completion = _count(answer, "completionTokens", MAX_TOKENS)
    tokens = _count(answer, "tokens", MAX_TOKENS)
    if tokens is None and (prompt, completion) != (None, None):
        tokens = (prompt or 0) + (completion or 0)
        if tokens > MAX_TOKENS:
            raise Malformed(f"promptTokens and completionTokens together must be at most {MAX_TOKENS}")
    latency = _count(answer, "latencyMs", MAX_LATENCY_MS, rounded=True)
    error = _text(answer, "error")
    if status == "failed" and not error:
        error = "the app reported a failure without a reason"
    return Answer(
        status=status,
        tokens=tokens,
        prompt_tokens=prompt,
        completion_tokens=completion,
        model=_name(answer, "model"),
        response=_text(answer, "response"),
        latency_ms=took_ms if latency is None else latency,
        error=error if status == "failed" else None,
    )


def _json_object(text: bytes) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]


def _count(answer: dict[str, Any], field: str, limit: int, *, rounded: bool = False) -> int | None:
    """A number of the answer, whole or such as 5.0; `rounded` also takes what measures, such as 12.7."""
    value = answer.get(field)
    if value is None:
        return None
    is_number = type(value) is int or (type(value) is float and math.isfinite(value))
    if not is_number or not 0 <= value <= limit or not (rounded or value == int(value)):
        kind = "a number" if rounded else "an integer"
        raise Malformed(f"{field} must be {kind} from 0 to {limit}")
    return round(value)


def _text(answer: dict[str, Any], field: str) -> str | None:
    value = answer.get(field)
    if value is None:
        return None
    if not isinstance(value, str):
        raise Malformed(f"{field} must be a string")
    return _clean(value)


def _name(answer: dict[str, Any], field: str) -> str | None:
    name = _text(answer, field)
    if name is not None and len(name) > MAX_NAME:
        raise Malformed(f"{field} has {len(name):,} characters; a name has at most {MAX_NAME}")
    return name


def _clean(text: str) -> str:
    # Neither a NUL nor half a surrogate pair can be stored as text.
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def _poll_url(app: App, headers: httpx.Headers, text: bytes) -> str:
    given = _json_object(text).get("pollUrl") if text.strip() else headers.get("location")
    if not isinstance(given, str):
        raise Malformed("202 without a pollUrl")
    try:
        url = urljoin(app.url, given)
        server = urlsplit(url)[:2]
    except ValueError:
        raise Malformed("pollUrl is not a URL") from None
    # An answer must not choose which other server of the network is asked with our signature.
    if server != urlsplit(app.url)[:2]:
        raise Malformed("pollUrl names another server")
    return url


def _retry_after(headers: httpx.Headers) -> float:
    value = headers.get("retry-after", "")
    return min(float(value), 3600.0) if value.isascii() and value.isdigit() else 0.0
