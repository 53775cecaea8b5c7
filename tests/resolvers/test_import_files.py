"""Reading an import's file: what it is, its cells, and the line that each row begins on."""

from __future__ import annotations

import gzip
import io
import json
import os
import threading
import tracemalloc
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest

from resolvers.imports import batches as sizes
from resolvers.imports import csv_rows, json_rows
from resolvers.imports.errors import ImportFailed, ImportUsageError
from resolvers.imports.load import reader_of
from resolvers.imports.options import ImportOptions
from resolvers.imports.streams import open_file

NOW = datetime(2026, 5, 20, tzinfo=UTC)
Rows = tuple[list[tuple[object, ...]], list[tuple[int, str]]]


def read(file: Path | str, *wanted: str, said: list[str] | None = None, **options: str) -> Rows:
    """The good rows as (line, cell, …), and the bad ones."""
    good: list[tuple[object, ...]] = []
    bad: list[tuple[int, str]] = []
    with open_file(str(file)) as source:
        reader, _ = reader_of(
            source, ImportOptions(**options), NOW, (said if said is not None else []).append
        )
        for batch in reader.batches(wanted):
            good += zip(batch.lines, *(batch.columns[name] for name in wanted), strict=True)
            bad += batch.bad
        source.refuse_changes()
    return good, bad


def written(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "runs"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_found_and_told(tmp_path: Path, delimiter: str) -> None:
    said: list[str] = []
    path = written(tmp_path, f"a{delimiter}b\r\n1{delimiter}\r\n")
    assert read(path, "a", "b", said=said) == ([(2, "1", None)], [])
    shown = "\\t" if delimiter == "\t" else delimiter
    assert said == [f"reading {path} as CSV with '{shown}' between cells, utf-8, times without a zone in UTC"]


def test_the_delimiter_is_the_one_that_all_rows_agree_on(tmp_path: Path) -> None:
    # There are more commas than semicolons in the header.
    assert read(written(tmp_path, 'a, or b, or c;"d;e"\n1,5;2\n'), "a, or b, or c") == ([(2, "1,5")], [])
    assert read(written(tmp_path, "sep=|\na|b,c,d\n1|2,3,4\n"), "a") == ([(3, "1")], [])
    assert read(written(tmp_path, "a;b,c\n1;2,3\n"), "a", delimiter=";") == ([(2, "1")], [])
    assert read(written(tmp_path, "a\tb\n1\t2\n"), "b", delimiter="tab") == ([(2, "2")], [])
    for wrong in ("", ";;", '"', "\n", "é"):
        with pytest.raises(ImportUsageError, match="--delimiter"):
            read(written(tmp_path, "a\n"), "a", delimiter=wrong)
    with pytest.raises(ImportUsageError, match="is JSON, which has none"):
        read(written(tmp_path, '{"a": 1}'), "a", delimiter=",")


ENCODED = 'a,b\nü,"x\r\ny"\n€,\n'


@pytest.mark.parametrize(
    ("encoding", "asked"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("utf-32", ""),
        ("utf-16-le", "utf-16-le"),
        ("utf-16-be", "UTF-16BE"),
        ("cp1252", "windows-1252"),
        ("iso-8859-15", "latin9"),
        ("utf-16", "utf-16"),
        ("utf-8-sig", "utf-8"),
    ],
)
@pytest.mark.parametrize("text", [ENCODED, '{"a":"ü"}\n\n{"a":"€"}', '[{"a":"ü"},\n\n{"a":"€"}]'])
def test_encodings_are_those_of_the_mark_or_of_the_option(
    tmp_path: Path, encoding: str, asked: str, text: str
) -> None:
    options = {"encoding": asked} if asked else {}
    good, bad = read(written(tmp_path, text.encode(encoding)), "a", **options)
    assert ([row[1] for row in good], bad) == (["ü", "€"], [])
    assert good[1][0] == (4 if text is ENCODED else 3)


def test_what_is_no_text_of_its_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    latin = "a,b\nx,1\n\nü,2\n".encode("latin-1")
    assert read(written(tmp_path, latin), "a") == ([(2, "x"), (4, "\udcfc")], [])
    assert read(written(tmp_path, b'{"a":1}\n{"a":"\xfc"}\n'), "a")[1] == [
        (2, "is not utf-8: give --encoding")
    ]
    array = b'[{"a":1},\n{"a":2},\n{"a":"\xfc"}]'
    assert read(written(tmp_path, array), "a")[0][-1] == (3, "\udcfc")
    for text in ('{"a":1}\n{"a":2}', '[{"a":1},\n{"a":2}]'):
        with pytest.raises(ImportFailed, match=r"line 1 or soon after: bytes that are not utf-16-le"):
            read(written(tmp_path, text.encode("utf-16")[:-1]), "a")
    with pytest.raises(ImportFailed, match=r"line \d+ or soon after: bytes that are not utf-16-le"):
        read(written(tmp_path, "a\nx\n".encode("utf-16")[:-1]), "a")
    with pytest.raises(ImportFailed, match="give --encoding utf-16-le"):
        read(written(tmp_path, "a\nx\n".encode("utf-16-le")), "a")
    for wrong in ("klingon", "hex", "rot13", "a\0b"):
        with pytest.raises(ImportUsageError, match="--encoding"):
            read(written(tmp_path, "a\nx\n"), "a", encoding=wrong)
    with pytest.raises(ImportUsageError, match="first bytes say that it is utf-16-le"):
        read(written(tmp_path, "a\nx\n".encode("utf-16")), "a", encoding="utf-8")
    with pytest.raises(ImportFailed, match="line 1: the header is not utf-8: give --encoding"):
        read(written(tmp_path, "ü\nx\n".encode("latin-1")), "ü")


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    for text in (b"a\nx\n", b'\n{"a":"x"}', b'[\n{"a":"x"}]', "\ufeffa\nx\n".encode("utf-16-le")):
        assert read(written(tmp_path, gzip.compress(text)), "a") == ([(2, "x")], [])
    parts = gzip.compress(b"a\nx\n") + gzip.compress(b"y\n")
    assert read(written(tmp_path, parts), "a") == ([(2, "x"), (3, "y")], [])
    for cut in (5, 200):
        with pytest.raises(ImportFailed, match="damaged gzip"):
            read(written(tmp_path, gzip.compress(b"a\nx\n" * 1_000_000)[:-cut]), "a")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1\x15\x04\x1b[2J", "is a Parquet file: convert it to CSV or NDJSON"),
        (b"\xd0\xcf\x11\xe0\xa1", r"is a spreadsheet \(xls\)"),
        (b"BZh91AY&SY", "is packed by bzip2: unpack it"),
        (b"\xfd7zXZ\0\0", "is packed by xz"),
        (b"(\xb5/\xfd\x04", "is packed by zstd"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"x" * 257 + b"ustar", "is a tar archive"),
        (b"\0\x01\x02\x1b[31m" * 9, "is no text that can be read"),
        (b"", "is empty"),
        (b"\n \r\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\nx\n", "begins with a blank line"),
    ],
)
def test_what_is_no_text_of_rows_is_named(tmp_path: Path, content: bytes, message: str, packed: bool) -> None:
    with pytest.raises(ImportFailed, match=message) as caught:
        read(written(tmp_path, gzip.compress(content) if packed else content), "a")
    assert str(caught.value).isprintable()


def test_zip_files_and_spreadsheets_are_named(tmp_path: Path) -> None:
    path = tmp_path / "sheet.xlsx"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("[Content_Types].xml", "<x/>")
    with pytest.raises(
        ImportFailed, match=r"sheet.xlsx is a zip file or a spreadsheet \(xlsx\): unpack it, or"
    ):
        read(path, "a")


@pytest.mark.parametrize("rows", [1, 2, 3, 2048])
def test_lines_are_those_of_the_file_where_cells_span_several(
    tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_rows, "BATCH_ROWS", rows)
    path = written(tmp_path, 'a,b\n"1\n\r\n\r",x\n\n2,y\n"3\n",z,extra\n4,"q"q\n5,v\n6\n7,w\n8,"last')
    good, bad = read(path, "b")
    assert good == [(2, "x"), (7, "y"), (11, "v"), (13, "w")]
    assert sorted(line for line, _ in bad) == [8, 10, 12, 14]
    assert sorted(bad)[0] == (8, "has 3 fields, the header has 2")
    assert sorted(bad)[1][1].startswith("is no CSV")
    assert sorted(bad)[3] == (14, "a quoted field that begins here never ends")


def test_a_last_line_without_its_end_is_read(tmp_path: Path) -> None:
    for text in ("a\nx", "a\r\nx", "a\rx", '{"a":"y"}\n{"a":"x"}'):
        assert read(written(tmp_path, text), "a")[0][-1] == (2, "x")


def test_titles_lose_outer_blanks_and_double_ones_are_told_only_where_they_matter(tmp_path: Path) -> None:
    assert read(written(tmp_path, " a , Total Tokens\nx, 5\n"), "Total Tokens") == ([(2, " 5")], [])


def test_json_values_become_text(tmp_path: Path) -> None:
    rows = [
        '{"a": 7}',
        '{"a": [1, {"b": null}]}',
        '{"a": true}',
        '{"a": ""}',
        "{}",
        '{"a": 1.5}',
        '{"a": 1e-7}',
    ]
    rows += ['{"a": 123456789012345678901234567890}', '{"a": "ü\\u00e4\\n"}']
    texts = ["7", '[1,{"b":null}]', "true", None, None, "1.5", "0.0000001"]
    texts += ["123456789012345678901234567890", "üä\n"]
    expected = [(2 * place + 1, text) for place, text in enumerate(texts)]
    assert read(written(tmp_path, "\n\n".join(rows)), "a") == (expected, [])
    array = "[" + "\n\n,".join(rows) + "]\n\n"
    assert read(written(tmp_path, array), "a") == (expected, [])


def test_json_that_is_no_object_is_bad(tmp_path: Path) -> None:
    good, bad = read(written(tmp_path, b'{"a":1}\n[1]\nnull\n{"a":\n{"a":NaN}\n{"a":2}\n'), "a")
    assert [row[0] for row in good] == [1, 6]
    assert [line for line, _ in bad] == [2, 3, 4, 5]
    assert read(written(tmp_path, '[{"a":1},\n7,\n{"a":2}]'), "a")[1] == [(2, "is no JSON object")]
    pretty = json.dumps({"a": {"b": 1}}, indent=1)
    assert (
        "each line must hold a whole one, or the file one array"
        in read(written(tmp_path, pretty), "a")[1][0][1]
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a":1}\n{"a":2}]', "line 2: is no JSON: expected one of ,]"),
        ('[{"a":1},\n\n{"a":2}', "line 3: the array never ends"),
        ('[{"a":1},\n]', "line 2: is no JSON"),
        ('[{"a":1},\n{"a":tru}]', "line 2: is no JSON"),
        ('[{"a":1},\n{"a":NaN}]', "line 2: is no JSON: NaN is no JSON"),
        ('[{"a":1}]\n{"a":2}', "line 2: something follows the end of the array"),
        ('[{"a":' + "[" * 100_000, "line 1: is no JSON"),
        ('[{"a":' + "9" * 10_000 + "}]", "line 1: is no JSON"),
    ],
)
def test_an_array_that_is_none_is_told_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ImportFailed, match=message.replace("[", r"\[").replace("]", r"\]")):
        read(written(tmp_path, text), "a")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_an_array_may_be_cut_anywhere(tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    rows = [{"a": 12345}, {"a": 'x"]},{'}, {"a": {"b": [1, -2.5]}}, {}, {"a": "\\ü\U0001f680"}]
    expected = [(1, "12345"), (1, 'x"]},{'), (1, '{"b":[1,-2.5]}'), (1, None), (1, "\\ü\U0001f680")]
    for text in (json.dumps(rows), json.dumps(rows, ensure_ascii=False) + " \n "):
        assert read(written(tmp_path, text), "a") == (expected, [])
    assert read(written(tmp_path, "[ ]"), "a") == ([], [])
    numbers = written(tmp_path, "[12345678,\n[2],-1.5]")
    assert read(numbers, "a") == ([], [(line, "is no JSON object") for line in (1, 2, 2)])
    assert read(written(tmp_path, "[a],b\n1,2\n"), "[a]") == ([(2, "1")], [])


@pytest.mark.parametrize("kind", ["csv", "lines", "array"])
def test_only_a_part_of_a_file_is_in_memory(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of 100 kB: batches are cut by bytes too."""
    monkeypatch.setattr(sizes, "BATCH_BYTES", 1_000_000)
    monkeypatch.setattr(csv_rows, "BATCH_BYTES", 1_000_000)
    monkeypatch.setattr(json_rows, "BATCH_BYTES", 1_000_000)
    cell = "x" * 100_000
    rows = [cell if kind == "csv" else json.dumps({"a": cell})] * 500
    text = {"csv": "a\n" + "\n".join(rows), "lines": "\n".join(rows), "array": "[" + ",".join(rows) + "]"}
    path = written(tmp_path, text[kind])
    del text
    tracemalloc.start()
    try:
        with open_file(str(path)) as source:
            reader, _ = reader_of(source, ImportOptions(), NOW, str)
            count = sum(len(batch.lines) for batch in reader.batches(["a"]))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 500
    assert peak < 15_000_000


def test_standard_input_and_a_pipe_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\nx\n")))
    assert read("-", "a") == ([(2, "x")], [])
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(b"a\nx\n"),))
    writer.start()
    assert read(pipe, "a") == ([(2, "x")], [])
    writer.join()


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "a\nx\n")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert read(link, "a") == ([(2, "x")], [])
    with open_file(str(link)) as source, path.open("ab") as writer:
        reader, _ = reader_of(source, ImportOptions(), NOW, str)
        for _ in reader.batches(["a"]):
            writer.write(b"y\n")
            writer.flush()
        with pytest.raises(ImportFailed, match="changed while it was read"):
            source.refuse_changes()


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    for path in (tmp_path / "absent\x1b[2J.csv", tmp_path):
        with pytest.raises(ImportUsageError, match="cannot read") as caught:
            read(path, "a")
        assert str(caught.value).isprintable()
