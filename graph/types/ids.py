"""Typed, readable ids: `job_42`, `run_7`, `batch_…`. The one place that prints and parses them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from uuid import UUID

from graph.errors import ApiError, ErrorCode

# The largest value of a bigint column.
MAX_NUMBER = 2**63 - 1
_NUMBER = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Kind(StrEnum):
    """What an id names; the word before the underscore."""

    RUN = "run"
    ALERT = "alert"
    JOB = "job"
    BATCH = "batch"
    CACHE = "cache"
    KEY = "key"
    AUDIT = "audit"
    BUDGET = "budget"
    BUDGET_EVENT = "budgetevent"
    PRICE = "price"


_EXAMPLES = {kind: f"{kind}_42" for kind in Kind} | {Kind.BATCH: "batch_ followed by 32 hexadecimal digits"}


def print_id(kind: Kind, value: int | UUID) -> str:
    """The id as the API shows it."""
    return f"{id_prefix(kind)}{value.hex if isinstance(value, UUID) else value}"


def id_prefix(kind: Kind) -> str:
    """What an id of that kind begins with; the number follows, or a UUID's hexadecimal digits."""
    return f"{kind}_"


def parse_id(text: str, kind: Kind, argument: str) -> int:
    """The number within an id of that kind. Raises BAD_USER_INPUT that names the argument."""
    word, number = _split(text)
    if word != kind or not _NUMBER.fullmatch(number) or int(number) > MAX_NUMBER:
        raise _unexpected(text, _EXAMPLES[kind], argument)
    return int(number)


def parse_ids(texts: Sequence[str] | None, kind: Kind, argument: str) -> tuple[int, ...] | None:
    """The numbers within ids of that kind; None where none are given. Raises as `parse_id`."""
    return None if texts is None else tuple(parse_id(text, kind, argument) for text in texts)


def parse_batch_id(text: str, argument: str) -> UUID:
    """The UUID within the id of a batch. Raises BAD_USER_INPUT that names the argument."""
    word, digits = _split(text)
    if word != Kind.BATCH or not _HEX.fullmatch(digits):
        raise _unexpected(text, _EXAMPLES[Kind.BATCH], argument)
    return UUID(digits)


def kind_of(text: str, argument: str) -> Kind:
    """The kind that an id names. Raises BAD_USER_INPUT where the word is none."""
    word, _ = _split(text)
    try:
        return Kind(word)
    except ValueError:
        raise _unexpected(text, "one such as job_42 or run_7", argument) from None


def _split(text: str) -> tuple[str, str]:
    word, _, rest = text.partition("_")
    return word, rest


def _unexpected(text: str, expected: str, argument: str) -> ApiError:
    shown = text if len(text) <= 60 else text[:60] + "…"
    return ApiError(
        ErrorCode.BAD_USER_INPUT,
        f"{argument}: {shown!r} is no id of the expected kind; expected {expected}.",
        argument=argument,
    )
