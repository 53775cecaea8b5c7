"""What stands in the way of a use-case, as plain exceptions.

A docstring is the message a caller sees where none is given. Every refusal leaves the store as it was.
"""

from __future__ import annotations

import inspect
from typing import ClassVar


class Refusal(Exception):
    """The request cannot be carried out. `code` is the word of its kind for programs."""

    code: ClassVar[str]

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.getdoc(type(self)) or "")

    @property
    def message(self) -> str:
        """What the caller is told."""
        return str(self)


class NotFound(Refusal):
    """There is no such object, or it is not yours to see."""

    code = "NOT_FOUND"


class Conflict(Refusal):
    """The object is not in a state that allows this."""

    code = "CONFLICT"


class Expired(Refusal):
    """The offer's time has run out; ask for a new one."""

    code = "EXPIRED"


class InvalidInput(Refusal):
    """A value of the input cannot be used. `field` names it as the API does, such as `appTypes`."""

    code = "INVALID_INPUT"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field
