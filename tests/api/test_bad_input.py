"""What an attacker sends where a value is expected: each is one clear coded error, and none is our fault."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from tests.support.api import Api
from tests.support.databases import cloned_database as database

SURROGATE = "\ud800"
RUNS = """
query ($filter: RunLogFilter) {
  runLogs(filter: $filter) { edges { node { id } } totalCount { count } }
}
"""
PAGES = "query ($first: Int, $after: String) { runLogs(first: $first, after: $after) { edges { cursor } } }"
LISTS = ("runLogs", "triggerJobs", "alerts", "cacheEntries")
MUTATIONS = {
    "retryJob": {"jobId": "{}"},
    "ackAlert": {"alertId": "{}"},
    "ignoreAlert": {"alertId": "{}"},
    "reopenAlert": {"alertId": "{}"},
    "confirmBatch": {"batchId": "{}"},
}


@pytest.fixture(scope="module")
def api(server_dsn: Callable[[str], str], template: str) -> Iterator[Api]:
    """One app for all of these requests: what is refused changes nothing."""
    name = f"bad_input_{os.getpid()}"
    with database(server_dsn, name, template):
        api = Api(server_dsn(name))
        yield api
        api.close()


@pytest.fixture(autouse=True)
def no_fault_of_ours(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is logged as an error while a caller sends nonsense."""
    yield
    faults = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert [record.getMessage() for record in faults] == []


def cursor(mark: str, microseconds: int, number: int) -> str:
    """A cursor's form, whatever it holds."""
    return f"{mark}-{microseconds % 2**64:016x}{number:016x}"


def refused(api: Api, query: str, variables: dict[str, Any] | None = None) -> str:
    """The message of the one error, which must be the caller's fault and say so."""
    error = api.error(query, variables)
    assert error["code"] == "BAD_USER_INPUT", error
    assert "psycopg" not in error["message"]
    assert len(error["message"]) < 600
    return error["message"]


def outcome(answer: dict[str, Any]) -> str:
    """The code of the refusal of a mutation, or of the one error of the request."""
    if "errors" in answer:
        assert len(answer["errors"]) == 1, answer
        return answer["errors"][0]["extensions"]["code"]
    (value,) = answer["data"].values()
    return value["code"]


@pytest.mark.parametrize(
    "after",
    [
        "",
        "x",
        "ä",
        "\0",
        "A" * 500,
        cursor("run", 1, 1) + "\n",
        cursor("run", 1, 1)[:-1],
        cursor("run", 1, 1) + "0",
        cursor("run", 1, 1).replace("-", ":"),
        cursor("run", 1, 0xF).upper(),
        cursor("run", 1, 1)[:-1] + "g",
        cursor("run", 1, 1) + " OR 1=1",
        cursor("run", -(2**62), 1),
        cursor("run", 2**62, 1),
        cursor("run", 1, 1) + "0" * 16,
        cursor("job", 1, 1),
        cursor("run", 1, 1)[:-1] + "١",
        cursor("run", 1, 2**63),
    ],
    ids=repr,
)
def test_a_cursor_that_was_tampered_with(api: Api, after: str) -> None:
    assert "after is no cursor of this list" in refused(api, PAGES, {"after": after})


@pytest.mark.parametrize(("microseconds", "number"), [(-63_082_281_600_000_000, 0), (10**17, 2**63 - 1)])
def test_the_outermost_places_are_places(api: Api, microseconds: int, number: int) -> None:
    assert api.data(PAGES, {"after": cursor("run", microseconds, number)}) is not None


@pytest.mark.parametrize("field", LISTS)
@pytest.mark.parametrize("first", [0, -1, 101, 2**31 - 1, -(2**31)])
def test_a_page_of_no_size(api: Api, field: str, first: int) -> None:
    query = f"query ($first: Int) {{ {field}(first: $first) {{ edges {{ cursor }} }} }}"
    answer = api.execute(query, {"first": first})
    assert answer["errors"][0]["extensions"]["code"] in ("BAD_USER_INPUT", "QUERY_TOO_COMPLEX")


@pytest.mark.parametrize("first", [2**31, 2**63, 10**400, 1.5, "1", True, [1], {"a": 1}, 1e400], ids=repr)
def test_a_size_that_is_no_integer(api: Api, first: Any) -> None:
    body = json.dumps({"query": PAGES, "variables": {"first": first}})
    answer = api.runner.run(send(api, body.encode())).json()
    assert answer["errors"][0]["extensions"]["code"] in (
        "BAD_USER_INPUT",
        "BAD_REQUEST",
        "QUERY_TOO_COMPLEX",
    )


async def send(api: Api, body: bytes) -> httpx.Response:
    headers = {"content-type": "application/json", **api.headers}
    return await api.client.post("/graphql", content=body, headers=headers)


FILTERS: list[dict[str, Any]] = [
    {"siteId": "a\0b"},
    {"appType": "\0"},
    {"triggerType": "\0"},
    {"memberId": "\0"},
    {"sessionId": "\0"},
    {"model": "\0"},
    {"errorContains": "\0"},
    {"status": ["failed"]},
    {"status": "NO"},
    {"latencyMs": {"min": 2**31}},
    {"tokensUsed": {"max": -(2**63)}},
    {"createdAt": {"from": "yesterday"}},
    {"createdAt": {"from": "2026-02-30T00:00:00Z"}},
    {"createdAt": {"from": "10000-01-01T00:00:00Z"}},
    {"createdAt": {"from": "0000-01-01T00:00:00Z"}},
    {"createdAt": {"from": "2026-01-01T00:00:00+99:00"}},
    {"createdAt": {"from": "2026-01-01T00:00:00+00:00:01"}},
    {"createdAt": {"from": 5}},
    {"createdAt": {"from": "2" * 100_000}},
    {"createdAt": "2026-01-01"},
    {"nothing": 1},
]


@pytest.mark.parametrize("given", FILTERS, ids=lambda given: json.dumps(given)[:60])
def test_a_filter_that_makes_no_sense(api: Api, given: dict[str, Any]) -> None:
    refused(api, RUNS, {"filter": given})


@pytest.mark.parametrize(
    "given",
    [
        {"createdAt": {"from": "0001-01-01T00:00:00"}},
        {"createdAt": {"from": "0001-01-01T00:00:00+14:00"}},
        {"createdAt": {"to": "9999-12-31T23:59:59.999999-14:00"}},
        {"createdAt": {"to": "9999-12-31T23:59:59.999999"}},
        {"createdAt": {"from": "2026-01-01T00:00:00+23:59"}},
        {"createdAt": {"from": "2026-12-31", "to": "2026-01-01"}},
        {"latencyMs": {"min": 2**31 - 1, "max": -(2**31)}},
        {"tokensUsed": {"min": -(2**31), "max": 2**31 - 1}},
        {"status": []},
        {"errorContains": "%_\\"},
        {"errorContains": "x" * 500},
        {"siteId": "x" * 500},
        {"memberId": "'; DROP TABLE biz.ai_run_logs; --"},
        {"model": "\U0010ffff"},
    ],
    ids=lambda given: json.dumps(given)[:60],
)
def test_an_extreme_filter_finds_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    for zone in ("UTC", "Asia/Kolkata", "America/Los_Angeles"):
        monkeypatch.setitem(vars(api.settings), "time_zone", zone)
        assert api.data(RUNS, {"filter": given})["runLogs"]["edges"] == []


@pytest.mark.parametrize(
    "zone",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "Europe",
        "Europe/",
        "europe/berlin\0",
        "\0",
        "Mars/Olympus",
        "x" * 500,
        "localtime/..",
        "posixrules/../../passwd",
        "CON",
        "__init__.py",
        "tzdata.zi",
        "zone.tab",
        "\U0010ffff",
        "Europe/Berlin ",
    ],
    ids=lambda zone: zone[:30],
)
def test_a_time_zone_that_is_none(api: Api, zone: str) -> None:
    message = refused(
        api, "query ($zone: String) { dashboard(timeZone: $zone) { timeZone } }", {"zone": zone}
    )
    assert "IANA" in message


@pytest.mark.parametrize("days", [0, 91, -1, 2**31 - 1])
def test_a_number_of_days_that_is_out_of_range(api: Api, days: int) -> None:
    refused(api, "query ($d: Int!) { dashboard { trend(days: $d) { date } } }", {"d": days})


IDS = [
    "",
    "job",
    "job_",
    "job_0",
    "job_-1",
    "job_1\0",
    "\0",
    "job_9223372036854775808",
    "x" * 100_000,
    "job_١",
    "Job_1",
]


@pytest.mark.parametrize("wrong", IDS, ids=lambda wrong: repr(wrong)[:30])
@pytest.mark.parametrize("name", MUTATIONS)
def test_an_id_of_no_object(api: Api, name: str, wrong: str) -> None:
    (argument,) = MUTATIONS[name]
    refused(
        api, f"mutation ($id: ID!) {{ {name}(input: {{{argument}: $id}}) {{ __typename }} }}", {"id": wrong}
    )


@pytest.mark.parametrize("wrong", IDS, ids=lambda wrong: repr(wrong)[:30])
@pytest.mark.parametrize("field", ["runLog", "triggerJob", "alert", "batch", "node"])
def test_an_id_that_names_nothing(api: Api, field: str, wrong: str) -> None:
    refused(api, f"query ($id: ID!) {{ {field}(id: $id) {{ __typename }} }}", {"id": wrong})


@pytest.mark.parametrize("field", ["runLog", "triggerJob", "alert"])
def test_the_largest_id(api: Api, field: str) -> None:
    kind = {"runLog": "run", "triggerJob": "job", "alert": "alert"}[field]
    query = f"query ($id: ID!) {{ {field}(id: $id) {{ id }} }}"
    assert api.data(query, {"id": f"{kind}_{2**63 - 1}"}) == {field: None}


@pytest.mark.parametrize("name", ["retryJobs", "cancelJobs", "failJobs"])
@pytest.mark.parametrize(
    "change",
    [
        *({"filter": {name: "a\0b"}} for name in ("siteId", "eventType", "memberId")),
        {"filter": {"createdAt": {"from": "10000-01-01T00:00:00Z"}}},
        {"filter": {"status": ["NO"]}},
        {"filter": {}, "reason": "\0"},
        {"filter": {}, "limit": 2**31},
        {"filter": {}, "limit": -(2**31)},
        {"jobIds": [None]},
        {"jobIds": ["job_1", "job_9223372036854775808"]},
        {"jobIds": [f"job_{number}" for number in range(1, 1_001)]},
        {"jobIds": ["job_1"], "filter": {"siteId": "\0"}},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_many_jobs_that_make_no_sense(api: Api, name: str, change: dict[str, Any]) -> None:
    kind = name[0].upper() + name[1:]
    query = f"mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ ... on Refusal {{ code }} }} }}"
    for dry_run in (False, True):
        given = {"reason": "r", "dryRun": dry_run, **change}
        answer = api.execute(query, {"input": given})
        if dry_run and len(change.get("jobIds", ())) > 2:
            assert answer["data"] == {name: {}}
        else:
            assert outcome(answer) in ("BAD_USER_INPUT", "INVALID_INPUT"), answer


@pytest.mark.parametrize("name", ["ackAlerts", "ignoreAlerts", "reopenAlerts"])
@pytest.mark.parametrize(
    "change",
    [
        *({"filter": {name: "a\0b"}} for name in ("siteId", "appType")),
        {"filter": {"createdAt": {"from": "10000-01-01T00:00:00Z"}}},
        {"filter": {"alertStatus": ["NO"]}},
        {"filter": {}, "reason": "\0"},
        {"filter": {}, "limit": 2**31},
        {"alertIds": [None]},
        {"alertIds": ["alert_1", "alert_9223372036854775808"]},
        {"alertIds": [f"alert_{number}" for number in range(1, 1_002)]},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_many_alerts_that_make_no_sense(api: Api, name: str, change: dict[str, Any]) -> None:
    query = f"mutation ($input: AlertsInput!) {{ {name}(input: $input) {{ ... on Refusal {{ code }} }} }}"
    for dry_run in (False, True):
        answer = api.execute(query, {"input": {"reason": "r", "dryRun": dry_run, **change}})
        assert outcome(answer) in ("BAD_USER_INPUT", "INVALID_INPUT"), answer


def test_the_largest_job_of_many_is_not_there(api: Api) -> None:
    query = "mutation ($input: RetryJobsInput!) { retryJobs(input: $input) { ... on RetriedJobs { count } } }"
    given = {"jobIds": [f"job_{2**63 - 1}"], "reason": "\U0010ffff"}
    assert api.data(query, {"input": given}) == {"retryJobs": {"count": 0}}


ESTIMATE = """
mutation ($input: EstimateBatchInput!) {
  estimateBatch(input: $input) { __typename ... on Refusal { code message } ... on InvalidInput { field } }
}
"""
BATCH: dict[str, Any] = {"siteId": "berlin", "appTypes": ["chat"], "memberIds": ["m1"]}


@pytest.mark.parametrize(
    "change",
    [
        {"memberIds": []},
        {"appTypes": []},
        {"memberIds": [" "]},
        {"memberIds": ["m" * 201]},
        {"appTypes": ["a" * 100_000]},
        {"memberIds": ["m\0"]},
        {"appTypes": ["\0"]},
        {"siteId": "\0"},
        {"siteId": "x" * 100_000},
        {"siteId": ""},
        {"memberIds": [str(number) for number in range(100_001)]},
        {"memberIds": [None]},
        {"memberIds": [["m"]]},
        {"memberIds": [1.5]},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_a_batch_that_makes_no_sense(api: Api, change: dict[str, Any]) -> None:
    codes = ("BAD_USER_INPUT", "INVALID_INPUT", "NOT_FOUND")
    assert outcome(api.execute(ESTIMATE, {"input": BATCH | change})) in codes


RECORD = """
mutation ($runs: [RunReportInput!]!) {
  recordRuns(input: {runs: $runs}) { __typename ... on Refusal { code message } }
}
"""
REPORT: dict[str, Any] = {"siteId": "berlin", "appType": "chat", "status": "SUCCESS"}


@pytest.mark.parametrize(
    "change",
    [
        *(
            {name: "\0"}
            for name in ("siteId", "appType", "externalId", "triggerType", "memberId", "sessionId")
        ),
        *({name: "\0"} for name in ("model", "requestPrompt", "responseText", "errorMessage")),
        {"status": "UNKNOWN"},
        {"tokensUsed": -1},
        {"latencyMs": -(2**31)},
        {"tokensUsed": 2**31},
        {"promptTokens": -1},
        {"completionTokens": -1},
        {"siteId": ""},
        {"appType": ""},
        {"appType": "x" * 100_000},
        {"siteId": "x" * 100_000},
        {"externalId": "x" * 100_000},
        {"createdAt": "0001-01-01T00:00:00+14:00"},
        {"createdAt": "9999-12-31T23:59:59-14:00"},
        {"finishedAt": "0001-01-01T00:00:00+14:00"},
        {"createdAt": "10000-01-01T00:00:00Z"},
    ],
    ids=lambda change: json.dumps(change)[:40],
)
def test_a_report_that_makes_no_sense(api: Api, change: dict[str, Any]) -> None:
    answer = api.execute(RECORD, {"runs": [REPORT | change]})
    assert outcome(answer) in ("BAD_USER_INPUT", "INVALID_INPUT"), answer


@pytest.mark.parametrize(
    ("count", "code"), [(0, "INVALID_INPUT"), (1001, "BAD_USER_INPUT"), (20_000, "BAD_USER_INPUT")]
)
def test_too_many_or_no_reports(api: Api, count: int, code: str) -> None:
    assert outcome(api.execute(RECORD, {"runs": [REPORT] * count})) == code


INVALIDATE = """
mutation ($input: InvalidateCacheInput!) {
  invalidateCache(input: $input) { __typename ... on Refusal { code } ... on CacheInvalidation { count } }
}
"""


@pytest.mark.parametrize("name", ["siteId", "appType", "memberId"])
def test_a_nul_character_in_what_is_invalidated(api: Api, name: str) -> None:
    answer = api.execute(INVALIDATE, {"input": {"siteId": "berlin", name: "\0"}})
    assert outcome(answer) in ("BAD_USER_INPUT", "INVALID_INPUT", "NOT_FOUND")


BODIES = {
    "lone surrogate in a variable": b'{"query": "query ($z: String) { budget(timeZone: $z) { timeZone } }",'
    b' "variables": {"z": "\\ud800"}}',
    "lone surrogate in the document": b'{"query": "{ dashboard(timeZone: \\"\\ud800\\") { timeZone } }"}',
    "escaped surrogate in the document": b'{"query": "{ budget(timeZone: \\"\\\\ud800\\") { timeZone } }"}',
    "deep variables": b'{"query": "query ($z: String) { budget(timeZone: $z) { timeZone } }",'
    b' "variables": {"z": ' + b"[" * 900 + b"]" * 900 + b"}}",
    "too deep JSON": b'{"query": "{ viewer { name } }", "variables": {"z": '
    + b"[" * 100_000
    + b"]" * 100_000
    + b"}}",
    "deep variables that nobody declared and a fault": b'{"query": "{ nothing }", "variables": {"z": '
    + b'{"a":' * 900
    + b"1"
    + b"}" * 900
    + b"}}",
    "deep literal": b'{"query": "{ runLogs(filter: '
    + b"[" * 900
    + b"]" * 900
    + b') { edges { cursor } } }"}',
    "huge number in the document": b'{"query": "{ runLogs(first: '
    + b"9" * 5_000
    + b') { edges { cursor } } }"}',
    "huge float in the document": b'{"query": "{ runLogs(first: 1e'
    + b"9" * 500
    + b') { edges { cursor } } }"}',
    "huge name": b'{"query": "{ ' + b"n" * 20_000 + b' }"}',
    "huge operation name": b'{"query": "{ viewer { name } }", "operationName": "' + b"n" * 100_000 + b'"}',
    "invalid UTF-8": b'{"query": "{ viewer { name } } # \xff"}',
    "NUL in the document": b'{"query": "{ viewer { name\\u0000 } }"}',
    "byte order mark twice": b'\xef\xbb\xbf{"query": "{ viewer { name } }"}',
    "many unknown fields": b'{"query": "{ ' + b" ".join(b"f%d" % n for n in range(900)) + b' }"}',
    "variables of another shape": b'{"query": "{ viewer { name } }", "variables": [1]}',
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_makes_no_sense(api: Api, name: str) -> None:
    response = api.runner.run(send(api, BODIES[name]))
    errors = response.json()["errors"]
    assert response.status_code < 500
    assert 1 <= len(errors) <= 10
    assert {error["extensions"]["code"] for error in errors} <= {
        "BAD_USER_INPUT",
        "BAD_REQUEST",
        "GRAPHQL_PARSE_FAILED",
        "GRAPHQL_VALIDATION_FAILED",
        "QUERY_TOO_COMPLEX",
        "OPERATION_RESOLUTION_FAILURE",
        "PAYLOAD_TOO_LARGE",
    }
    assert len(response.content) < 20_000


def test_the_last_of_duplicate_keys_counts(api: Api) -> None:
    body = b'{"query": "{ nothing }", "query": "{ viewer { __typename } }"}'
    assert api.runner.run(send(api, body)).json() == {"data": {"viewer": {"__typename": "Viewer"}}}


def test_duplicate_fields_of_an_input_are_refused(api: Api) -> None:
    error = api.error('{ runLogs(filter: {siteId: "a", siteId: "b"}) { edges { cursor } } }')
    assert error["code"] == "GRAPHQL_VALIDATION_FAILED"
