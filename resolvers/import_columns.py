"""Checking the cells of one column of an import, all at once.

Each check first tries the whole column in C; only a column that fails is looked at cell by cell, to tell
which rows are bad and why. A checked cell is text ready for its column, an int, a datetime in UTC, or
None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import orjson

from db.imports import TargetColumn

Cell = TypeVar("Cell")
Reasons = dict[int, str]
"""Why a row is bad, by its place in the batch; the first reason stands."""

NOT_NEGATIVE = frozenset({"tokens_used", "prompt_tokens", "completion_tokens", "latency_ms"})
# An index row holds at most 2,704 bytes and at most two of these (4 bytes a character).
_INDEXED = frozenset(
    {"site_id", "app_type", "trigger_type", "member_id", "session_id", "status", "external_id", "model"}
)
_LONGEST_INDEXED = 256
_INTEGER_BITS = {"int2": 15, "int4": 31, "int8": 63}
_FIRST_TIME = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIME = datetime(2200, 1, 1, tzinfo=UTC)
_EPOCH = re.compile(r"-?\d+(\.\d*)?([eE]\+?\d+)?")
_FIRST_EPOCH_MILLISECONDS = 1e11


def check_column(column: TargetColumn, cells: Sequence[str | None], reasons: Reasons) -> list[Any]:
    """The column's checked cells; a bad cell gets a reason and becomes None."""
    name = column.name
    if column.type in _INTEGER_BITS:
        return _integers(name, _INTEGER_BITS[column.type], cells, reasons)
    if column.type in ("timestamptz", "timestamp"):
        return check_times(name, cells, reasons)
    texts = _texts(name, _longest(column), cells, reasons)
    parse = _PARSERS.get(column.type)
    return texts if parse is None else _each(name, parse, texts, reasons)


def check_times(name: str, cells: Sequence[str | None], reasons: Reasons) -> list[datetime | None]:
    """Times in UTC: ISO 8601 with or without a zone (none is UTC), or seconds or milliseconds since 1970."""
    parse = datetime.fromisoformat
    sample = next(filter(None, cells), "")
    try:
        if parse(sample or "1970-01-01").tzinfo is None:
            # Cheaper than giving each time a zone afterwards; a cell that has one ends this attempt.
            times = [None if cell is None else parse(cell + "Z") for cell in cells]
        else:
            times = [None if cell is None else parse(cell).astimezone(UTC) for cell in cells]
        known = [time for time in times if time is not None]
        if not known or (min(known) >= _FIRST_TIME and max(known) < _LAST_TIME):
            return times
    except (ValueError, OverflowError, TypeError):
        pass
    return _each(name, _time, cells, reasons)


def _integers(name: str, bits: int, cells: Sequence[str | None], reasons: Reasons) -> list[int | None]:
    lowest = 0 if name in NOT_NEGATIVE else -(1 << bits)
    try:
        numbers = [None if cell is None else int(cell) for cell in cells]
        known = [number for number in numbers if number is not None]
        if not known or (min(known) >= lowest and max(known) < 1 << bits):
            return numbers
    except ValueError:
        pass

    def parse(cell: str) -> int:
        number = _integer(cell)
        if number < lowest and lowest == 0:
            raise ValueError("is negative")
        if not -(1 << bits) <= number < 1 << bits:
            raise ValueError(f"does not fit in {bits + 1} bits")
        return number

    return _each(name, parse, cells, reasons)


def _texts(name: str, longest: int | None, cells: Sequence[str | None], reasons: Reasons) -> list[str | None]:
    joined = "".join(filter(None, cells))
    if "\0" not in joined and (joined.isascii() or _is_unicode(joined)):
        if longest is None or len(joined) <= longest:
            return list(cells)
        if max(map(len, filter(None, cells))) <= longest:
            return list(cells)

    def parse(cell: str) -> str:
        if "\0" in cell:
            raise ValueError("holds a NUL character")
        if not _is_unicode(cell):
            raise ValueError("is not UTF-8")
        if longest is not None and len(cell) > longest:
            raise ValueError(f"is longer than {longest} characters")
        return cell

    return _each(name, parse, cells, reasons)


def _each(
    name: str, parse: Callable[[str], Cell], cells: Sequence[str | None], reasons: Reasons
) -> list[Cell | None]:
    checked: list[Cell | None] = []
    for place, cell in enumerate(cells):
        try:
            checked.append(None if cell is None else parse(cell))
        except (ValueError, OverflowError, OSError) as error:
            checked.append(None)
            reasons.setdefault(place, f"{name} {error}: {_shown(cell or '')}")
    return checked


def _time(cell: str) -> datetime:
    text = cell.strip()
    # Eight digits are a date, as ISO 8601 writes one.
    if _EPOCH.fullmatch(text) and len(text) != len("20260131"):
        seconds = float(text)
        if abs(seconds) >= _FIRST_EPOCH_MILLISECONDS:
            seconds /= 1000
        try:
            time = _FIRST_TIME + timedelta(seconds=seconds)
        except OverflowError:
            raise ValueError("is no time") from None
    else:
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("is no time") from None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if not _FIRST_TIME <= time < _LAST_TIME:
        raise ValueError("lies outside 1970 to 2199")
    return time


def _integer(cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        # Data frames write whole numbers as 12.0 where a column has gaps.
        try:
            number = float(cell)
        except ValueError:
            number = float("nan")
    if not number.is_integer():
        raise ValueError("is no whole number") from None
    return int(number)


def _number(cell: str) -> str:
    try:
        return repr(float(cell))
    except ValueError:
        raise ValueError("is no number") from None


def _truth(cell: str) -> str:
    if cell.strip().lower() not in {"true", "false", "t", "f", "1", "0", "yes", "no", "on", "off"}:
        raise ValueError("is neither true nor false")
    return cell


def _uuid(cell: str) -> str:
    try:
        return str(UUID(cell))
    except ValueError:
        raise ValueError("is no UUID") from None


def _json(cell: str) -> str:
    try:
        orjson.loads(cell)
    except orjson.JSONDecodeError:
        raise ValueError("is no JSON") from None
    return cell


# Any other type of an adopted table is left to the server to judge.
_PARSERS: dict[str, Callable[[str], str]] = {
    "float4": _number,
    "float8": _number,
    "numeric": _number,
    "bool": _truth,
    "uuid": _uuid,
    "json": _json,
    "jsonb": _json,
}


def _longest(column: TargetColumn) -> int | None:
    if column.name not in _INDEXED:
        return column.max_length
    return min(_LONGEST_INDEXED, column.max_length or _LONGEST_INDEXED)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(cell: str) -> str:
    shown = cell if len(cell) <= 40 else cell[:40] + "…"
    return repr(shown.encode("utf-8", "backslashreplace").decode())
