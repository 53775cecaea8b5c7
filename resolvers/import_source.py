"""Reading an import's file: CSV with a header, or NDJSON; plain or gzip; in UTF-8.

A file is read in batches of columns, because checking a column at a time is several times faster than
checking row by row. Every cell is text or None; an empty CSV cell is None.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, compress, islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import orjson

from resolvers.import_errors import ImportFailed, ImportUsageError

BATCH_ROWS = 2048
_DELIMITERS = (",", ";", "\t", "|")
# Prompts are long; the csv module's own limit is 128 kB.
_LONGEST_CELL = 64 * 1024 * 1024
_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


class BadRow(NamedTuple):
    """A row that cannot be loaded: the line it begins on (1 is the file's first), and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some rows of the file. `columns` maps each wanted source to its cells, in the order of `lines`."""

    lines: Sequence[int]
    columns: dict[str, list[str | None]]
    bad: list[BadRow]
    # How far into the file, in bytes as stored, this batch ends.
    position: int


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be read more than once. `header` is None for NDJSON."""

    path: Path
    name: str
    size: int
    gzipped: bool
    delimiter: str
    header: list[str] | None

    def batches(self, wanted: Sequence[str], rows: int = BATCH_ROWS) -> Iterator[Batch]:
        """The file's rows from the beginning, a few thousand at a time."""
        with _reading(self.name), self.path.open("rb") as raw:
            if self.header is None:
                yield from _json_batches(self._unpacked(raw), raw.tell, wanted, rows)
            else:
                lines = io.TextIOWrapper(
                    self._unpacked(raw), encoding="utf-8-sig", errors="surrogateescape", newline=""
                )
                reader = csv.reader(lines, delimiter=self.delimiter, strict=True)
                next(reader)
                yield from _csv_batches(reader, raw.tell, self.header, wanted, rows)

    def _unpacked(self, raw: BinaryIO) -> BinaryIO:
        return cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if self.gzipped else raw


@contextlib.contextmanager
def open_source(file: str) -> Generator[Source, None, None]:
    """Look at a file, or at standard input for `-`, and tell what it is.

    What cannot be read twice (standard input, a pipe) is first copied to a temporary file. Raises
    ImportUsageError where there is no such file, ImportFailed where it holds nothing or is damaged.
    """
    csv.field_size_limit(_LONGEST_CELL)
    name = "standard input" if file == "-" else file
    try:
        if file != "-" and Path(file).is_file():
            yield _look_at(Path(file), name)
            return
        with tempfile.NamedTemporaryFile(prefix="runglass-import-") as copy:
            if file == "-":
                shutil.copyfileobj(sys.stdin.buffer, copy)
            else:
                with Path(file).open("rb") as pipe:
                    shutil.copyfileobj(pipe, copy)
            copy.flush()
            yield _look_at(Path(copy.name), name)
    except OSError as error:
        raise ImportUsageError(f"cannot read {name}: {error.strerror or error}") from error


def _look_at(path: Path, name: str) -> Source:
    with _reading(name), path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if gzipped else raw
        sample = stream.read(1024 * 1024)
    if sample.startswith(_UTF16_MARKS):
        raise ImportUsageError(f"{name} is UTF-16: convert it to UTF-8")
    text = sample.decode("utf-8-sig", "surrogateescape")
    if not text.strip():
        raise ImportFailed(f"{name} is empty: there is nothing to load")
    size = path.stat().st_size
    if text.lstrip().startswith("{"):
        return Source(path, name, size, gzipped, "", None)
    delimiter = _delimiter(text)
    header = _header(text, delimiter, name)
    return Source(path, name, size, gzipped, delimiter, header)


def _delimiter(text: str) -> str:
    first_line = text.lstrip().split("\n", 1)[0]
    return max(_DELIMITERS, key=first_line.count)


def _header(text: str, delimiter: str, name: str) -> list[str]:
    try:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise ImportFailed(f"the header of {name} is no CSV: {error}") from error
    header = [title.strip() for title in header]
    if not any(header):
        raise ImportFailed(f"{name} begins with a blank line; its first line must be the header")
    return header


@contextlib.contextmanager
def _reading(name: str) -> Generator[None, None, None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ImportFailed(f"{name} is a damaged gzip file: {error}") from error


def _csv_batches(
    reader: Any, tell: Callable[[], int], header: list[str], wanted: Sequence[str], size: int
) -> Iterator[Batch]:
    width = len(header)
    places = {source: header.index(source) for source in wanted}
    ended = False
    while not ended:
        lines, rows, bad, ended = _read_rows(reader, size)
        if set(map(len, rows)) - {width}:
            bad += [
                BadRow(line, f"has {len(row)} fields, the header has {width}")
                for line, row in zip(lines, rows, strict=True)
                if row and len(row) != width
            ]
            good = [len(row) == width for row in rows]
            lines, rows = list(compress(lines, good)), list(compress(rows, good))
        columns = {source: [row[place] or None for row in rows] for source, place in places.items()}
        yield Batch(lines, columns, bad, tell())


def _read_rows(reader: Any, size: int) -> tuple[Sequence[int], list[list[str]], list[BadRow], bool]:
    """Up to `size` rows with the lines they begin on, a row that is no CSV, and whether the file ended."""
    first = reader.line_num + 1
    rows: list[list[str]] = []
    bad: list[BadRow] = []
    try:
        # Where this raises, the rows before the bad one are in the list.
        rows.extend(islice(reader, size))
    except csv.Error as error:
        bad.append(BadRow(0, _csv_reason(error)))
    if not bad and reader.line_num - first + 1 == len(rows):
        return range(first, first + len(rows)), rows, bad, len(rows) < size
    *lines, line = accumulate(map(_height, rows), initial=first)
    return lines, rows, [BadRow(line, row.reason) for row in bad], not bad and len(rows) < size


def _height(row: list[str]) -> int:
    """How many lines a row takes."""
    return 1 + sum(len(_LINE_BREAK.findall(cell)) for cell in row)


def _csv_reason(error: csv.Error) -> str:
    if "unexpected end" in str(error):
        return "a quoted field that begins here never ends"
    return f"is no CSV: {error}"


def _json_batches(
    stream: BinaryIO, tell: Callable[[], int], wanted: Sequence[str], size: int
) -> Iterator[Batch]:
    numbered = enumerate(stream, start=1)
    while chunk := list(islice(numbered, size)):
        lines: list[int] = []
        rows: list[dict[str, Any]] = []
        bad: list[BadRow] = []
        for line, text in chunk:
            row = _json_row(text.removeprefix(b"\xef\xbb\xbf") if line == 1 else text)
            if isinstance(row, dict):
                rows.append(row)
                lines.append(line)
            elif row is not None:
                bad.append(BadRow(line, row))
        columns = {source: [_json_text(row.get(source)) for row in rows] for source in wanted}
        yield Batch(lines, columns, bad, tell())


def _json_row(text: bytes) -> dict[str, Any] | str | None:
    """The object of a line, None for a blank line, or why it is neither."""
    try:
        row = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        if not text.strip():
            return None
        return "is not UTF-8" if "UTF-8" in error.msg else f"is no JSON: {error.msg}"
    return cast(dict[str, Any], row) if isinstance(row, dict) else "is no JSON object"


def _json_text(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return value
    # Numbers and booleans as JSON writes them; objects and lists are stored as their JSON text.
    return orjson.dumps(value).decode()
