"""Numbers as a file writes them: points, commas, thousands, units. What has two readings is refused."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal

from resolvers.imports.errors import ImportUsageError
from resolvers.imports.escapes import shown

UNITS_IN_MS = {
    "s": Decimal(1000),
    "ms": Decimal(1),
    "us": Decimal("0.001"),
    "ns": Decimal("0.000001"),
    "min": Decimal(60_000),
}
_BLANKS = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " "})
_PLAIN = re.compile(r"[+-]?[0-9]+", re.ASCII)
_POINTED = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)", re.ASCII)
_EXPONENT = re.compile(r"[+-]?[0-9]+([.,][0-9]*)?[eE][+-]?[0-9]+", re.ASCII)
_GROUPS = re.compile(r"[+-]?[0-9]{1,3}([.,' ])[0-9]{3}(\1[0-9]{3})*", re.ASCII)
_SEPARATED = re.compile(r"[+-]?[0-9]+([.,' ][0-9]+)+", re.ASCII)


class NumberFormat:
    """How a file's numbers are written. `decimal` and `thousands` are None where nobody said it.

    `english` tells that a point can only be a decimal point, as in JSON and files with commas between cells;
    where other characters are between them, spreadsheets of half the world write 1.000 for a thousand.
    """

    def __init__(self, decimal: str | None, thousands: str | None, *, english: bool) -> None:
        thousands = None if thousands is None else thousands.translate(_BLANKS)
        if decimal not in (None, ".", ","):
            raise ImportUsageError(f"--decimal {shown(decimal or '')}: give . or ,")
        if thousands not in (None, ".", ",", " ", "'"):
            raise ImportUsageError(f"--thousands {shown(thousands or '')}: give one of . , ' or a blank")
        if decimal is not None and decimal == thousands:
            raise ImportUsageError("--decimal and --thousands are the same character")
        self._decimal = decimal or ("," if thousands == "." else "." if thousands else None)
        self._thousands = thousands
        self._english = english

    def normal(self, cell: str) -> str:
        """The number with a decimal point at most. Raises ValueError with what is wrong, and what to do."""
        text = cell.strip().translate(_BLANKS)
        if _PLAIN.fullmatch(text):
            return text
        if _EXPONENT.fullmatch(text):
            raise ValueError("was rounded, as spreadsheets do: export the column in full")
        if self._decimal is None:
            return self._guessed(text)
        if self._thousands and self._thousands in text:
            whole, point, rest = text.partition(self._decimal)
            group = _GROUPS.fullmatch(whole)
            if group is None or group[1] != self._thousands:
                raise ValueError(f"is no number with {shown(self._thousands)} between thousands")
            text = whole.replace(self._thousands, "") + point + rest
        # A point is no decimal point where a comma is.
        pointed = text if self._decimal == "." else text.replace(".", "?").replace(",", ".")
        if _POINTED.fullmatch(pointed):
            return pointed
        if _SEPARATED.fullmatch(text):
            raise ValueError("has a separator that is not the file's: see --decimal and --thousands")
        raise ValueError("is no number")

    def _guessed(self, text: str) -> str:
        if _POINTED.fullmatch(text) and (self._english or not _GROUPS.fullmatch(text)):
            return text
        if _SEPARATED.fullmatch(text):
            raise ValueError(
                "has two readings: say --decimal . or --decimal , or --thousands with its character"
            )
        raise ValueError("is no number")

    def whole(self, cell: str) -> int:
        """A whole number; data frames write 12.0 where a column has gaps."""
        try:
            whole, _, rest = self.normal(cell).partition(".")
        except ValueError as error:
            raise ValueError("is no whole number" if str(error) == "is no number" else str(error)) from None
        if rest.strip("0"):
            raise ValueError("is no whole number")
        return _int(whole or "0")

    def milliseconds(self, cell: str, unit: str) -> int:
        """A duration in a unit, to the nearest millisecond."""
        try:
            return int((Decimal(self.normal(cell)) * UNITS_IN_MS[unit]).to_integral_value(ROUND_HALF_EVEN))
        except ArithmeticError:
            raise ValueError("is too large") from None


def _int(digits: str) -> int:
    # Beyond some thousand digits Python refuses; nothing that long fits anywhere.
    if len(digits) > 40:
        raise ValueError("is too large")
    return int(digits)
