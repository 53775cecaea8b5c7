"""A file's bytes: read once, counted, unpacked, and refused where they are no text."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import os
import stat
import sys
import zlib
from collections.abc import Generator
from pathlib import Path
from typing import Any, Protocol, cast

from resolvers.imports.errors import ImportFailed, ImportUsageError
from resolvers.imports.escapes import printable, shown

_SAMPLE = 1024 * 1024
_BUFFER = 256 * 1024
_GZIP = b"\x1f\x8b"
_FOREIGN = (
    (b"PK\x03\x04", "a zip file or a spreadsheet (xlsx): unpack it, or export the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "a spreadsheet (xls): export the sheet as CSV"),
    (b"PAR1", "a Parquet file: convert it to CSV or NDJSON"),
    (b"ORC", "an ORC file: convert it to CSV or NDJSON"),
    (b"Obj\x01", "an Avro file: convert it to CSV or NDJSON"),
    (b"ARROW1", "an Arrow file: convert it to CSV or NDJSON"),
    (b"SQLite format 3", "an SQLite database: export the table as CSV"),
    (b"%PDF", "a PDF file: export the data as CSV"),
    (b"BZh", "packed by bzip2: unpack it, or pipe it in, as in bzcat FILE | runglass import -"),
    (b"\xfd7zXZ", "packed by xz: unpack it, or pipe it in, as in xzcat FILE | runglass import -"),
    (b"(\xb5/\xfd", "packed by zstd: unpack it, or pipe it in, as in zstdcat FILE | runglass import -"),
)
_TAR_MARK = slice(257, 262)
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class _Readable(Protocol):
    def readinto(self, buffer: Any, /) -> int | None: ...


class Rewound(io.RawIOBase):
    """A stream whose beginning was looked at, from the beginning; `taken` counts the bytes that were read."""

    def __init__(self, stream: _Readable, size: int) -> None:
        super().__init__()
        self._stream = stream
        self.taken = 0
        self._given = 0
        buffer, filled = bytearray(size), 0
        while filled < size and (count := stream.readinto(memoryview(buffer)[filled:])):
            filled += count
        self.sample = bytes(buffer[:filled])

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer; 0 at the end."""
        rest = self.sample[self._given : self._given + len(buffer)]
        if rest:
            buffer[: len(rest)] = rest
            self._given += len(rest)
            count = len(rest)
        else:
            count = self._stream.readinto(buffer) or 0
        self.taken += count
        return count

    def skip(self, count: int) -> None:
        """Leave out the first bytes; nothing has been read yet."""
        self._given = count


class OpenFile:
    """A file that is being read. `encoding` is that of its text, or None where nothing tells it."""

    def __init__(self, name: str, raw: _Readable, descriptor: int | None) -> None:
        self.name = name
        self._descriptor = descriptor
        self._before = _state(descriptor)
        self._packed = Rewound(raw, len(_GZIP))
        self.is_gzip = self._packed.sample == _GZIP
        self.bytes = Rewound(_unpacked(self._packed) if self.is_gzip else self._packed, _SAMPLE)
        self.marked = self._mark()

    @property
    def size(self) -> int:
        """How many bytes are stored; 0 where nobody knows."""
        return self._before[0] if self._before else 0

    @property
    def position(self) -> int:
        """How many of the stored bytes were read."""
        return self._packed.taken

    def _mark(self) -> str | None:
        sample = self.bytes.sample
        for mark, encoding in _MARKS:
            if sample.startswith(mark):
                self.bytes.skip(len(mark))
                return encoding
        for magic, what in _FOREIGN:
            if sample.startswith(magic):
                raise ImportFailed(f"{self.name} is {what}")
        if sample[_TAR_MARK] == b"ustar":
            raise ImportFailed(f"{self.name} is a tar archive: unpack it")
        return None

    def encoding(self, asked: str | None) -> str:
        """The encoding of the text: what was asked for, what the byte order mark says, or UTF-8."""
        if asked is None:
            zeros = self.bytes.sample.count(0)
            if self.marked is None and zeros and zeros * 8 >= len(self.bytes.sample):
                raise ImportFailed(
                    f"{self.name} is no text that can be read;"
                    " if it is UTF-16, give --encoding utf-16-le or utf-16-be"
                )
            return self.marked or "utf-8"
        try:
            found = codecs.lookup(asked).name
            "".encode(found)
        except (LookupError, ValueError):
            raise ImportUsageError(f"--encoding {shown(asked)}: there is no such encoding of text") from None
        if self.marked and not self.marked.startswith(found.removesuffix("-sig")):
            raise ImportUsageError(f"--encoding {found}: the file's first bytes say that it is {self.marked}")
        return self.marked or found

    def text(self, encoding: str, newline: str) -> io.TextIOWrapper:
        """The text. Bytes that are none become surrogates, which the check of a cell tells with its line."""
        errors = "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
        return io.TextIOWrapper(cast(Any, self.buffered()), encoding, errors, newline)

    def buffered(self) -> io.BufferedReader[Any]:
        """The bytes, line by line."""
        return cast("io.BufferedReader[Any]", io.BufferedReader(self.bytes, _BUFFER))

    def undecodable(self, encoding: str, line: int) -> ImportFailed:
        """The failure where the bytes end within a character, or are none at all."""
        return ImportFailed(
            f"{self.name} line {line} or soon after: bytes that are not {encoding}: give --encoding"
        )

    def refuse_changes(self) -> None:
        """Raise ImportFailed where the file was changed since it was opened: a row may have been cut."""
        if _state(self._descriptor) != self._before:
            raise ImportFailed(f"{self.name} changed while it was read: import a copy of it")


def _unpacked(packed: Rewound) -> _Readable:
    return cast(_Readable, gzip.GzipFile(fileobj=cast(Any, io.BufferedReader(packed))))


def _state(descriptor: int | None) -> tuple[int, int] | None:
    """The size and the time of the last change of a file on a disk."""
    if descriptor is None:
        return None
    state = os.fstat(descriptor)
    return (state.st_size, state.st_mtime_ns) if stat.S_ISREG(state.st_mode) else None


@contextlib.contextmanager
def open_file(file: str) -> Generator[OpenFile, None, None]:
    """Open a file, or standard input for `-`. Raises ImportUsageError where there is no such file."""
    name = "standard input" if file == "-" else printable(file)
    with contextlib.ExitStack() as stack:
        try:
            if file == "-":
                yield OpenFile(name, cast(_Readable, sys.stdin.buffer), None)
                return
            raw = stack.enter_context(Path(file).open("rb", buffering=0))
            yield OpenFile(name, raw, raw.fileno())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ImportFailed(f"{name} is a damaged gzip file: {printable(str(error))}") from error
        except OSError as error:
            raise ImportUsageError(f"cannot read {name}: {error.strerror or error}") from error
