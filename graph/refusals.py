"""Refusals: what a mutation answers instead of its success, for the caller to act on.

`EXCEPTION_HANDLERS` turns the domain errors of `resolvers.errors` into the members of a mutation's union, so
that no mutation has a `try` of its own.
"""

from __future__ import annotations

import strawberry

from resolvers import errors


@strawberry.interface(description="Why a mutation did nothing. The store is as it was before.")
class Refusal:
    """What all refusals have in common."""

    code: str = strawberry.field(description="A word for programs, such as NOT_FOUND.")
    message: str = strawberry.field(description="A sentence for people.")


@strawberry.type(description="There is no such object, or it is not yours to see.")
class NotFound(Refusal):
    """Made from `resolvers.errors.NotFound`."""


@strawberry.type(description="The object is not in a state that allows this; look at it again.")
class Conflict(Refusal):
    """Made from `resolvers.errors.Conflict`."""


@strawberry.type(description="The offer's time has run out; ask for a new one.")
class Expired(Refusal):
    """Made from `resolvers.errors.Expired`."""


@strawberry.type(description="A value of the input cannot be used.")
class InvalidInput(Refusal):
    """Made from `resolvers.errors.InvalidInput`."""

    field: str | None = strawberry.field(description="The input field that is wrong, such as memberIds.")


class _NotFoundHandler(strawberry.ExceptionHandler[errors.NotFound, NotFound]):
    def handle(self, exception: errors.NotFound, *, field: object, info: object) -> NotFound:
        return NotFound(code=exception.code, message=exception.message)


class _ConflictHandler(strawberry.ExceptionHandler[errors.Conflict, Conflict]):
    def handle(self, exception: errors.Conflict, *, field: object, info: object) -> Conflict:
        return Conflict(code=exception.code, message=exception.message)


class _ExpiredHandler(strawberry.ExceptionHandler[errors.Expired, Expired]):
    def handle(self, exception: errors.Expired, *, field: object, info: object) -> Expired:
        return Expired(code=exception.code, message=exception.message)


class _InvalidInputHandler(strawberry.ExceptionHandler[errors.InvalidInput, InvalidInput]):
    def handle(self, exception: errors.InvalidInput, *, field: object, info: object) -> InvalidInput:
        return InvalidInput(code=exception.code, message=exception.message, field=exception.field)


EXCEPTION_HANDLERS = (_NotFoundHandler(), _ConflictHandler(), _ExpiredHandler(), _InvalidInputHandler())
