"""Reading JSON: an object on each line (NDJSON), or one array of objects, never all of it in memory."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple, cast

import orjson

from resolvers.imports.batches import BATCH_BYTES, BATCH_ROWS, LONGEST_ROW, BadRow, Batch
from resolvers.imports.errors import ImportFailed
from resolvers.imports.streams import OpenFile

_CHUNK = 256 * 1024
_MOST_KEYS = 1000
_BLANKS = re.compile(r"[ \t\r\n]*")
# Of such a whole number orjson makes a float, and an id would lose its last digits.
_LONG_NUMBER = re.compile(rb"[:,\[]\s*-?\d{20}")
_AFTER_NUMBERS = frozenset(",] \t\r\n")
_MISSING: Any = object()


class _Row(NamedTuple):
    line: int
    value: Any  # a JSON value, or BadRow


class JsonReader:
    """The rows of a file of JSON objects. An array is known by its first character."""

    header = None
    delimiter = ","

    def __init__(self, file: OpenFile, encoding: str, *, is_array: bool) -> None:
        self._file = file
        self._encoding = encoding
        self._is_array = is_array
        self._last_line = 1
        self._keys: dict[str, None] = {}
        self._absent: dict[str, Callable[[Any], Any]] = {}

    def keys(self) -> list[str]:
        """The keys that rows have, those of objects within them as dotted paths where one is loaded from."""
        return list(self._keys)

    def absent(self) -> list[str]:
        """The sources that no row has had so far."""
        return list(self._absent)

    def batches(self, selected: Sequence[str]) -> Iterator[Batch]:
        """The file's rows; null and an empty text are None."""
        sources = {source: _value_of(source) for source in selected}
        parents = sorted({source.rpartition(".")[0] for source in selected if "." in source})
        nested = {parent: _value_of(parent) for parent in parents}
        self._absent = dict(sources)
        rows = self._array() if self._is_array else self._lines()
        while True:
            try:
                lines, objects, bad, ended = self._some(rows)
            except UnicodeDecodeError as error:
                raise self._file.undecodable(self._encoding, self._last_line) from error
            self._learn_keys(objects, nested)
            for source in [
                s for s in self._absent if any(sources[s](row) is not _MISSING for row in objects)
            ]:
                del self._absent[source]
            columns: dict[str, list[str | None]] = {}
            for source, value_of in sources.items():
                columns[source] = [_text(value_of(row)) for row in objects]
            yield Batch(lines, columns, bad)
            if ended:
                return

    def _some(self, rows: Iterator[_Row]) -> tuple[list[int], list[dict[str, Any]], list[BadRow], bool]:
        lines: list[int] = []
        objects: list[dict[str, Any]] = []
        bad: list[BadRow] = []
        full = self._file.bytes.taken + BATCH_BYTES
        for line, value in rows:
            self._last_line = line
            if isinstance(value, dict):
                lines.append(line)
                objects.append(cast(dict[str, Any], value))
            else:
                bad.append(value if isinstance(value, BadRow) else BadRow(line, "is no JSON object"))
            if len(lines) + len(bad) == BATCH_ROWS or self._file.bytes.taken > full:
                return lines, objects, bad, False
        return lines, objects, bad, True

    def _learn_keys(self, rows: Sequence[dict[str, Any]], nested: dict[str, Callable[[Any], Any]]) -> None:
        keys = self._keys
        for row in rows:
            if not keys.keys() >= row.keys() and len(keys) < _MOST_KEYS:
                keys |= dict.fromkeys(row)
            for parent, value_of in nested.items():
                inner = value_of(row)
                if isinstance(inner, dict) and len(keys) < _MOST_KEYS:
                    keys |= dict.fromkeys(f"{parent}.{key}" for key in cast(dict[str, Any], inner))

    def _lines(self) -> Iterator[_Row]:
        if self._encoding == "utf-8":
            lines = iter(partial(self._file.buffered().readline, LONGEST_ROW), b"")
        else:
            text = self._file.text(self._encoding, newline="\n")
            lines = (line.encode("utf-8", "surrogatepass") for line in text)
        for number, line in enumerate(lines, start=1):
            try:
                yield _Row(number, (json if _LONG_NUMBER.search(line) else orjson).loads(line))
            except ValueError as error:
                if line.strip():
                    yield _Row(number, BadRow(number, _reason(str(error), line, number, self._encoding)))

    def _array(self) -> Iterator[_Row]:
        return _ArrayScanner(self._file.text(self._encoding, newline=""), self._file.name).rows()


class _ArrayScanner:
    """Takes one value after another off the text of an array."""

    def __init__(self, text: io.TextIOWrapper, name: str) -> None:
        self._text = text
        self._name = name
        self._buffer = ""
        self._at = 0
        self._line = 1
        self._decode = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode

    def failure(self, reason: str) -> ImportFailed:
        """What is wrong at the line that was reached; what follows cannot be read."""
        return ImportFailed(f"{self._name} line {self._line}: {reason}; nothing was loaded")

    def rows(self) -> Iterator[_Row]:
        """Every value with the line it begins on. Raises ImportFailed where the array is none."""
        self._expect("[")
        if self._peek() == "]":
            self._at += 1
        else:
            yield self._value()
            while self._expect(",]") == ",":
                yield self._value()
        if self._peek():
            raise self.failure("something follows the end of the array")

    def _expect(self, characters: str) -> str:
        found = self._peek()
        if not found or found not in characters:
            what = "the array never ends" if not found else f"is no JSON: expected one of {characters}"
            raise self.failure(what)
        self._at += 1
        return found

    def _peek(self) -> str:
        """The next character that is no blank, at which the scanner then stands; "" at the end."""
        while True:
            end = cast(re.Match[str], _BLANKS.match(self._buffer, self._at)).end()
            self._line += self._buffer.count("\n", self._at, end)
            self._at = end
            if end < len(self._buffer):
                return self._buffer[end]
            if not self._read(_CHUNK):
                return ""

    def _read(self, size: int) -> bool:
        more = self._text.read(size)
        self._buffer = self._buffer[self._at :] + more
        self._at = 0
        return bool(more)

    def _value(self) -> _Row:
        self._peek()
        line, size = self._line, _CHUNK
        while True:
            try:
                value, end = self._decode(self._buffer, self._at)
                begin = self._at
                # A number may go on in what is not read yet.
                if isinstance(value, (dict, list, str)) or self._buffer[end : end + 1] in _AFTER_NUMBERS:
                    break
                if not self._read(size):
                    end -= begin
                    break
            except (ValueError, RecursionError) as error:
                # Twice as much each time, so that a long value is not looked at again and again.
                if len(self._buffer) > LONGEST_ROW or not self._read(size):
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
                    raise self.failure(f"is no JSON: {reason}") from error
                size *= 2
        self._line += self._buffer.count("\n", self._at, end)
        self._at = end
        return _Row(line, value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _value_of(source: str) -> Callable[[Any], Any]:
    """How a row's value of a key is found, or of a dotted path of keys and places in lists."""
    if "." not in source:
        return lambda row: row.get(source, _MISSING)
    steps = source.split(".")

    def value_of(row: Any) -> Any:
        # A key that has the dots in itself goes first.
        if source in row:
            return row[source]
        for step in steps:
            if isinstance(row, dict):
                row = cast(dict[str, Any], row).get(step, _MISSING)
            elif isinstance(row, list) and step.isdecimal() and int(step) < len(cast(list[Any], row)):
                row = cast(list[Any], row)[int(step)]
            else:
                return _MISSING
        return row

    return value_of


def _text(value: Any) -> str | None:
    if value is None or value == "" or value is _MISSING:
        return None
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value) if value is not True and value is not False else str(value).lower()
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")
    # Objects and lists are stored as their JSON text.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _reason(message: str, line: bytes, number: int, encoding: str) -> str:
    if "UTF-8" in message or "utf-8" in message:
        return f"is not {encoding}: give --encoding"
    if number == 1 and line.strip() in (b"{", b"{}"):
        return "is no JSON object: each line must hold a whole one, or the file one array of them"
    return f"is no JSON: {message}"
