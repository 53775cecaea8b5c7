"""Reading CSV: its delimiter, its header, and its rows with the lines that they begin on."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate, compress, islice
from typing import Any

from resolvers.imports.batches import BATCH_BYTES, BATCH_ROWS, LONGEST_ROW, BadRow, Batch
from resolvers.imports.errors import ImportFailed, ImportUsageError
from resolvers.imports.escapes import printable, shown
from resolvers.imports.streams import OpenFile

_DELIMITERS = (",", ";", "\t", "|")
_NAMED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
# A first line by which Excel says what the delimiter is.
_SEP_LINE = re.compile(r'"?sep=([^"\r\n])"?\r?\n')
_ROWS_TO_COMPARE = 20


def delimiter_of(asked: str) -> str:
    """The delimiter that --delimiter names. Raises ImportUsageError where it is none."""
    delimiter = _NAMED.get(asked, asked)
    if len(delimiter) != 1 or delimiter in '"\r\n\0' or not delimiter.isascii():
        raise ImportUsageError(f"--delimiter {shown(asked)}: give one character, or tab")
    return delimiter


class CsvReader:
    """The rows of a CSV file. `header` has a title for each column, without outer blanks."""

    def __init__(self, file: OpenFile, text: str, encoding: str, delimiter: str | None) -> None:
        csv.field_size_limit(LONGEST_ROW)
        self._file = file
        self._encoding = encoding
        told = _SEP_LINE.match(text)
        self._lines_before = 1 if told else 0
        text = text[told.end() :] if told else text
        self.delimiter = delimiter or (told[1] if told else _best_delimiter(text))
        self.header = _header(text, self.delimiter, file.name)
        if any("\ufffd" in title for title in self.header):
            raise ImportFailed(f"{file.name} line 1: the header is not {encoding}: give --encoding")

    def keys(self) -> list[str]:
        """The titles of the header."""
        return self.header

    def absent(self) -> list[str]:
        """None: the plan asks for titles of the header alone."""
        return []

    def batches(self, selected: Sequence[str]) -> Iterator[Batch]:
        """The file's rows; an empty cell is None."""
        lines = self._file.text(self._encoding, newline="")
        for _ in range(self._lines_before):
            lines.readline()
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
        try:
            next(reader)
            yield from self._batches(reader, {source: self.header.index(source) for source in selected})
        except UnicodeDecodeError as error:
            line = reader.line_num + self._lines_before + 1
            raise self._file.undecodable(self._encoding, line) from error

    def _batches(self, reader: Any, places: dict[str, int]) -> Iterator[Batch]:
        width = len(self.header)
        ended = False
        while not ended:
            lines, rows, bad, ended = self._read_rows(reader)
            if set(map(len, rows)) - {width}:
                bad += [
                    BadRow(line, f"has {len(row)} fields, the header has {width}")
                    for line, row in zip(lines, rows, strict=True)
                    if row and len(row) != width
                ]
                good = [len(row) == width for row in rows]
                lines, rows = list(compress(lines, good)), list(compress(rows, good))
            columns = {source: [row[place] or None for row in rows] for source, place in places.items()}
            yield Batch(lines, columns, bad)

    def _read_rows(self, reader: Any) -> tuple[Sequence[int], list[list[str]], list[BadRow], bool]:
        """Some rows with the lines they begin on, a row that is no CSV, and whether the file ended."""
        first = reader.line_num + 1
        rows: list[list[str]] = []
        bad: list[BadRow] = []
        full = self._file.bytes.taken + BATCH_BYTES
        ended = True
        try:
            for row in reader:
                rows.append(row)
                if len(rows) == BATCH_ROWS or self._file.bytes.taken > full:
                    ended = False
                    break
        except csv.Error as error:
            bad.append(BadRow(0, _csv_reason(error)))
            ended = False
        first_line = first + self._lines_before
        if not bad and reader.line_num - first + 1 == len(rows):
            return range(first_line, first_line + len(rows)), rows, bad, ended
        *lines, line = accumulate(map(_height, rows), initial=first_line)
        return lines, rows, [BadRow(line, row.reason) for row in bad], ended


def _best_delimiter(text: str) -> str:
    """The one that gives the first rows most columns, all the same number; a comma where none does."""
    complete = text[: text.rfind("\n") + 1] or text

    def widths(delimiter: str) -> tuple[bool, int]:
        reader = csv.reader(io.StringIO(complete, newline=""), delimiter=delimiter)
        found = [len(row) for row in islice(reader, _ROWS_TO_COMPARE) if row]
        return len(set(found)) == 1 and found[0] > 1, found[0] if found else 0

    try:
        return max(_DELIMITERS, key=widths)
    except csv.Error:
        first_line = text.split("\n", 1)[0]
        return max(_DELIMITERS, key=first_line.count)


def _header(text: str, delimiter: str, name: str) -> list[str]:
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ImportFailed(f"{name} line 1: the header is no CSV: {printable(str(error))}") from error
    header = [title.strip() for title in header]
    if not any(header):
        raise ImportFailed(f"{name} begins with a blank line; its first line must be the header")
    return header


def _height(row: list[str]) -> int:
    """How many lines a row takes."""
    return 1 + sum(len(_LINE_BREAK.findall(cell)) for cell in row)


def _csv_reason(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quoted field that begins here never ends"
    return f"is no CSV: {printable(str(error))}"
