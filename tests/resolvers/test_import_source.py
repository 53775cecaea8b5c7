"""Reading an import's file: what it is, its cells, and the line that each row begins on."""

from __future__ import annotations

import gzip
import io
import os
import threading
from pathlib import Path

import pytest

from resolvers.import_errors import ImportFailed, ImportUsageError
from resolvers.import_source import open_source


def read(path: Path, *wanted: str, rows: int = 2048) -> tuple[list[tuple[int, ...]], list[tuple[int, str]]]:
    """The good rows as (line, cell, …), and the bad ones."""
    good: list[tuple[int, ...]] = []
    bad: list[tuple[int, str]] = []
    with open_source(str(path)) as source:
        for batch in source.batches(wanted, rows):
            good += zip(batch.lines, *(batch.columns[name] for name in wanted), strict=True)
            bad += batch.bad
    return good, bad


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "runs"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_in_the_header(tmp_path: Path, delimiter: str) -> None:
    path = written(tmp_path, f"a{delimiter}b\r\n1{delimiter}\r\n")
    assert read(path, "a", "b") == ([(2, "1", None)], [])


def test_a_byte_order_mark_is_no_part_of_the_header(tmp_path: Path) -> None:
    assert read(written(tmp_path, b"\xef\xbb\xbfa\nx\n"), "a") == ([(2, "x")], [])
    assert read(written(tmp_path, b'\xef\xbb\xbf{"a":"x"}\n'), "a") == ([(1, "x")], [])


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    assert read(written(tmp_path, gzip.compress(b"a\nx\n")), "a") == ([(2, "x")], [])
    with pytest.raises(ImportFailed, match="damaged gzip"):
        read(written(tmp_path, gzip.compress(b"a\nx\n" * 1_000_000)[:-200]), "a")


@pytest.mark.parametrize("rows", [1, 2, 3, 2048])
def test_lines_are_those_of_the_file_where_cells_span_several(tmp_path: Path, rows: int) -> None:
    path = written(tmp_path, 'a,b\n"1\n\r\n\r",x\n\n2,y\n"3\n",z,extra\n4,"q"q\n5,v\n6\n7,w\n')
    good, bad = read(path, "b", rows=rows)
    assert good == [(2, "x"), (7, "y"), (11, "v"), (13, "w")]
    assert sorted(line for line, _ in bad) == [8, 10, 12]
    assert sorted(bad)[0] == (8, "has 3 fields, the header has 2")
    assert sorted(bad)[1][1].startswith("is no CSV")


def test_a_quote_that_never_ends_is_told_with_the_line_it_begins_on(tmp_path: Path) -> None:
    good, bad = read(written(tmp_path, 'a\nx\n"y\nz\n'), "a")
    assert good == [(2, "x")]
    assert bad == [(3, "a quoted field that begins here never ends")]


def test_json_values_become_text(tmp_path: Path) -> None:
    lines = '{"a": 7}\n\n{"a": [1, {"b": null}]}\n{"a": true}\n{"a": ""}\n{}\n{"a": 1.5}\n'
    good, bad = read(written(tmp_path, lines), "a")
    assert good == [(1, "7"), (3, '[1,{"b":null}]'), (4, "true"), (5, None), (6, None), (7, "1.5")]
    assert bad == []


def test_json_that_is_no_object_is_bad(tmp_path: Path) -> None:
    good, bad = read(written(tmp_path, b'{"a":1}\n[1]\nnull\n{"a":\n{"a":"\xff"}\n{"a":2}\n'), "a")
    assert [row[0] for row in good] == [1, 6]
    assert [line for line, _ in bad] == [2, 3, 4, 5]
    assert "UTF-8" in bad[3][1]


def test_standard_input_and_a_pipe_are_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nx\n")))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a\nx\n",))
    writer.start()
    for file in ("-", str(pipe)):
        with open_source(file) as source:
            for _ in range(2):
                assert [batch.columns for batch in source.batches(["a"])] == [{"a": ["x"]}]
    writer.join()


@pytest.mark.parametrize("content", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_told(tmp_path: Path, content: str) -> None:
    with pytest.raises(ImportFailed, match="is empty"):
        read(written(tmp_path, content), "a")


def test_utf16_is_told(tmp_path: Path) -> None:
    with pytest.raises(ImportUsageError, match="UTF-16"):
        read(written(tmp_path, "a\n".encode("utf-16")), "a")


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.csv", tmp_path):
        with pytest.raises(ImportUsageError, match="cannot read"):
            read(path, "a")
