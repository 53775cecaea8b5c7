"""Errors as the API's callers see them: one vocabulary of codes, and everything unexpected masked.

A resolver on the graph floor raises `ApiError`. Domain errors of the lower floors are translated by type
(`ErrorFormatter.translations`). Whatever is left is a fault of ours: the caller gets an id, and the log gets
the id with the traceback.
"""

import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from graphql import FieldNode, GraphQLError

from db.postgres.repeats import Repeats

log = logging.getLogger(__name__)


class ErrorCode(StrEnum):
    """The values of `extensions.code`."""

    BAD_REQUEST = "BAD_REQUEST"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
    REQUEST_TIMEOUT = "REQUEST_TIMEOUT"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    FORBIDDEN = "FORBIDDEN"
    RATE_LIMITED = "RATE_LIMITED"
    GRAPHQL_PARSE_FAILED = "GRAPHQL_PARSE_FAILED"
    GRAPHQL_VALIDATION_FAILED = "GRAPHQL_VALIDATION_FAILED"
    OPERATION_RESOLUTION_FAILURE = "OPERATION_RESOLUTION_FAILURE"
    INTROSPECTION_DISABLED = "INTROSPECTION_DISABLED"
    SUBSCRIPTIONS_NOT_SUPPORTED = "SUBSCRIPTIONS_NOT_SUPPORTED"
    QUERY_TOO_COMPLEX = "QUERY_TOO_COMPLEX"
    PERSISTED_QUERY_NOT_FOUND = "PERSISTED_QUERY_NOT_FOUND"
    PERSISTED_QUERY_NOT_SUPPORTED = "PERSISTED_QUERY_NOT_SUPPORTED"
    PERSISTED_QUERY_MISMATCH = "PERSISTED_QUERY_MISMATCH"
    PERSISTED_QUERY_REQUIRED = "PERSISTED_QUERY_REQUIRED"
    BAD_USER_INPUT = "BAD_USER_INPUT"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    READ_ONLY = "READ_ONLY"
    EXECUTION_TIMEOUT = "EXECUTION_TIMEOUT"
    ANSWER_TOO_LARGE = "ANSWER_TOO_LARGE"
    INTERNAL_SERVER_ERROR = "INTERNAL_SERVER_ERROR"


FormattedError: TypeAlias = dict[str, Any]
"""`{"message", "extensions": {"code", …}}` and, where known, `locations` and `path`."""

MESSAGE_LENGTH = 500
"""Longest message in characters; a coercion error repeats the caller's own value, which may be a megabyte."""

SUGGESTION = re.compile(r" Did you mean [^?]*\?")
OPERATORS_CONCERN = ("SERVICE_UNAVAILABLE", "READ_ONLY", "EXECUTION_TIMEOUT")
"""Codes that are logged as warnings, once for many, as they tell of the server's state."""

UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]")


class ApiError(Exception):
    """A refusal with a code and further `extensions`; its message goes to the caller."""

    def __init__(self, code: ErrorCode, message: str, **extensions: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.extensions: dict[str, Any] = {"code": code.value, **extensions}


class RequestRefused(Exception):
    """A request that is answered with errors and without `data`; `omitted` counts the errors left out."""

    def __init__(self, errors: Sequence[FormattedError], omitted: int = 0) -> None:
        super().__init__(errors[0]["message"])
        self.errors = list(errors)
        self.omitted = omitted

    @property
    def code(self) -> ErrorCode:
        return ErrorCode(self.errors[0]["extensions"]["code"])


Translation: TypeAlias = Callable[[Any], ApiError]
"""Turns a domain exception into the coded error that the caller sees."""


def coded(error: ApiError) -> FormattedError:
    """The answer's form of a coded error that belongs to no field."""
    return {"message": error.message, "extensions": error.extensions}


def refusal(code: ErrorCode, message: str, **extensions: object) -> RequestRefused:
    """A refusal of the whole request for one reason."""
    return RequestRefused([coded(ApiError(code, message, **extensions))])


def without_suggestion(message: str) -> str:
    """`message` without graphql-core's "Did you mean …?", which gives names of the schema away."""
    return SUGGESTION.sub("", message)


def printable(text: str) -> str:
    """`text` on one line, cut to a log's length: callers must not be able to write lines of the log."""
    return UNPRINTABLE.sub("?", text[:MESSAGE_LENGTH])


def _links(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.original_error if isinstance(link, GraphQLError) else None


def _is_coercion(link: BaseException) -> bool:
    """Whether graphql-core speaks of a value of the caller's: it then names its node and no path.

    Faults in a result name no node, or the field's.
    """
    if not isinstance(link, GraphQLError) or link.path is not None or not link.nodes:
        return False
    return not any(isinstance(node, FieldNode) for node in link.nodes)


@dataclass(frozen=True, slots=True)
class ErrorFormatter:
    """Formats errors of requests and fields, logs them, and masks what is not meant for callers.

    `translations` maps exception types of the lower floors (subclasses included) to coded errors.
    `show_suggestions` keeps graphql-core's "Did you mean …?".
    """

    show_suggestions: bool = False
    translations: Mapping[type[Exception], Translation] = field(
        default_factory=dict[type[Exception], Translation]
    )
    repeats: Repeats = field(default_factory=Repeats)

    def fields(self, errors: Sequence[GraphQLError], maximum: int) -> tuple[list[FormattedError], int]:
        """At most `maximum` errors of an execution, formatted, and how many were left out."""
        shown = [self._field(error) for error in errors[:maximum]]
        self.log_refusal(shown)
        self._log_omitted(errors[maximum:])
        return shown, len(errors) - len(shown)

    def request(self, errors: Sequence[GraphQLError], code: ErrorCode, maximum: int) -> RequestRefused:
        """A refusal for at most `maximum` errors of parsing, validation or the coercion of variables."""
        shown = [_located(error, self._mistake(error, code)) for error in errors[:maximum]]
        return RequestRefused(shown, len(errors) - len(shown))

    def unexpected(self, error: BaseException) -> RequestRefused:
        """A refusal for an exception outside every field: translated when its type is known, else masked."""
        if isinstance(error, RequestRefused):
            return error
        return RequestRefused([coded(self._known(error) or self._masked(error, None))])

    def log_refusal(self, errors: Sequence[FormattedError]) -> None:
        """Log the caller's mistakes in one line, without a traceback."""
        mistakes = [e for e in errors if e["extensions"]["code"] != ErrorCode.INTERNAL_SERVER_ERROR]
        if mistakes:
            code, message = mistakes[0]["extensions"]["code"], printable(mistakes[0]["message"])
            line = f"refused: {code}: {message} ({len(mistakes)} in all)"
            if code in OPERATORS_CONCERN:
                self.repeats.tell(log, logging.WARNING, line)
            else:
                log.info("%s", line)

    def _field(self, error: GraphQLError) -> FormattedError:
        *_, cause = _links(error)
        return _located(error, self._meant_for_caller(error) or self._masked(cause, error))

    def _meant_for_caller(self, error: GraphQLError) -> ApiError | None:
        links = list(_links(error))
        known = next((known for link in links if (known := self._known(link))), None)
        if known is None and any(map(_is_coercion, links)):
            return self._mistake(error, ErrorCode.BAD_USER_INPUT)
        return known

    def _log_omitted(self, errors: Sequence[GraphQLError]) -> None:
        faults = [error for error in errors if self._meant_for_caller(error) is None]
        if faults:
            *_, cause = _links(faults[0])
            log.error("%d more internal errors in the same answer; the first:", len(faults), exc_info=cause)

    def _known(self, error: BaseException) -> ApiError | None:
        if isinstance(error, ApiError):
            return error
        if isinstance(error, GraphQLError):
            return _coded_graphql_error(error)
        for ancestor in type(error).__mro__:
            if translate := self.translations.get(ancestor):
                return translate(error)
        return None

    def _masked(self, cause: BaseException, located: GraphQLError | None) -> ApiError:
        error_id = secrets.token_hex(8)
        path = "" if located is None or not located.path else " at " + ".".join(map(str, located.path))
        log.error("internal error %s%s", error_id, printable(path), exc_info=cause)
        message = "Something went wrong on our side; the log knows it by this errorId."
        return ApiError(ErrorCode.INTERNAL_SERVER_ERROR, message, errorId=error_id)

    def _mistake(self, error: GraphQLError, code: ErrorCode) -> ApiError:
        text = error.message if self.show_suggestions else without_suggestion(error.message)
        return ApiError(code, text if len(text) <= MESSAGE_LENGTH else text[:MESSAGE_LENGTH] + "…")


def sentence(error: Exception) -> str:
    """The clause that an error of the database's floor says, as a sentence for an answer."""
    clause = str(error)
    return f"{clause[:1].upper()}{clause[1:]}."


def _located(error: GraphQLError, seen: ApiError) -> FormattedError:
    formatted: FormattedError = {"message": seen.message}
    if error.locations:
        formatted["locations"] = [{"line": at.line, "column": at.column} for at in error.locations]
    if error.path is not None:
        formatted["path"] = list(error.path)
    formatted["extensions"] = seen.extensions
    return formatted


def _coded_graphql_error(error: GraphQLError) -> ApiError | None:
    """A GraphQLError that was raised with a code of ours, but not one that merely wraps another exception."""
    code = (error.extensions or {}).get("code")
    if error.original_error is not None or code not in ErrorCode.__members__:
        return None
    others = {name: value for name, value in (error.extensions or {}).items() if name != "code"}
    return ApiError(ErrorCode(str(code)), error.message, **others)
