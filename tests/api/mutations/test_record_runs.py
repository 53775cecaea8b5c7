"""recordRuns: other services report what they ran."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.db.recount import BOUNDS, check, fold
from tests.support.api import Api
from tests.support.store import Store

RECORD_RUNS = """
mutation ($runs: [RunReportInput!]!) {
  recordRuns(input: {runs: $runs}) {
    __typename
    ... on RecordedRuns { runIds added changed }
    ... on Refusal { code message }
    ... on InvalidInput { field }
  }
}
"""

DASHBOARD = """
{
  dashboard { today { calls tokens successRate byStatus { status calls } } appHealth { appType lastStatus } }
  budget { daily { used } }
}
"""


def report(**given: Any) -> dict[str, Any]:
    return {"siteId": "berlin", "appType": "chat", "status": "SUCCESS", **given}


def record(api: Api, *runs: dict[str, Any]) -> dict[str, Any]:
    return api.data(RECORD_RUNS, {"runs": list(runs)})["recordRuns"]


def test_every_value_of_a_report_is_stored(api: Api, store: Store) -> None:
    whole = report(
        externalId="x1",
        triggerType="event",
        memberId="m1",
        sessionId="s1",
        model="large",
        requestPrompt="ask \U0001f600",
        responseText="tell\n",
        promptTokens=30,
        completionTokens=12,
        cachedTokens=25,
        latencyMs=250,
        errorMessage="slow",
        createdAt="2026-03-01T10:00:00Z",
        finishedAt="2026-03-01T10:00:01+00:00",
        status="TIMEOUT",
    )

    answer = record(api, whole)

    (row,) = store.rows("SELECT * FROM biz.ai_run_logs")
    assert answer == {"__typename": "RecordedRuns", "runIds": [f"run_{row['id']}"], "added": 1, "changed": 0}
    del row["id"]
    assert row == {
        "site_id": "berlin",
        "app_type": "chat",
        "trigger_type": "event",
        "member_id": "m1",
        "session_id": "s1",
        "request_prompt": "ask \U0001f600",
        "response_text": "tell\n",
        "tokens_used": 42,
        "latency_ms": 250,
        "status": "timeout",
        "error_message": "slow",
        "alert_status": None,
        "created_at": datetime(2026, 3, 1, 10, tzinfo=UTC),
        "finished_at": datetime(2026, 3, 1, 10, 0, 1, tzinfo=UTC),
        "model": "large",
        "prompt_tokens": 30,
        "cached_tokens": 25,
        "completion_tokens": 12,
        "trigger_job_id": None,
        "external_id": "x1",
        "alert_changed_by": None,
        "alert_changed_at": None,
    }


def test_the_same_external_id_again_changes_the_row(api: Api, store: Store) -> None:
    first = record(api, report(externalId="x1", status="RUNNING", model="large", memberId="m1"))
    store.run()

    second = record(api, report(externalId="x1", status="SUCCESS", tokensUsed=70, latencyMs=9))

    assert second == {
        "__typename": "RecordedRuns",
        "runIds": first["runIds"],
        "added": 0,
        "changed": 1,
    }
    row = store.rows("SELECT * FROM biz.ai_run_logs WHERE external_id = 'x1'")[0]
    assert (row["status"], row["tokens_used"], row["latency_ms"]) == ("success", 70, 9)
    assert (row["model"], row["member_id"]) == ("large", "m1")
    assert store.value("SELECT count(*) FROM biz.ai_run_logs") == 2


def test_what_a_later_report_leaves_out_keeps_its_value(api: Api, store: Store) -> None:
    whole = report(
        externalId="x1",
        status="RUNNING",
        triggerType="event",
        memberId="m1",
        sessionId="s1",
        model="large",
        requestPrompt="ask",
        responseText="tell",
        tokensUsed=5,
        promptTokens=3,
        completionTokens=2,
        latencyMs=250,
        errorMessage="slow",
        createdAt="2026-03-01T10:00:00Z",
        finishedAt="2026-03-01T10:00:01Z",
    )
    record(api, whole)
    (before,) = store.rows("SELECT * FROM biz.ai_run_logs")

    record(api, report(externalId="x1", status="FAILED"))

    (after,) = store.rows("SELECT * FROM biz.ai_run_logs")
    assert after == {**before, "status": "failed"}


def test_tokens_reported_in_pieces_are_summed(api: Api, store: Store) -> None:
    record(api, report(externalId="x1", status="RUNNING", promptTokens=30))
    assert store.value("SELECT tokens_used FROM biz.ai_run_logs") == 30

    record(api, report(externalId="x1", completionTokens=12))
    assert store.value("SELECT tokens_used FROM biz.ai_run_logs") == 42


def test_tokens_that_were_charged_stay_when_their_parts_come_later(api: Api, store: Store) -> None:
    record(api, report(externalId="x1", status="RUNNING", tokensUsed=100))
    record(api, report(externalId="x1", promptTokens=30, completionTokens=12))
    assert store.rows("SELECT tokens_used, prompt_tokens, completion_tokens FROM biz.ai_run_logs") == [
        {"tokens_used": 100, "prompt_tokens": 30, "completion_tokens": 12}
    ]


def test_the_same_external_id_of_another_site_is_another_run(api: Api, store: Store) -> None:
    answer = record(api, report(externalId="x1"), report(externalId="x1", siteId="paris"))
    assert answer["added"] == 2
    assert record(api, report(externalId="x1", siteId="paris"))["runIds"] == answer["runIds"][1:]


def test_ids_come_in_the_order_of_the_reports(api: Api, store: Store) -> None:
    known = record(api, report(externalId="k1"), report(externalId="k2"))["runIds"]

    answer = record(
        api,
        report(model="a"),
        report(externalId="k2", model="b"),
        report(externalId="n1", model="c"),
        report(model="d"),
        report(externalId="k1", model="e"),
        report(model="f"),
    )

    assert (answer["added"], answer["changed"]) == (4, 2)
    assert (answer["runIds"][4], answer["runIds"][1]) == tuple(known)
    models = {f"run_{row['id']}": row["model"] for row in store.rows("SELECT id, model FROM biz.ai_run_logs")}
    assert [models[run_id] for run_id in answer["runIds"]] == ["a", "b", "c", "d", "e", "f"]


def test_a_thousand_reports_are_taken_and_one_more_is_refused(api: Api, store: Store) -> None:
    runs = [report(tokensUsed=number) for number in range(1001)]
    before = store.snapshot()
    error = api.error(RECORD_RUNS, {"runs": runs})
    assert (error["code"], error["argument"], error["maximum"]) == ("BAD_USER_INPUT", "runs", 1_000)
    assert "1,001" in error["message"]
    assert store.snapshot() == before

    answer = record(api, *runs[:1000])
    assert (answer["added"], len(set(answer["runIds"]))) == (1000, 1000)


def test_no_report_at_all_is_refused(api: Api, store: Store) -> None:
    before = store.snapshot()
    assert record(api)["__typename"] == "InvalidInput"
    assert store.snapshot() == before


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"status": "UNKNOWN"}, "status"),
        ({"externalId": "x1"}, "externalId"),
        ({"siteId": " "}, "siteId"),
        ({"appType": ""}, "appType"),
        ({"tokensUsed": -1}, "tokensUsed"),
        ({"promptTokens": -1}, "promptTokens"),
        ({"completionTokens": -5}, "completionTokens"),
        ({"cachedTokens": -1}, "cachedTokens"),
        ({"cachedTokens": 11, "promptTokens": 10}, "cachedTokens"),
        ({"latencyMs": -1}, "latencyMs"),
        ({"createdAt": "2026-03-02T00:00:00Z", "finishedAt": "2026-03-01T23:59:59Z"}, "finishedAt"),
        ({"requestPrompt": "a\x00b"}, "requestPrompt"),
        ({"errorMessage": "\x00"}, "errorMessage"),
        ({"appType": "\x00"}, "appType"),
        ({"externalId": "x\x00"}, "externalId"),
        ({"tokensUsedBig": 10**12 + 1}, "tokensUsed"),
        ({"promptTokensBig": -1}, "promptTokens"),
        ({"tokensUsed": 1, "tokensUsedBig": 1}, "tokensUsedBig"),
        ({"promptTokens": 0, "promptTokensBig": 0}, "promptTokensBig"),
        ({"completionTokens": 5, "completionTokensBig": 6}, "completionTokensBig"),
    ],
)
def test_one_wrong_report_refuses_them_all(api: Api, store: Store, wrong: dict[str, Any], field: str) -> None:
    before = store.snapshot()
    refusal = record(api, report(externalId="x1"), report(**wrong))
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert "runs[1]" in refusal["message"]
    assert store.snapshot() == before


@pytest.mark.parametrize(
    "wrong",
    [
        {"tokensUsed": 2**31},
        {"tokensUsed": 1.5},
        {"tokensUsed": "7"},
        {"latencyMs": -(2**31) - 1},
        {"status": "success"},
        {"status": None},
        {"siteId": None},
        {"createdAt": "yesterday"},
        {"createdAt": 5},
        {"createdAt": ""},
        {"unheardOf": 1},
        {"siteId": "\ud800"},
        {"externalId": "\udfff"},
        {"responseText": "\ud83d alone"},
    ],
)
def test_a_value_of_the_wrong_kind_is_a_coded_error(api: Api, store: Store, wrong: dict[str, Any]) -> None:
    before = store.snapshot()
    error = api.error(RECORD_RUNS, {"runs": [report(), report(**wrong)]})
    assert error["code"] in ("BAD_USER_INPUT", "BAD_REQUEST"), error
    assert store.snapshot() == before


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1999-12-31T23:30:00-01:00", datetime(2000, 1, 1, 0, 30, tzinfo=UTC)),
        ("2026-07-01T12:00:00", datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("2026-01-01T12:00:00.123456", datetime(2026, 1, 1, 11, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_times_far_away_and_without_an_offset_are_taken(
    dsn: str, store: Store, given: str, stored: datetime
) -> None:
    api = Api(dsn, time_zone="Europe/Berlin")
    try:
        assert record(api, report(createdAt=given, externalId="x"))["added"] == 1
        assert record(api, report(createdAt=given, externalId="x"))["changed"] == 1
    finally:
        api.close()
    assert store.value("SELECT created_at FROM biz.ai_run_logs") == stored


@pytest.mark.parametrize("field", ["createdAt", "finishedAt"])
@pytest.mark.parametrize(
    "edge",
    [
        "0001-01-01T00:00:00+14:00",
        "0001-01-01T00:00:00",
        "1969-12-31T23:59:59Z",
        "9999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_times_that_no_reader_could_read_back_are_refused(
    api: Api, store: Store, field: str, edge: str
) -> None:
    before = store.snapshot()
    refusal = record(api, report(**{field: edge}))
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert store.snapshot() == before


@pytest.mark.parametrize("field", ["createdAt", "finishedAt"])
def test_a_time_more_than_a_day_ahead_is_refused(api: Api, store: Store, field: str) -> None:
    now = datetime.now(UTC)
    before = store.snapshot()
    refusal = record(api, report(**{field: (now + timedelta(days=1, minutes=1)).isoformat()}))
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", field)
    assert store.snapshot() == before
    assert record(api, report(**{field: (now + timedelta(hours=23)).isoformat()}))["added"] == 1


FINISHED = ("SUCCESS", "FAILED", "TIMEOUT", "CIRCUIT_OPEN")


@pytest.mark.parametrize(
    ("state", "late"),
    [*((state, late) for state in FINISHED for late in ("PENDING", "RUNNING")), ("RUNNING", "PENDING")],
)
def test_a_late_report_of_an_earlier_state_undoes_nothing(
    api: Api, store: Store, state: str, late: str
) -> None:
    whole = {
        "status": state,
        "externalId": "x1",
        "triggerType": "event",
        "memberId": "m1",
        "sessionId": "s1",
        "model": "large",
        "requestPrompt": "ask",
        "responseText": "tell",
        "tokensUsed": 5,
        "promptTokens": 3,
        "completionTokens": 2,
        "latencyMs": 250,
        "errorMessage": "slow",
        "createdAt": "2026-03-01T10:00:00Z",
        "finishedAt": "2026-03-01T10:00:01Z",
    }
    record(api, report(**whole))
    before = store.rows("SELECT * FROM biz.ai_run_logs")
    other = {name: "other" for name in whole if isinstance(whole[name], str)}
    other |= {name: 9 for name in whole if isinstance(whole[name], int)}
    other |= {"createdAt": "2026-02-01T10:00:00Z", "finishedAt": "2026-04-01T10:00:01Z"}

    record(api, report(**other | {"externalId": "x1", "status": late, "appType": "mail"}))
    record(api, report(externalId="x1", status=late, errorMessage=None))

    assert store.rows("SELECT * FROM biz.ai_run_logs") == before


def test_a_late_report_adds_what_is_missing(api: Api, store: Store) -> None:
    record(api, report(externalId="x1", completionTokens=12, createdAt="2026-03-01T10:00:00Z"))
    record(api, report(externalId="x2", createdAt="2026-03-01T10:00:00Z"))
    late = {"status": "RUNNING", "requestPrompt": "ask", "model": "large", "memberId": "m1"}
    record(
        api,
        report(externalId="x1", promptTokens=30, tokensUsed=30, **late),
        report(externalId="x2", tokensUsed=70, **late),
    )
    columns = "status, tokens_used, prompt_tokens, completion_tokens, request_prompt, model, member_id"
    same = {"status": "success", "request_prompt": "ask", "model": "large", "member_id": "m1"}
    assert store.rows(f"SELECT {columns} FROM biz.ai_run_logs ORDER BY external_id") == [
        {"tokens_used": 42, "prompt_tokens": 30, "completion_tokens": 12, **same},
        {"tokens_used": 70, "prompt_tokens": None, "completion_tokens": None, **same},
    ]


def test_a_null_takes_the_error_back_and_nothing_else(api: Api, store: Store) -> None:
    record(api, report(externalId="x1", status="RUNNING", errorMessage="boom", model="large"))
    record(api, report(externalId="x1", status="RUNNING", model=None))
    assert store.value("SELECT error_message FROM biz.ai_run_logs") == "boom"
    record(api, report(externalId="x1", errorMessage=None, model=None))
    assert store.rows("SELECT status, error_message, model FROM biz.ai_run_logs") == [
        {"status": "success", "error_message": None, "model": "large"}
    ]


@pytest.mark.parametrize("moment", ["2026-03-01T10:00:00Z", "2026-05-31T23:59:59.5Z", "1999-01-01T00:00:00Z"])
def test_a_wrong_time_of_creation_is_corrected(api: Api, store: Store, dsn: str, moment: str) -> None:
    given = report(externalId="x1", tokensUsed=70, latencyMs=5, createdAt="2026-04-01T10:00:00Z")
    (run_id,) = record(api, given, report(tokensUsed=1, createdAt="2026-04-01T10:00:00Z"))["runIds"][:1]

    again = record(api, {**given, "createdAt": moment})
    assert (again["runIds"], again["changed"]) == ([run_id], 1)
    assert record(api, report(externalId="x1", tokensUsed=71))["runIds"] == [run_id]

    rows = store.rows("SELECT created_at, tokens_used FROM biz.ai_run_logs WHERE external_id = 'x1'")
    assert rows == [{"created_at": datetime.fromisoformat(moment), "tokens_used": 71}]
    assert store.value("SELECT count(*) FROM biz.ai_run_logs") == 2
    asyncio.run(check(dsn, [datetime(1999, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)], BOUNDS[0]))
    fold(dsn)
    asyncio.run(check(dsn, [datetime(1999, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)], BOUNDS[0]))


@pytest.mark.parametrize(
    "later",
    [
        {"finishedAt": "2026-03-01T09:58:00Z"},
        {"createdAt": "2026-03-01T10:00:02Z"},
        {"createdAt": "2026-03-01T10:00:02Z", "finishedAt": "2026-03-01T10:00:01Z"},
    ],
)
def test_a_run_does_not_end_before_it_begins_however_it_is_reported(
    api: Api, store: Store, later: dict[str, Any]
) -> None:
    given = report(externalId="x1", createdAt="2026-03-01T10:00:00Z", finishedAt="2026-03-01T10:00:01Z")
    record(api, given)
    before = store.snapshot()
    refusal = record(api, report(), report(externalId="x1", **later))
    assert (refusal["__typename"], refusal["field"]) == ("InvalidInput", "finishedAt")
    assert "runs[1].finishedAt" in refusal["message"]
    assert store.snapshot() == before


def test_a_clock_that_is_a_little_behind_loses_no_report(api: Api, store: Store) -> None:
    record(api, report(externalId="x1", status="RUNNING"))
    began = store.value("SELECT created_at FROM biz.ai_run_logs")
    ended = began - timedelta(seconds=20)
    assert record(api, report(externalId="x1", finishedAt=ended.isoformat()))["changed"] == 1
    assert store.rows("SELECT created_at, finished_at FROM biz.ai_run_logs") == [
        {"created_at": ended, "finished_at": ended}
    ]


def test_what_is_reported_at_its_end_alone_began_before_it(api: Api, store: Store) -> None:
    record(api, report(finishedAt="2026-03-01T10:00:01Z", latencyMs=250))
    assert store.value("SELECT created_at FROM biz.ai_run_logs") == datetime(
        2026, 3, 1, 10, 0, 0, 750_000, tzinfo=UTC
    )


def test_tokens_beyond_32_bits_are_reported_and_found(api: Api, store: Store) -> None:
    record(
        api,
        report(tokensUsedBig=2**31, promptTokensBig=2**33, completionTokensBig=2**34),
        report(tokensUsedBig=10**12),
        report(tokensUsed=7),
    )
    listed = """query ($tokens: BigIntRange) {
        runLogs(filter: {tokensUsedBig: $tokens}) {
            totalCount { count } edges { node { tokensUsed promptTokens completionTokens } }
        }
    }"""
    found = api.data(listed, {"tokens": {"min": 2**31, "max": 2**31}})["runLogs"]
    assert found["totalCount"]["count"] == 1
    assert [edge["node"] for edge in found["edges"]] == [
        {"tokensUsed": 2**31, "promptTokens": 2**33, "completionTokens": 2**34}
    ]
    assert len(api.data(listed, {"tokens": {"min": 2**31 + 1}})["runLogs"]["edges"]) == 1
    assert len(api.data(listed, {"tokens": None})["runLogs"]["edges"]) == 3
    both = "{ runLogs(filter: {tokensUsed: {min: 1}, tokensUsedBig: {min: 1}}) { edges { cursor } } }"
    error = api.error(both)
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "tokensUsedBig")


def test_left_out_and_empty_are_two_requests_under_one_key(api: Api) -> None:
    keyed = "mutation ($input: RecordRunsInput!) { recordRuns(input: $input) { __typename } }"
    first = {"idempotencyKey": "k", "runs": [report(externalId="x1", errorMessage="")]}
    assert api.data(keyed, {"input": first})["recordRuns"]["__typename"] == "RecordedRuns"
    second = {"idempotencyKey": "k", "runs": [report(externalId="x1")]}
    assert api.data(keyed, {"input": second})["recordRuns"]["__typename"] == "Conflict"


def test_overlapping_calls_at_once_give_one_row_to_each_external_id(api: Api, store: Store) -> None:
    chance = random.Random(7)
    names = [f"x{number}" for number in range(40)]
    calls = []
    for call in range(8):
        chosen = chance.sample(names, 25)
        calls.append({"runs": [report(externalId=name, model=f"call{call}") for name in chosen]})

    answers = api.at_once(RECORD_RUNS, calls)

    assert {answer["recordRuns"]["__typename"] for answer in answers} == {"RecordedRuns"}
    reported = {run["externalId"] for call in calls for run in call["runs"]}
    rows = store.rows("SELECT external_id, id FROM biz.ai_run_logs ORDER BY external_id")
    assert [row["external_id"] for row in rows] == sorted(reported)
    assert sum(answer["recordRuns"]["added"] for answer in answers) == len(reported)
    ids = {row["external_id"]: f"run_{row['id']}" for row in rows}
    for call, answer in zip(calls, answers, strict=True):
        assert answer["recordRuns"]["runIds"] == [ids[run["externalId"]] for run in call["runs"]]


def test_the_dashboard_and_the_budget_follow_at_once(api: Api, store: Store) -> None:
    record(api, report(externalId="x1", status="RUNNING", promptTokens=10), report(tokensUsed=5))
    shown = api.data(DASHBOARD)
    assert shown["dashboard"]["today"] == {
        "calls": 2,
        "tokens": 15,
        "successRate": 1.0,
        "byStatus": [{"status": "RUNNING", "calls": 1}, {"status": "SUCCESS", "calls": 1}],
    }

    record(api, report(externalId="x1", status="FAILED", tokensUsed=25))
    shown = api.data(DASHBOARD)
    assert shown["dashboard"]["today"] == {
        "calls": 2,
        "tokens": 30,
        "successRate": 0.5,
        "byStatus": [{"status": "FAILED", "calls": 1}, {"status": "SUCCESS", "calls": 1}],
    }
    assert shown["budget"]["daily"]["used"] == 30


def test_a_run_reported_as_failed_is_an_alert(api: Api, store: Store) -> None:
    (run_id,) = record(api, report(status="FAILED", errorMessage="boom"))["runIds"]
    alerts = api.data("{ alerts { edges { node { id errorMessage alertStatus } } } }")["alerts"]["edges"]
    alert_id = run_id.replace("run", "alert")
    assert alerts == [{"node": {"id": alert_id, "errorMessage": "boom", "alertStatus": "PENDING"}}]


def test_without_a_time_a_run_was_made_now(api: Api, store: Store) -> None:
    record(api, report())
    made = store.value("SELECT created_at FROM biz.ai_run_logs")
    assert abs(datetime.now(UTC) - made) < timedelta(minutes=5)


def test_each_site_of_a_call_is_audited(api: Api, store: Store) -> None:
    record(api, report(), report(), report(siteId="paris"))
    entries = store.rows("SELECT action, site_id, after FROM runglass.audit_log ORDER BY site_id")
    assert entries == [
        {"action": "recordRuns", "site_id": "berlin", "after": {"runs": 2}},
        {"action": "recordRuns", "site_id": "paris", "after": {"runs": 1}},
    ]


@pytest.mark.parametrize("prefix", [None, "x"])
def test_new_runs_take_one_statement(api: Api, store: Store, prefix: str | None) -> None:
    # The first request asks who calls as well.
    record(api, report())
    runs = [report(externalId=prefix and f"{prefix}{number}") for number in range(3)]
    response, count = api.counted(api.post(RECORD_RUNS, {"runs": runs}))
    assert response.json()["data"]["recordRuns"]["added"] == 3
    assert count == 1
    assert store.value("SELECT count(*) FROM runglass.run_external_ids") == (3 if prefix else 0)


def test_where_one_of_many_is_known_the_others_are_added_beside_it(api: Api, store: Store) -> None:
    (known,) = record(api, report(externalId="known", status="RUNNING"))["runIds"]
    recorded = record(api, report(externalId="new"), report(externalId="known"), report())
    assert (recorded["added"], recorded["changed"], recorded["runIds"][1]) == (2, 1, known)
    assert store.value("SELECT count(*) FROM biz.ai_run_logs") == 3
    assert store.value("SELECT sum((after ->> 'runs')::int) FROM runglass.audit_log") == 4
