"""Importing run logs into a real database: all of a file or nothing, and what the file leaves out."""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db.imports import load as imports
from db.postgres.errors import Unavailable
from resolvers.imports.errors import ImportFailed, ImportUsageError
from resolvers.imports.load import ImportReport, import_run_logs
from resolvers.imports.options import ImportOptions

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
        progress = options.pop("progress", lambda stage, done, total: None)
        return import_run_logs(dsn, str(path), ImportOptions(**options), now=NOW, progress=progress)

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
        "completion_tokens": 5, "cached_tokens": 2, "latency_ms": 1500, "status": "timeout",
        "error_message": "late",
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


def test_every_format_loads_the_same(load: Load, dsn: str) -> None:
    row = dict(zip(HEADER.split(","), GOOD.split(","), strict=True))
    files = [
        f"{HEADER}\n{GOOD}\n",
        f"{HEADER}\n{GOOD}".replace(",", ";").encode("utf-16"),
        json.dumps(row),
        json.dumps([row], indent=2),
        gzip.compress(json.dumps([row | {"tokens_used": 5, "latency_ms": 20.0}]).encode()),
    ]
    for file in files:
        assert load(file).rows == 1
    loaded = rows(dsn, HEADER + ", finished_at")
    assert loaded == [loaded[0]] * len(files)


def test_ndjson_paths_reach_into_objects(load: Load, dsn: str) -> None:
    lines = [
        {"site_id": "a", "app_type": "b", "created_at": "2026-05-01", "usage": {"total_tokens": 7, "x": 1}},
        {"site_id": "a", "app_type": "b", "created_at": "2026-05-02", "usage": None, "new": [{"m": "gpt"}]},
        # A key that has the dots in itself goes first.
        {"site_id": "a", "app_type": "b", "created_at": "2026-05-03", "usage.total_tokens": 9},
    ]
    text = "\n".join(map(json.dumps, lines))
    paths = {"tokens_used": "usage.total_tokens", "model": "new.0.m"}
    report = load(text, columns=paths)
    assert report.not_loaded == ["usage.x"]
    assert rows(dsn, "tokens_used, model") == [(7, None), (None, "gpt"), (9, None)]
    for source in ("usage.tokens", "usage.total_tokens.x", "new.1.m", "tokens"):
        with pytest.raises(
            ImportUsageError, match=f"tokens_used={source}: no row has it; the file's keys are"
        ):
            load(text, columns={"tokens_used": source})
    assert load(text).not_loaded == ["usage", "new", "usage.total_tokens"]
    assert count(dsn) == 6


def test_what_is_left_out_is_derived(load: Load, dsn: str) -> None:
    load(
        "site_id,app_type,created_at,finished_at,latency_ms,prompt_tokens,completion_tokens,error_message\n"
        "a,chat,2026-05-01 10:00:00,,1500,3,4,\n"
        "a,chat,2026-05-01 11:00:00,2026-05-01 11:00:02,,,5,boom\n"
        "a,chat,,2026-05-01 12:00:02,2000,,,\n"
        "a,chat,2026-05-01 13:00:00,,,,,\n"
    )
    columns = "created_at::time::text, finished_at::time::text, latency_ms, tokens_used, status"
    assert rows(dsn, columns) == [
        ("10:00:00", "10:00:01.5", 1500, 7, "success"),
        ("11:00:00", "11:00:02", 2000, 5, "failed"),
        ("12:00:00", "12:00:02", 2000, None, "success"),
        ("13:00:00", None, None, None, "success"),
    ]


def test_a_run_in_flight_gets_no_end(load: Load, dsn: str) -> None:
    load(f"{HEADER}\nacme,chat,2026-05-01,5,20,running\n")
    assert rows(dsn, "status, finished_at") == [("running", None)]


def test_without_any_time_a_run_is_of_now_only_if_that_is_said(load: Load, dsn: str) -> None:
    for text in ("site_id,app_type\nacme,chat\n", '{"site_id": "acme", "app_type": "chat"}'):
        with pytest.raises(ImportUsageError, match=r"no time of the runs: .*--created-now"):
            load(text)
        assert load(text, created_now=True).rows == 1
    assert rows(dsn, "created_at") == [(NOW,), (NOW,)]
    with pytest.raises(ImportUsageError, match="the file gives created_at"):
        load(f"{HEADER}\n{GOOD}\n", created_now=True)
    assert load(f"{HEADER}\n{GOOD}\n", created_now=True, columns={"created_at": ""}).rows == 1
    # A key that other objects have is missing from one: that row is bad.
    some = '{"site_id": "a", "app_type": "b", "created_at": "2026-05-01"}\n{"site_id": "a", "app_type": "b"}'
    assert load(some).bad == [(2, "created_at is empty")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("acme,chat,2026-05-01,-5,20,success", "tokens_used is negative: '-5'"),
        ("acme,chat,2026-05-01,5,2147483648,success", "latency_ms is not between 0 and 2147483647 millisec"),
        ("acme,chat,2026-05-01,1000000000001,2,success", "tokens_used is not between 0 and 1000000000000:"),
        ("acme,chat,2026-05-01,176446080012345678,2,success", "tokens_used is not between 0 and"),
        ("acme,chat,2026-05-01,99999999999999999999,2,success", "tokens_used is not between 0 and"),
        ("acme,chat,2026-05-01," + "9" * 5000 + ",2,success", "tokens_used "),
        ("acme,chat,2026-05-01,1.5,2,success", "tokens_used is no whole number: '1.5'"),
        ("acme,chat,2026-05-01,many,2,success", "tokens_used is no whole number: 'many'"),
        ("acme,chat,yesterday,5,2,success", "created_at is no time in ISO 8601"),
        ("acme,chat,1999-05-01,5,2,success", "created_at lies before 2000; --before-2000 allows it"),
        ("acme,chat,2026-05-22,5,2,success", "created_at lies more than a day in the future"),
        ("acme,chat,2026-05-01,5,2,failure", "status is none of pending, running, success, failed,"),
        ("acme,chat,2026-05-01,5,2,200", "status is none of"),
        (
            "acme,chat,2026-05-01,NULL,2,success",
            "tokens_used may be that word or no value: --map tokens_used:",
        ),
        ("acme ,chat,2026-05-01,5,2,success", "site_id begins or ends with a blank: 'acme '"),
        ("acme,\u00a0chat,2026-05-01,5,2,success", "app_type begins or ends with a blank: '\\xa0chat'"),
        (" ,chat,2026-05-01,5,2,success", "site_id begins or ends with a blank"),
        ("acme,chat,,5,2,success", "created_at is empty"),
        (",chat,2026-05-01,5,2,success", "site_id is empty"),
        ("acme,,2026-05-01,5,2,success", "app_type is empty"),
        ("ac\0me,chat,2026-05-01,5,2,success", "site_id holds a NUL character"),
        ("ac\udcffme,chat,2026-05-01,5,2,success", "site_id is not UTF-8: give --encoding: 'ac\\udcffme'"),
        ("a" * 201 + ",chat,2026-05-01,5,2,success", "site_id is longer than 200 characters"),
        ("a\x1b]0;x\x07b,chat,nothing,5,2,success", "created_at is no time"),
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


def test_rows_whose_parts_contradict_each_other_are_bad(load: Load) -> None:
    header = "site_id,app_type,created_at,finished_at,prompt_tokens,completion_tokens\n"
    bad = load(
        header + "a,b,2026-05-02,2026-05-01,1,2\na,b,2026-05-01,,1000000000000,1\na,b,2026-05-01,,1,2\n"
    ).bad
    assert [tuple(row) for row in bad] == [
        (2, "finished_at lies before created_at"),
        (3, "prompt_tokens and completion_tokens together are not between 0 and 1000000000000"),
    ]


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
    assert report.not_loaded == ["site_id", "extra"]
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
    with pytest.raises(ImportUsageError, match="no time of the runs"):
        load("site_id,app_type\nacme,chat\n", shift_to_now=True)


def test_shifting_looks_at_the_rows_that_are_loaded_alone(load: Load, dsn: str) -> None:
    newest_is_bad = f"{HEADER}\nacme,chat,2020-01-01,1,1,success\nacme,chat,2999-01-01,-1,1,success\n"
    assert load(newest_is_bad, shift_to_now=True, skip_bad=True).last_created_at == NOW
    assert rows(dsn, "created_at") == [(NOW,)]


@pytest.mark.parametrize("times", ["9990-01-01,\na,b,2001-01-01,", "2001-01-01,2001-06-01"])
def test_times_too_far_apart_cannot_be_shifted(load: Load, dsn: str, times: str) -> None:
    with pytest.raises(ImportFailed, match="--shift-to-now: the file's times lie too far apart"):
        load(f"site_id,app_type,created_at,finished_at\na,b,{times}\n", shift_to_now=True)
    assert count(dsn) == 0


def test_months_get_partitions_of_their_own(load: Load, dsn: str) -> None:
    load(
        f"{HEADER}\n{GOOD}\nacme,chat,2019-03-31T23:30:00-02:00,1,1,success\nacme,chat,2019-07-01,1,1,success\n"
    )
    assert rows(dsn, "tableoid::regclass::text") == [
        ("biz.ai_run_logs_2019_04",),
        ("biz.ai_run_logs_2019_07",),
        ("biz.ai_run_logs_2026_05",),
    ]


IDS = "site_id,app_type,external_id,created_at\n"


def test_external_ids_are_known_afterwards_and_refused_twice(load: Load, dsn: str) -> None:
    text = IDS + "a,chat,x,2026-05-01\nb,chat,x,2026-05-02\na,chat,,2026-05-03\n"
    assert load(text).rows == 3
    with psycopg.connect(dsn) as connection:
        claimed = connection.execute(
            "SELECT run.site_id, run.external_id FROM runglass.run_external_ids AS ids"
            " JOIN biz.ai_run_logs AS run ON run.id = ids.run_id AND run.created_at = ids.created_at"
            "  AND run.site_id = ids.site_id AND run.external_id = ids.external_id ORDER BY 1"
        ).fetchall()
    assert claimed == [("a", "x"), ("b", "x")]
    assert load(IDS + "a,chat,y,2026-05-01\na,chat,z,2026-05-02\n").rows == 2
    bad = IDS + "a,chat,n,2026-05-04\na,chat,n,2026-05-05\na,chat,x,2026-05-06\n"
    for dry_run in (False, True):
        again = load(bad, dry_run=dry_run)
        assert (again.rows, again.bad_rows) == (0, 2)
        assert [tuple(row) for row in again.bad] == [
            (3, "external_id 'n' of site 'a' stands on line 2 already: --update takes both for one run"),
            (4, "external_id 'x' of site 'a' was loaded before: --update changes that run"),
        ]
    assert count(dsn) == 5
    skipped = load(bad, skip_bad=True)
    assert (skipped.rows, skipped.bad_rows) == (1, 2)
    assert rows(dsn, "external_id")[-1] == ("n",)
    assert count(dsn) == 6


def test_many_repeated_external_ids_are_counted(load: Load, dsn: str) -> None:
    report = load(IDS + "a,chat,x,2026-05-01\n" * 3000)
    assert (report.rows, report.bad_rows, len(report.bad), report.bad[-1].line) == (0, 2999, 20, 22)
    assert count(dsn) == 0


def test_an_id_whose_run_was_deleted_is_free_again(load: Load, dsn: str) -> None:
    text = IDS + "a,chat,x,2026-05-01\n"
    for options in ({}, {"dry_run": True}, {}, {"skip_bad": True}, {"update": True}):
        assert load(text, **options).rows == 1
        if "dry_run" in options:
            continue
        with psycopg.connect(dsn) as connection:
            assert connection.execute("DELETE FROM biz.ai_run_logs").rowcount == 1


def test_update_changes_known_runs_and_adds_the_others(load: Load, dsn: str) -> None:
    header = (
        "site_id,app_type,external_id,created_at,status,model,prompt_tokens,completion_tokens,latency_ms\n"
    )
    load(
        header
        + "a,chat,done,2026-05-01,success,m1,1,2,50\n"
        + "a,chat,begun,2026-05-01,running,m1,10,,\n"
        + "b,chat,begun,2026-05-01,running,other,10,,\n"
    )
    report = load(
        header
        # Late news of an earlier state adds what is missing, and undoes nothing.
        + "a,chat,done,2026-05-02,running,m2,7,,\n"
        # A new run in two rows, the later state first.
        + "a,chat,new,2026-04-03,success,,,20,2000\n"
        + "a,chat,new,2026-04-03,running,m3,10,,\n"
        + "a,chat,begun,2026-04-01,failed,,,5,1000\n",
        update=True,
    )
    assert (report.rows, report.changed, report.bad_rows) == (3, 2, 0)
    columns = "site_id, external_id, status, model, tokens_used, latency_ms, created_at::date::text"
    ended = ", (finished_at - created_at)::text"
    assert sorted(rows(dsn, columns + ended)) == [
        ("a", "begun", "failed", "m1", 15, 1000, "2026-04-01", "00:00:01"),
        ("a", "done", "success", "m1", 3, 50, "2026-05-01", "00:00:00.05"),
        ("a", "new", "success", "m3", 30, 2000, "2026-04-03", "00:00:02"),
        ("b", "begun", "running", "other", 10, None, "2026-05-01", None),
    ]
    # The ids know where a run lies that moved to another month.
    assert load(header + "a,chat,begun,2026-04-01,failed,m9,,,\n", update=True).changed == 1
    assert ("begun", "m9") in rows(dsn, "external_id, model")
    with pytest.raises(ImportUsageError, match="--update needs external ids"):
        load(f"{HEADER}\n{GOOD}\n", update=True)


def test_update_sums_nothing_twice(load: Load, dsn: str) -> None:
    """What changed runs count stays what the log holds."""
    text = "site_id,app_type,external_id,created_at,tokens_used\n" + "a,chat,x,2026-05-01,5\n"
    load(text)
    load(text.replace(",5\n", ",7\n"), update=True)
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT runglass.fold_run_log_deltas()")
        assert connection.execute("SELECT sum(calls), sum(tokens) FROM runglass.run_totals").fetchone() == (
            1,
            7,
        )


def test_two_imports_of_the_same_external_ids_at_once_load_one(load: Load, dsn: str) -> None:
    """The second one meets the first one's ids only when it commits."""
    with psycopg.connect(dsn) as other:
        run = other.execute(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, external_id, created_at)"
            " VALUES ('a', 'chat', 'x', '2026-05-02') RETURNING id"
        ).fetchone()
        text = IDS + "a,chat,x,2026-05-01\n"
        other.execute("INSERT INTO runglass.run_external_ids VALUES ('a', 'x', %s, '2026-05-02')", run)
        with psycopg.connect(dsn) as releaser:
            waiting = _start(lambda: load(text))
            while not releaser.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchone():
                releaser.rollback()
            other.commit()
        report = waiting()
    assert (report.rows, report.bad_rows) == (0, 1)
    assert "was loaded before" in report.bad[0].reason
    assert count(dsn) == 1


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
        "site_id,app_type,is_test,meta\nacme,chat,1,\n1,far_too_long,1,\n1,chat,perhaps,\n1,chat,1,{\n1,chat,,\n",
        created_now=True,
    )
    assert [tuple(row) for row in bad.bad] == [
        (2, "site_id is no whole number: 'acme'"),
        (3, "app_type is longer than 10 characters: 'far_too_long'"),
        (4, "is_test is neither true nor false: 'perhaps'"),
        (5, "meta is no JSON: '{'"),
        (6, "is_test is empty"),
    ]
    assert load('{"site_id": 1, "app_type": "chat", "created_at": "2026-05-01"}').rows == 1


def test_adopted_times_without_a_zone_are_of_the_stored_one(load: Load, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("DROP TABLE biz.ai_run_logs CASCADE")
        connection.execute(
            "CREATE TABLE biz.ai_run_logs (id serial PRIMARY KEY, site_id text, app_type text,"
            " external_id text, tokens_used integer, prompt_tokens integer, completion_tokens integer,"
            " latency_ms integer, status text, created_at timestamp, finished_at timestamp)"
        )
        connection.execute("UPDATE runglass.stored_time_zone SET name = 'Asia/Tokyo'")
    text = "site_id,app_type,external_id,created_at\na,b,x,{}\n"
    report = load(text.format("2026-05-01 10:00Z"))
    assert report.first_created_at == datetime(2026, 5, 1, 10, tzinfo=UTC)
    assert report.first_created_at.tzinfo is UTC
    assert rows(dsn, "created_at") == [(datetime(2026, 5, 1, 19),)]  # noqa: DTZ001
    assert load(text.format("2026-05-02 10:00Z")).bad_rows == 1
    assert load(text.format("2026-05-02 10:00Z"), update=True).changed == 1
    assert rows(dsn, "created_at") == [(datetime(2026, 5, 2, 19),)]  # noqa: DTZ001


def test_a_value_that_only_the_server_can_judge_is_told_with_its_line(load: Load, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE biz.ai_run_logs ADD COLUMN price money")
        connection.execute("ALTER TABLE biz.ai_run_logs ADD CHECK (model <> 'forbidden')")
        connection.execute("CREATE UNIQUE INDEX ON biz.ai_run_logs (member_id, created_at)")
    header = "site_id,app_type,created_at,price,model,member_id\n"
    good = [f"a,chat,2026-05-01,1,m,{number}" for number in range(3000)]
    for column, bad, line, reason in (
        ("price", "a,chat,2026-05-01,cheap,m,x", 2503, "price: invalid input syntax for type money"),
        ("price", "a,chat,2026-05-01,cheap\x1b[2J,m,x", 2503, "price: invalid input syntax for type money"),
        ("model", "a,chat,2026-05-01,1,forbidden,x", 2503, "violates check constraint"),
        ("member", "a,chat,2026-05-01,1,m,7", 2503, "already exists"),
    ):
        report = load(header + "\n".join([*good[:2500], "", bad, *good[2500:]]))
        assert (report.rows, [row.line for row in report.bad]) == (0, [line]), column
        assert reason in report.bad[0].reason
        assert report.bad[0].reason.isprintable()
        assert count(dsn) == 0


NARROW = """
DROP TABLE biz.ai_run_logs CASCADE;
CREATE TABLE biz.ai_run_logs (
    id serial PRIMARY KEY, site_id text, app_type text, external_id text, member_id text,
    tokens_used smallint, prompt_tokens bigint, completion_tokens bigint, latency_ms smallint,
    status varchar(7), error_message text CHECK (error_message <> 'none'), created_at timestamptz,
    finished_at timestamptz);
"""
NARROW_HEADER = (
    "site_id,app_type,external_id,created_at,prompt_tokens,completion_tokens,status,finished_at,error_message"
)
BAD_LINES = {
    "40000,,success,,": "tokens_used: smallint out of range",
    "1,,success,2026-05-01T01:00Z,": "latency_ms: smallint out of range",
    "1,,circuit_open,,": "status: value too long for type character varying(7)",
    "1,,failed,,none": "error_message_check",
}


# A change derives no latency.
@pytest.mark.parametrize(
    ("bad", "update"),
    [(bad, update) for bad in BAD_LINES for update in (False, True) if not (update and "01:00Z" in bad)],
)
def test_what_a_narrow_column_cannot_hold_is_told_with_line_and_column(
    load: Load, dsn: str, bad: str, *, update: bool
) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(NARROW)
    good = [f"a,chat,x{number},2026-05-01T00:00Z,1,2,success,," for number in range(400)]
    if update:
        load("\n".join([NARROW_HEADER, *good]))
    lines = [NARROW_HEADER, *good[:300], f"a,chat,y,2026-05-01T00:00Z,{bad}", *good[300:]]
    if update:
        lines[301] = lines[301].replace(",y,", ",x399,")
        del lines[-1]
    before = count(dsn)

    report = load("\n".join(lines), update=update)

    assert (report.rows, [row.line for row in report.bad]) == (0, [302])
    assert BAD_LINES[bad] in report.bad[0].reason
    assert count(dsn) == before


def test_the_line_that_a_trigger_refuses_is_told(load: Load, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "CREATE FUNCTION biz.refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'not this one'; END $$"
        )
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON biz.ai_run_logs FOR EACH ROW"
            " WHEN (NEW.external_id = 'x2') EXECUTE FUNCTION biz.refuse()"
        )
    lines = [f"a,chat,x{number},2026-05-01T00:00Z,1,2,success,," for number in range(5)]
    report = load("\n".join([NARROW_HEADER, *lines]))
    assert [(row.line, row.reason) for row in report.bad] == [(4, "not this one")]
    assert count(dsn) == 0


def test_no_statement_stays_on_a_connection_that_a_pooler_lends_on(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections: list[psycopg.Connection[Any]] = []
    connect = imports._connect

    def kept(dsn: str) -> psycopg.Connection[Any]:
        connections.append(connect(dsn))
        return connections[-1]

    counts: list[Any] = []

    def look(stage: str, done: int, total: int) -> None:
        if stage == "loading":
            counts.append(connections[0].execute("SELECT count(*) FROM pg_prepared_statements").fetchone())

    monkeypatch.setattr(imports, "_connect", kept)
    monkeypatch.setattr(imports, "_PAGES_AT_ONCE", 1)
    load("\n".join([HEADER, *[GOOD] * 2000]), progress=look)
    assert len(counts) > 8
    assert set(counts) == {(0,)}


def test_a_role_that_is_no_superuser_can_import(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text("site_id,app_type,external_id\na,chat,x\n")
    with psycopg.connect(dsn, autocommit=True) as admin:
        admin.execute("CREATE ROLE importer")
        try:
            admin.execute("GRANT USAGE ON SCHEMA biz, runglass TO importer")
            admin.execute("GRANT USAGE ON SEQUENCE runglass.run_log_id TO importer")
            admin.execute("GRANT SELECT, INSERT ON biz.ai_run_logs, runglass.run_external_ids TO importer")
            as_importer = psycopg.conninfo.make_conninfo(dsn, options="-c role=importer")
            report = import_run_logs(as_importer, str(tmp_path / "runs.csv"), ImportOptions(created_now=True))
        finally:
            admin.execute("DROP OWNED BY importer")
            admin.execute("DROP ROLE importer")
    assert report.rows == 1
    assert count(dsn) == 1


def test_a_dry_run_shows_rows_as_they_would_be_stored_and_changes_nothing(load: Load, dsn: str) -> None:
    def everything() -> str:
        with psycopg.connect(dsn) as connection:
            tables = connection.execute(
                "SELECT format('%I.%I', schemaname, relname), n_tup_ins + n_tup_upd + n_tup_del"
                " FROM pg_stat_user_tables ORDER BY 1"
            ).fetchall()
            last = connection.execute("SELECT last_value FROM runglass.run_log_id").fetchone()
        return f"{tables} {last} {rows(dsn, '*')}"

    before = everything()
    report = load(
        f"{HEADER}\n{GOOD}\n" + "acme,chat,2020-04-01 10:00,7,,failed\n" * 9,
        dry_run=True,
        time_zone="Asia/Tokyo",
    )
    assert everything() == before
    assert (report.rows, report.tokens, len(report.shown)) == (10, 5 + 9 * 7, 5)
    assert report.shown[1]["created_at"] == datetime(2020, 4, 1, 1, 0, tzinfo=UTC)
    first = {
        "line": 2,
        "status": "success",
        "tokens_used": 5,
        "finished_at": datetime(2026, 5, 1, 10, 0, 0, 20000, UTC),
    }
    assert report.shown[0].items() >= first.items()


def test_vocabulary_is_mapped_and_our_own_words_are_understood(load: Load, dsn: str) -> None:
    words = ["SUCCESS", "Circuit_Open", "failure", "FAILURE", "done", "timeout"]
    text = HEADER + "\n" + "".join(f"a,b,2026-05-0{n + 1},1,1,{word}\n" for n, word in enumerate(words))
    assert load(text).bad_rows == 3
    report = load(text, words={"status": {"failure": "failed", "done": "SUCCESS", "ko": "failed"}})
    assert report.remarks == ["--map status:ko: no row has it"]
    stored = [row[0] for row in rows(dsn, "status")]
    assert stored == ["success", "circuit_open", "failed", "failed", "success", "timeout"]
    assert load(text.replace("done", "-"), words={"status": {"failure": "failed", "-": ""}}).rows == 6
    with pytest.raises(ImportUsageError, match="--map status:x=good: status is one of pending, running"):
        load(text, words={"status": {"x": "good"}})
    with pytest.raises(ImportUsageError, match="--map model: nothing of the file is loaded into model"):
        load(text, words={"model": {"x": "y"}})
    alert = "site_id,app_type,created_at,status,alert_status\na,b,2026-05-09,failed,{}\n"
    assert (
        "alert_status is none of pending, acknowledged, ignored" in load(alert.format("seen")).bad[0].reason
    )
    assert load(alert.format("seen"), words={"alert_status": {"Seen": "acknowledged"}}).rows == 1


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
        ImportOptions(
            columns={
                "created_at": "TIMESTAMP",
                "prompt_tokens": "ContextTokens",
                "completion_tokens": "GeneratedTokens",
            },
            constants={"site_id": "acme", "app_type": "code_assistant", "status": "success"},
            shift_to_now=True,
        ),
        now=NOW,
    )
    assert (report.rows, report.tokens, report.last_created_at) == (len(lines), prompts + completions, NOW)
    totals = "count(*), sum(tokens_used), sum(prompt_tokens), sum(completion_tokens), max(created_at)"
    assert rows(dsn, "*") != []
    with psycopg.connect(dsn) as connection:
        stored = connection.execute(f"SELECT {totals} FROM biz.ai_run_logs WHERE site_id = 'acme'").fetchone()
    assert stored == (len(lines), prompts + completions, prompts, completions, NOW)
