"""Media types of requests and answers: what `Accept` and `Content-Type` mean to this server."""

import re
from collections.abc import Iterator
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

CACHED_HEADER_BYTES = 500
QUALITY = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)")
UTF_8 = ("utf-8", "utf8")


class MediaType(StrEnum):
    """The formats of an answer. The newer one has status codes of its own."""

    GRAPHQL_RESPONSE = "application/graphql-response+json"
    JSON = "application/json"


FORMATS = frozenset(media.value for media in MediaType)


class MediaRange(NamedTuple):
    """One element of `Accept`."""

    name: str
    quality: float


class Fit(NamedTuple):
    """How well a format fits, in the order in which fits are compared."""

    quality: float
    specificity: int
    preference: int


def negotiate(accept: bytes | None) -> MediaType | None:
    """The format to answer in; None when the caller accepts neither.

    Of two that are named with equal quality, `application/graphql-response+json` wins. Where only a wildcard
    or nothing is said, `application/json` does.
    """
    if accept is None or not accept.strip():
        return MediaType.JSON
    return (_negotiate if len(accept) <= CACHED_HEADER_BYTES else _negotiate.__wrapped__)(accept)


def prefers_html(accept: bytes | None) -> bool:
    """Whether the caller is a browser that opens a page: HTML is named, and before both formats of an
    answer."""
    if accept is None or b"text/html" not in accept.lower():
        return False
    ranges = list(_ranges(accept))
    html = max((media.quality for media in ranges if media.name == "text/html"), default=0.0)
    named = max((media.quality for media in ranges if media.name in FORMATS), default=0.0)
    return html > named


def is_json(content_type: bytes | None) -> bool:
    """Whether a body of this type is JSON in UTF-8."""
    if content_type is None or len(content_type) > CACHED_HEADER_BYTES:
        return False
    return _is_json(content_type)


@lru_cache(maxsize=256)
def _negotiate(accept: bytes) -> MediaType | None:
    ranges = list(_ranges(accept))
    fits = {media: _fit(media, ranges) for media in MediaType}
    best = max(MediaType, key=fits.__getitem__)
    return best if fits[best].quality > 0 else None


def _fit(media: MediaType, ranges: list[MediaRange]) -> Fit:
    named = media is MediaType.GRAPHQL_RESPONSE
    for specificity, name in ((3, media.value), (2, "application/*"), (1, "*/*")):
        qualities = [entry.quality for entry in ranges if entry.name == name]
        if qualities:
            return Fit(max(qualities), specificity, int(named if specificity == 3 else not named))
    return Fit(0.0, 0, 0)


def _ranges(accept: bytes) -> Iterator[MediaRange]:
    for element in accept.decode("latin-1").lower().split(","):
        name, *parameters = (part.strip() for part in element.split(";"))
        values = dict(_parameter(parameter) for parameter in parameters)
        quality = values.get("q", "1")
        if name and QUALITY.fullmatch(quality) and values.get("charset", "utf-8") in UTF_8:
            yield MediaRange(name, float(quality))


def _parameter(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip().strip('"')


@lru_cache(maxsize=256)
def _is_json(content_type: bytes) -> bool:
    name, *parameters = (part.strip() for part in content_type.decode("latin-1").lower().split(";"))
    values = dict(_parameter(parameter) for parameter in parameters)
    return name == MediaType.JSON and values.get("charset", "utf-8") in UTF_8
