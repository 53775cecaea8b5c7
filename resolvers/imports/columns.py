"""Checking the cells of one column of an import, all at once.

Each check first tries the whole column in C; only a column that fails is looked at cell by cell, to tell
which rows are bad and why. A checked cell is text ready for its column, an int, a datetime with a zone, or
None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

import orjson

from db.imports.statements import TargetColumn
from resolvers.imports.escapes import shown
from resolvers.imports.numbers import NumberFormat
from resolvers.imports.times import TimeFormat
from resolvers.imports.vocabulary import WORDS, Words
from resolvers.names import MAX_NAME
from resolvers.runs.run_bounds import LATENCY_TEXT, MAX_LATENCY_MS, MAX_TOKENS, TOKENS_TEXT

Cell = TypeVar("Cell")
Reasons = dict[int, str]
"""Why a row is bad, by its place in the batch; the first reason stands."""

TOKENS = frozenset({"tokens_used", "prompt_tokens", "completion_tokens", "cached_tokens"})
LATENCY = "latency_ms"
# Whose outer blanks nobody sees, so that two names would look the same.
_NAMES = frozenset({"site_id", "app_type", "model"})
# They stand in indexes.
_SHORT = frozenset(
    {"site_id", "app_type", "trigger_type", "member_id", "session_id", "status", "external_id", "model"}
)
_INTEGER_BITS = {"int2": 15, "int4": 31, "int8": 63}
_TIMES = frozenset({"timestamptz", "timestamp"})


@dataclass(frozen=True, slots=True)
class Formats:
    """How the file writes its values."""

    numbers: NumberFormat
    times: TimeFormat
    encoding: str


@dataclass(frozen=True, slots=True)
class ColumnCheck:
    """How one column is checked. `label` names it in messages, with its title in the file."""

    column: TargetColumn
    label: str
    formats: Formats
    words: Words
    unit: str | None = None

    def check(self, cells: Sequence[str | None], reasons: Reasons) -> list[Any]:
        """The column's checked cells; a bad cell gets a reason and becomes None."""
        cells = self._without_refused_words(self.words.map(cells), reasons)
        name, kind = self.column.name, self.column.type
        if name in WORDS:
            return self.words.written(cells)
        if name in _NAMES:
            cells = self._names(cells, reasons)
        if kind in _TIMES:
            times = self.formats.times.check(cells, self.unit)
            return times or self._each(partial(self.formats.times.one, unit=self.unit), cells, reasons)
        if kind in _INTEGER_BITS:
            return self._integers(_INTEGER_BITS[kind], cells, reasons)
        texts = self._texts(cells, reasons)
        parse = _PARSERS.get(kind)
        if kind in _NUMBERS:
            parse = self._number
        return texts if parse is None else self._each(parse, texts, reasons)

    def _without_refused_words(self, cells: Sequence[str | None], reasons: Reasons) -> Sequence[str | None]:
        refused = self.words.refusals(cells)
        if not refused:
            return cells
        for place, cell in enumerate(cells):
            if cell in refused:
                self._refuse(place, refused[cell], cell, reasons)
        return [None if cell in refused else cell for cell in cells]

    def _names(self, cells: Sequence[str | None], reasons: Reasons) -> list[str | None]:
        names = {cell: cell is None or cell == cell.strip() for cell in set(cells)}
        if all(names.values()):
            return list(cells)
        return self._each(_name, cells, reasons)

    def _integers(self, bits: int, cells: Sequence[str | None], reasons: Reasons) -> list[int | None]:
        lowest, highest = self._range(bits)
        joined = "".join(filter(None, cells))
        if self.unit in (None, "ms") and joined.isascii() and joined.isdigit():
            numbers = [
                None if cell is None else int(cell) for cell in cells if cell is None or len(cell) < 20
            ]
            known = [number for number in numbers if number is not None]
            if len(numbers) == len(cells) and lowest <= min(known) and max(known) <= highest:
                return numbers

        def parse(cell: str) -> int:
            number = self._whole(cell)
            if number < 0 <= lowest:
                raise ValueError("is negative")
            if not lowest <= number <= highest:
                raise ValueError(self._range_text(bits))
            return number

        return self._each(parse, cells, reasons)

    def _whole(self, cell: str) -> int:
        if self.unit is not None:
            return self.formats.numbers.milliseconds(cell, self.unit)
        try:
            return self.formats.numbers.whole(cell)
        except ValueError as error:
            hint = " of milliseconds: --unit latency_ms=s reads seconds, =ms rounds"
            is_fraction = self.column.name == LATENCY and str(error) == "is no whole number"
            raise ValueError(f"{error}{hint if is_fraction else ''}") from None

    def _range(self, bits: int) -> tuple[int, int]:
        if self.column.name in TOKENS:
            return 0, min(MAX_TOKENS, (1 << bits) - 1)
        if self.column.name == LATENCY:
            return 0, min(MAX_LATENCY_MS, (1 << bits) - 1)
        return -(1 << bits), (1 << bits) - 1

    def _range_text(self, bits: int) -> str:
        _, highest = self._range(bits)
        if highest == MAX_TOKENS:
            return f"is not {TOKENS_TEXT}"
        if self.column.name == LATENCY and highest == MAX_LATENCY_MS:
            return f"is not {LATENCY_TEXT}"
        return f"does not fit in {bits + 1} bits"

    def _number(self, cell: str) -> str:
        """For columns of an adopted table that hold fractions."""
        if self.column.name == LATENCY or self.column.name in TOKENS:
            number = self._whole(cell) if self.unit else float(self.formats.numbers.normal(cell))
            highest = MAX_LATENCY_MS if self.column.name == LATENCY else MAX_TOKENS
            if not 0 <= number <= highest:
                raise ValueError(f"is not {LATENCY_TEXT if self.column.name == LATENCY else TOKENS_TEXT}")
            return str(number)
        return self.formats.numbers.normal(cell)

    def _texts(self, cells: Sequence[str | None], reasons: Reasons) -> list[str | None]:
        longest = self._longest()
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
                raise ValueError(f"is not {self.formats.encoding.upper()}: give --encoding")
            if longest is not None and len(cell) > longest:
                raise ValueError(f"is longer than {longest} characters")
            return cell

        return self._each(parse, cells, reasons)

    def _longest(self) -> int | None:
        if self.column.name not in _SHORT:
            return self.column.max_length
        return min(MAX_NAME, self.column.max_length or MAX_NAME)

    def _each(
        self, parse: Callable[[str], Cell], cells: Sequence[str | None], reasons: Reasons
    ) -> list[Cell | None]:
        checked: list[Cell | None] = []
        for place, cell in enumerate(cells):
            try:
                checked.append(None if cell is None else parse(cell))
            except ValueError as error:
                checked.append(None)
                self._refuse(place, str(error), cell or "", reasons)
        return checked

    def _refuse(self, place: int, reason: str, cell: str, reasons: Reasons) -> None:
        reasons.setdefault(place, f"{self.label} {reason}: {shown(cell)}")


def _name(cell: str) -> str:
    """A name of a site, an app or a model, as it is stored."""
    if cell != cell.strip():
        raise ValueError("begins or ends with a blank")
    return cell


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


_NUMBERS = frozenset({"float4", "float8", "numeric"})
# Any other type of an adopted table is left to the server to judge.
_PARSERS: dict[str, Callable[[str], str]] = {"bool": _truth, "uuid": _uuid, "json": _json, "jsonb": _json}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
