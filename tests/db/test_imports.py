"""Importing run logs into a real database: all of a file or nothing, and what the file leaves out."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db.errors import Unavailable
from resolvers.import_errors import ImportUsageError
from resolvers.imports import ImportReport, import_run_logs

NOW = datetime(2026, 5, 20, 12, 0, tzinfo=UTC)
HEADER = "site_id,app_type,created_at,tokens_used,latency_ms,status"
GOOD = "acme,chat,2026-05-01T10:00:00Z,5,20,success"
Load = Callable[..., ImportReport]


@pytest.fixture
def load(dsn: str, tmp_path: Path) -> Load:
    """Imports a text, with options as `import_run_logs` has them."""

    def load(text: str | bytes, **options: Any) -> ImportReport:
        path = tmp_path / "file"
        path.write_bytes(text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text)
        options = {"columns": {}, "constants": {}, "now": NOW} | options
        return import_run_logs(dsn, str(path), **options)

    return load


def rows(dsn: str, columns: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"SELECT {columns} FROM biz.ai_run_logs ORDER BY created_at, id").fetchall()


def count(dsn: str) -> int:
    return rows(dsn, "count(*) OVER ()")[0][0] if rows(dsn, "id") else 0


def test_every_column_arrives_as_it_was(load: Load, dsn: str) -> None:
    prompt = 'tab\t backslash \\ newline\n return\r quote " \\N ü 🚀'
    row = {
        "site_id": "acme", "app_type": "chat", "trigger_type": "event", "member_id": "7", "session_id": "s",
        "model": "m", "request_prompt": prompt, "response_text": "\\.", "tokens_used": 9, "prompt_tokens": 4,
        "completion_tokens": 5, "latency_ms": 1500, "status": "timeout", "error_message": "late",
        "alert_status": "ignored", "trigger_job_id": 3, "external_id": "x1",
        "created_at": "2026-05-01T12:00:00+02:00", "finished_at": "2026-05-01 10:00:07",
    }  # fmt: skip
    expected = row | {
        "created_at": datetime(2026, 5, 1, 10, 0, tzinfo=UTC),
        "finished_at": datetime(2026, 5, 1, 10, 0, 7, tzinfo=UTC),
    }
    report = load(json.dumps(row) + "\n")
    assert (report.rows, report.tokens, report.bad_rows) == (1, 9, 0)
    assert rows(dsn, ", ".join(row)) == [tuple(expected.values())]


def test_csv_and_ndjson_load_the_same(load: Load, dsn: str) -> None:
    load(f"{HEADER}\n{GOOD}\n")
    load(json.dumps(dict(zip(HEADER.split(","), GOOD.split(","), strict=True))))
    loaded = rows(dsn, HEADER + ", finished_at")
    assert len(loaded) == 2
    assert loaded[0] == loaded[1]


def test_what_is_left_out_is_derived(load: Load, dsn: str) -> None:
    load(
        "site_id,app_type,created_at,finished_at,latency_ms,prompt_tokens,completion_tokens,error_message\n"
        "a,chat,2026-05-01 10:00:00,,1500,3,4,\n"
        "a,chat,2026-05-01 11:00:00,2026-05-01 11:00:02,,,5,boom\n"
        "a,chat,,2026-05-01 12:00:02,2000,,,\n"
        "a,chat,2026-05-01 13:00:00,2026-05-01 12:59:59,,,,\n"
    )
    columns = "created_at::time::text, finished_at::time::text, latency_ms, tokens_used, status"
    assert rows(dsn, columns) == [
        ("10:00:00", "10:00:01.5", 1500, 7, "success"),
        ("11:00:00", "11:00:02", 2000, 5, "failed"),
        ("12:00:00", "12:00:02", 2000, 0, "success"),
        ("13:00:00", "12:59:59", None, 0, "success"),
    ]


def test_a_run_in_flight_gets_no_end(load: Load, dsn: str) -> None:
    load(f"{HEADER}\nacme,chat,2026-05-01,5,20,running\n")
    assert rows(dsn, "status, finished_at") == [("running", None)]


def test_without_any_time_a_run_is_of_now(load: Load, dsn: str) -> None:
    load("site_id,app_type\nacme,chat\n")
    assert rows(dsn, "created_at") == [(NOW,)]
    # Whether a later object has the key is not known, so each must have it.
    assert load('{"site_id": "acme", "app_type": "chat"}').bad == [(1, "created_at is empty")]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2023-11-16 18:17:03.9799600", datetime(2023, 11, 16, 18, 17, 3, 979960, UTC)),
        ("2026-05-01T10:00:00.5Z", datetime(2026, 5, 1, 10, 0, 0, 500000, UTC)),
        ("2026-05-01T10:00:00-05:30", datetime(2026, 5, 1, 15, 30, tzinfo=UTC)),
        ("20260501", datetime(2026, 5, 1, tzinfo=UTC)),
        (1700000000, datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        (1700000000.25, datetime(2023, 11, 14, 22, 13, 20, 250000, UTC)),
        (1711120912345, datetime(2024, 3, 22, 15, 21, 52, 345000, UTC)),
    ],
)
def test_times_are_read_in_many_forms(load: Load, dsn: str, written: Any, expected: datetime) -> None:
    # A second row in another form keeps the column off its fast path, the first alone keeps it on.
    for other in ([], ["2026-06-01T00:00:00+01:00"]):
        lines = [{"site_id": "a", "app_type": "chat", "created_at": time} for time in [written, *other]]
        assert load("\n".join(map(json.dumps, lines))).bad_rows == 0
    assert [row for row in rows(dsn, "created_at") if row[0] == expected] == [(expected,)] * 2


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("acme,chat,2026-05-01,-5,20,success", "tokens_used is negative: '-5'"),
        ("acme,chat,2026-05-01,5,99999999999,success", "latency_ms does not fit in 32 bits"),
        ("acme,chat,2026-05-01,99999999999999999999,2,success", "tokens_used does not fit in 64 bits"),
        ("acme,chat,2026-05-01," + "9" * 5000 + ",2,success", "tokens_used "),
        ("acme,chat,2026-05-01,1.5,2,success", "tokens_used is no whole number: '1.5'"),
        ("acme,chat,2026-05-01,many,2,success", "tokens_used is no whole number: 'many'"),
        ("acme,chat,yesterday,5,2,success", "created_at is no time: 'yesterday'"),
        ("acme,chat,0026-05-01,5,2,success", "created_at lies outside 1970 to 2199"),
        ("acme,chat,,5,2,success", "created_at is empty"),
        (",chat,2026-05-01,5,2,success", "site_id is empty"),
        ("acme,,2026-05-01,5,2,success", "app_type is empty"),
        ("ac\0me,chat,2026-05-01,5,2,success", "site_id holds a NUL character"),
        ("ac\udcffme,chat,2026-05-01,5,2,success", "site_id is not UTF-8"),
        ("a" * 257 + ",chat,2026-05-01,5,2,success", "site_id is longer than 256 characters"),
        ("acme,chat,2026-05-01", "has 3 fields, the header has 6"),
    ],
)
def test_a_bad_row_keeps_everything_out_unless_skipped(load: Load, dsn: str, row: str, reason: str) -> None:
    text = f"{HEADER}\n{GOOD}\n{row}\n{GOOD}\n"
    report = load(text)
    assert (report.rows, report.bad_rows, report.bad[0].line) == (0, 1, 3)
    assert report.bad[0].reason.startswith(reason)
    assert count(dsn) == 0
    assert load(text, skip_bad=True).rows == 2
    assert count(dsn) == 2


def test_a_bad_last_row_undoes_what_is_already_written(load: Load, dsn: str) -> None:
    report = load("\n".join([HEADER, *[GOOD] * 10_000, *["acme,chat,never,1,1,success"] * 25]))
    assert (report.rows, report.bad_rows, len(report.bad)) == (0, 25, 20)
    assert report.bad[0].line == 10_002
    assert count(dsn) == 0


def test_columns_and_constants_are_mapped(load: Load, dsn: str) -> None:
    report = load(
        "when;who;site_id;extra\n2026-05-01;m1;ignored;x\n",
        columns={"created_at": "when", "member_id": "who"},
        constants={"site_id": "acme", "app_type": "chat", "tokens_used": "12"},
    )
    assert report.ignored_columns == ["site_id", "extra"]
    assert rows(dsn, "site_id, app_type, member_id, tokens_used") == [("acme", "chat", "m1", 12)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"colour": "app_type"}}, r"unknown column 'colour'; the run log has site_id, app_type"),
        ({"constants": {"id": "1"}}, "unknown column 'id'"),
        ({"columns": {"model": "engine"}}, "no such column; it has " + HEADER.replace(",", ", ")),
        ({"columns": {"model": "status"}, "constants": {"model": "m"}}, "both a --column and a --set"),
        ({"constants": {"tokens_used": "-1"}}, "--set tokens_used=-1: tokens_used is negative"),
        ({"constants": {"site_id": ""}}, "--set site_id= is empty"),
    ],
)
def test_a_wrong_mapping_is_told(load: Load, dsn: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ImportUsageError, match=re.escape(message)):
        load(f"{HEADER}\n{GOOD}\n", **options)
    assert count(dsn) == 0


def test_a_required_column_must_come_from_somewhere(load: Load) -> None:
    with pytest.raises(ImportUsageError, match="no value for app_type"):
        load("site_id,status\nacme,success\n")
    with pytest.raises(ImportUsageError, match="more than one column 'app_type'"):
        load("site_id,app_type,app_type\nacme,a,b\n")


def test_shifting_moves_the_newest_row_to_now(load: Load, dsn: str) -> None:
    load(
        f"{HEADER}\nacme,chat,2020-01-02 00:00:00,1,1000,success\nacme,chat,2020-01-01 23:00:00,1,1,failed\n",
        shift_to_now=True,
    )
    assert rows(dsn, "created_at") == [(NOW - timedelta(hours=1),), (NOW,)]
    assert rows(dsn, "max(finished_at) OVER ()")[0] == (NOW + timedelta(seconds=1),)
    with pytest.raises(ImportUsageError, match="no created_at to shift"):
        load("site_id,app_type\nacme,chat\n", shift_to_now=True)


def test_months_get_partitions_of_their_own(load: Load, dsn: str) -> None:
    load(
        f"{HEADER}\n{GOOD}\nacme,chat,2019-03-31T23:30:00-02:00,1,1,success\nacme,chat,2019-07-01,1,1,success\n"
    )
    assert rows(dsn, "tableoid::regclass::text") == [
        ("biz.ai_run_logs_2019_04",),
        ("biz.ai_run_logs_2019_07",),
        ("biz.ai_run_logs_2026_05",),
    ]


def test_external_ids_are_known_afterwards_and_refused_twice(load: Load, dsn: str) -> None:
    text = "site_id,app_type,external_id,created_at\n"
    text += "a,chat,x,2026-05-01\nb,chat,x,2026-05-02\na,chat,,2026-05-03\n"
    assert load(text).rows == 3
    with psycopg.connect(dsn) as connection:
        claimed = connection.execute(
            "SELECT run.site_id, run.external_id FROM runglass.run_external_ids AS ids"
            " JOIN biz.ai_run_logs AS run ON run.id = ids.run_id AND run.created_at = ids.created_at"
            "  AND run.site_id = ids.site_id AND run.external_id = ids.external_id ORDER BY 1"
        ).fetchall()
    assert claimed == [("a", "x"), ("b", "x")]
    later = "site_id,app_type,external_id,created_at\na,chat,y,2026-05-01\na,chat,z,2026-05-02\n"
    assert load(later).rows == 2, "rows of the same period that were there before are not claimed again"
    again = load("site_id,app_type,external_id\na,chat,new\na,chat,new\na,chat,x\n")
    assert [tuple(row) for row in again.bad] == [
        (3, "external id 'new' of site 'a' stands on line 2 already"),
        (4, "external id 'x' of site 'a' already exists"),
    ]
    assert count(dsn) == 5


def test_two_imports_of_the_same_external_ids_at_once_load_one(load: Load, dsn: str) -> None:
    """The second one meets the first one's ids only when it commits."""
    with psycopg.connect(dsn) as other:
        text = "site_id,app_type,external_id\na,chat,x\n"
        other.execute("INSERT INTO runglass.run_external_ids VALUES ('a', 'x', 1, now())")
        with psycopg.connect(dsn) as releaser:
            waiting = _start(lambda: load(text))
            while not releaser.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                releaser.rollback()
            other.commit()
        report = waiting()
    assert (report.rows, report.bad_rows) == (0, 1)
    assert "already exists" in report.bad[0].reason
    assert count(dsn) == 0


def _start(call: Callable[[], ImportReport]) -> Callable[[], ImportReport]:
    executor = ThreadPoolExecutor(1)
    future = executor.submit(call)
    executor.shutdown(wait=False)
    return lambda: future.result(timeout=60)


def test_an_adopted_table_keeps_its_own_types(load: Load, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP TABLE biz.ai_run_logs CASCADE")
        connection.execute(
            """
            CREATE TABLE biz.ai_run_logs (
                id serial PRIMARY KEY, site_id integer, app_type varchar(10) NOT NULL, member_id integer,
                tokens_used integer, latency_ms integer, status varchar(20), created_at timestamp,
                finished_at timestamp, is_test boolean NOT NULL DEFAULT false, meta jsonb, price money,
                error_message text, external_id text
            )"""
        )
    text = "site_id,app_type,created_at,is_test,meta,price\n007,chat,2026-05-01T10:00:00+02:00,{},{},{}\n"
    assert load(text.format("yes", '"{""a"":1}"', "1.50")).rows == 1
    assert rows(dsn, "site_id, created_at, is_test, meta") == [(7, datetime(2026, 5, 1, 8), True, {"a": 1})]  # noqa: DTZ001
    bad = load(
        "site_id,app_type,is_test,meta\nacme,chat,1,\n1,far_too_long,1,\n1,chat,perhaps,\n1,chat,1,{\n1,chat,,\n"
    )
    assert [tuple(row) for row in bad.bad] == [
        (2, "site_id is no whole number: 'acme'"),
        (3, "app_type is longer than 10 characters: 'far_too_long'"),
        (4, "is_test is neither true nor false: 'perhaps'"),
        (5, "meta is no JSON: '{'"),
        (6, "is_test is empty"),
    ]
    assert load('{"site_id": 1, "app_type": "chat", "created_at": "2026-05-01"}').rows == 1


def test_a_value_that_only_the_server_can_judge_is_told_with_its_line(load: Load, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE biz.ai_run_logs ADD COLUMN price money")
    report = load("site_id,app_type,price\na,chat,1\n\na,chat,cheap\n")
    assert [row.line for row in report.bad] == [4]
    assert "price" in report.bad[0].reason
    assert count(dsn) == 0


def test_a_role_that_is_no_superuser_can_import(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("site_id,app_type,external_id\na,chat,x\n")
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE importer")
        try:
            admin.execute("GRANT USAGE ON SCHEMA biz, runglass TO importer")
            admin.execute("GRANT USAGE ON SEQUENCE runglass.run_log_id TO importer")
            admin.execute("GRANT SELECT, INSERT ON biz.ai_run_logs, runglass.run_external_ids TO importer")
            as_importer = psycopg.conninfo.make_conninfo(dsn, options="-c role=importer")
            report = import_run_logs(as_importer, str(tmp_path / "runs.csv"), columns={}, constants={})
        finally:
            admin.execute("DROP OWNED BY importer")
            admin.execute("DROP ROLE importer")
    assert report.rows == 1
    assert count(dsn) == 1


def test_an_interrupted_import_loads_nothing(load: Load, dsn: str) -> None:
    def interrupt(stage: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load("\n".join([HEADER, *[GOOD] * 5000]), progress=interrupt)
    assert count(dsn) == 0


def test_a_server_that_goes_away_is_told(load: Load, dsn: str) -> None:
    def kill(stage: str, done: int, total: int) -> None:
        with psycopg.connect(dsn, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'runglass import'"
            )

    with pytest.raises(Unavailable):
        load("\n".join([HEADER, *[GOOD] * 5000]), progress=kill)
    assert count(dsn) == 0


def test_the_real_trace_loads_with_its_totals(dsn: str, repository: Path) -> None:
    trace = repository.parent / "shared" / "data" / "AzureLLMInferenceTrace_code.csv"
    if not trace.exists():
        pytest.skip(f"the trace is not beside the repository ({trace.parent.name}/{trace.name})")
    with trace.open(newline="") as file:
        lines = list(csv.DictReader(file))
    prompts = sum(int(line["ContextTokens"]) for line in lines)
    completions = sum(int(line["GeneratedTokens"]) for line in lines)
    report = import_run_logs(
        dsn,
        str(trace),
        columns={
            "created_at": "TIMESTAMP",
            "prompt_tokens": "ContextTokens",
            "completion_tokens": "GeneratedTokens",
        },
        constants={"site_id": "acme", "app_type": "code_assistant", "status": "success"},
        shift_to_now=True,
        now=NOW,
    )
    assert (report.rows, report.tokens, report.last_created_at) == (len(lines), prompts + completions, NOW)
    totals = "count(*), sum(tokens_used), sum(prompt_tokens), sum(completion_tokens), max(created_at)"
    assert rows(dsn, "*") != []
    with psycopg.connect(dsn) as connection:
        stored = connection.execute(f"SELECT {totals} FROM biz.ai_run_logs WHERE site_id = 'acme'").fetchone()
    assert stored == (len(lines), prompts + completions, prompts, completions, NOW)
