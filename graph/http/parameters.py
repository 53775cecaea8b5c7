"""The parameters of a GraphQL request, from a JSON body or a URL, checked for their types."""

from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl

import orjson

from graph.errors import ErrorCode, RequestRefused, refusal

MAX_URL_PARAMETERS = 32
_KINDS = {"query": str, "operationName": str, "variables": dict, "extensions": dict, "documentId": str}


@dataclass(slots=True)
class Parameters:
    """What a caller asks for. `query` is absent when a document is named by its hash."""

    query: str | None
    operation_name: str | None
    variables: dict[str, Any] | None
    extensions: dict[str, Any] | None
    document_id: str | None = None


def parameters_of_body(body: bytes) -> Parameters:
    """Read a POST body. Raises `RequestRefused` for anything but an object of the parameters' types."""
    try:
        content: object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _bad(f"The body is not JSON in UTF-8: {error.msg}.") from None
    if isinstance(content, list):
        raise _bad("Batches are not supported: send one operation for each request.")
    if not isinstance(content, dict):
        raise _bad("The body must be a JSON object.")
    return _checked(cast("dict[str, Any]", content))


def parameters_of_url(query_string: bytes) -> Parameters:
    """Read a GET request's query string; an empty value counts as absent except for `query`."""
    try:
        pairs = parse_qsl(
            query_string.decode("utf-8"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_URL_PARAMETERS,
        )
    except ValueError:
        raise _bad("The URL's parameters are not UTF-8, or too many.") from None
    texts = dict(pairs)
    if len(texts) != len(pairs):
        raise _bad("A parameter of the URL is given twice.")
    content: dict[str, Any] = dict(texts)
    for name in ("variables", "extensions"):
        if name in texts:
            content[name] = _json(name, texts[name]) if texts[name] else None
    return _checked(content)


def _json(name: str, text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _bad(f"The parameter {name} is not JSON: {error.msg}.") from None


def _checked(content: dict[str, Any]) -> Parameters:
    for name, value in content.items():
        kind = _KINDS.get(name)
        if kind is not None and value is not None and not isinstance(value, kind):
            raise _bad(f"The parameter {name} must be {'a string' if kind is str else 'an object'}.")
    get = content.get
    return Parameters(
        get("query"),
        get("operationName") or None,
        get("variables"),
        get("extensions"),
        get("documentId") or None,
    )


def _bad(message: str) -> RequestRefused:
    return refusal(ErrorCode.BAD_REQUEST, message)
