"""Lists that the compiler runs say, byte for byte, what the standard executor says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.api import Api, Client
from tests.support.store import Store

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
FIELDS = [
    *("id", "siteId", "appType", "triggerType", "memberId", "sessionId", "model", "tokensUsed"),
    *("promptTokens", "completionTokens", "latencyMs", "status", "statusText", "errorMessage"),
    *("externalId", "createdAt", "finishedAt", "__typename", "alertStatus", "cost", "requestPrompt"),
    "triggerJob { id }",
]
TEXTS = (
    *(
        "",
        "plain",
        'a "quoted" word',
        "back\\slash",
        "new\nline, tab\t, \b\f\r",
        "\x01\x1f\x7f",
        "a/b </script>",
    ),
    *("für Straße", "日本語", "🙂 \u2028\u2029 \ufeff", "%(scope_site)s {scope} %s $1", "x" * 20_000),
)
TIMES = (
    *(NOON, NOON + timedelta(microseconds=1), NOON + timedelta(microseconds=123_450), NOON.replace(year=2)),
    *(NOON + timedelta(microseconds=123_456), NOON + timedelta(milliseconds=120), NOON.replace(year=9998)),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
)
RUNS: list[dict[str, Any]] = [
    *({"error_message": text, "model": text[:200], "session_id": text[:200]} for text in TEXTS),
    *({"created_at": time, "finished_at": time} for time in TIMES),
    *({"status": word} for word in ("pending", "running", "failed", "timeout", "circuit_open", "paused", "")),
    *({"status": word} for word in ("SUCCESS", "unknown", 'od"d')),
    {"tokens_used": 2**40, "prompt_tokens": 0, "completion_tokens": 2**31 - 1, "latency_ms": 2**31 - 1},
    {"tokens_used": 0, "latency_ms": 0, "external_id": "e-1", "trigger_type": "event", "member_id": "m1"},
]


@pytest.fixture(scope="module", autouse=True)
def runs(module_store: Store) -> None:
    """Runs with every value that JSON or a time may be hard to write for."""
    for number, values in enumerate(RUNS):
        module_store.run(**{"created_at": NOON + timedelta(seconds=number), **values})


def both(api: Client, query: str, variables: dict[str, Any] | None = None) -> tuple[bytes, bytes]:
    """The first answer, which the standard executor gives, and a later one."""
    first, _, later = (api.runner.run(api.post(query, variables)).content for _ in range(3))
    return first, later


def listed(selection: str, arguments: str = "first: 100") -> str:
    return (
        f"{{ runLogs({arguments}) {{ edges {{ cursor node {{ {selection} }} }} pageInfo {{ endCursor }} }} }}"
    )


@pytest.mark.parametrize("field", [*FIELDS, " ".join(FIELDS)])
def test_every_field(module_api: Api, field: str) -> None:
    first, later = both(module_api, listed(field))
    assert first == later
    assert b'"errors"' not in first


@pytest.mark.parametrize(
    "query",
    [
        "{ all: runLogs { rows: edges { at: cursor it: node { a: id b: id status } } } }",
        "{ runLogs { edges { node { ...F ... on Node { id } ... on RunLog { model } } } } } "
        "fragment F on RunLog { kind: __typename siteId id }",
        "{ runLogs(first: 1) { __typename edges { __typename cursor node { id } } } }",
        "{ runLogs(last: 3) { edges { node { id } } pageInfo { hasPreviousPage startCursor } } }",
        *[
            f"{{ runLogs({page}) {{ edges {{ {edge} }} pageInfo {{ startCursor endCursor hasNextPage"
            " hasPreviousPage } } }"
            for page in ("first: 3", "last: 3", "first: 1", "last: 1", "first: 100", "last: 100")
            for edge in (
                "cursor node { cursor: memberId model }",
                "at: cursor __typename node { status }",
                "node { cursor: memberId model } cursor",
                "a: cursor node { id } b: cursor",
                "__typename cursor node { id }",
                "node { id } cursor __typename",
            )
        ],
        '{ runLogs(filter: {siteId: "nowhere"}) { edges { node { id } } pageInfo { endCursor } } }',
        "{ runLogs { edges { node { id @skip(if: true) model @include(if: true) } } } }",
        "{ runLogs { edges { node { id @skip(if: true) } } } }",
        "{ runLogs(first: 3) { edges { cursor node { id @include(if: false) } } } }",
        "{ runLogs { edges { node { scope: id true: model null: siteId __proto__: status } } } }",
    ],
)
def test_shapes_of_selections(module_api: Api, query: str) -> None:
    first, later = both(module_api, query)
    assert first == later
    assert b'"errors"' not in first


FILTERED = """query ($f: RunLogFilter, $s: CreatedSort! = CREATED_AT_ASC, $n: Int = 5) {
  runLogs(filter: $f, sort: $s, first: $n) { edges { node { id status } } } }"""


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"f": None, "n": None},
        {"f": {"status": ["FAILED", "UNKNOWN"]}, "s": "CREATED_AT_DESC", "n": 100},
        {"f": {"createdAt": {"from": "2026-05-01T12:00:03Z", "to": None}, "tokensUsed": {"min": 1}}},
    ],
)
def test_variables_of_every_type(module_api: Api, variables: dict[str, Any]) -> None:
    first, later = both(module_api, FILTERED, variables)
    assert first == later
    assert b'"errors"' not in first


@pytest.mark.parametrize(
    "variables", [{"f": {"nothing": 1}}, {"s": None}, {"s": "SIDEWAYS"}, {"n": "5"}, {"f": {"status": [1]}}]
)
def test_wrong_variables_are_refused_by_a_known_document_too(
    module_api: Api, variables: dict[str, Any]
) -> None:
    for _ in range(2):
        module_api.data(FILTERED)
    assert module_api.error(FILTERED, variables)["code"] == "BAD_USER_INPUT"


def test_a_filter_in_the_document(module_api: Api) -> None:
    query = '{ runLogs(filter: {status: [FAILED], siteId: "berlin"}) { edges { node { id status } } } }'
    first, later = both(module_api, query)
    assert first == later
    assert b"FAILED" in first


@pytest.mark.parametrize(
    "query",
    [
        "{ runLogs { edges { node { id } } more: edges { node { model } } } }",
        "{ runLogs { edges { cursor } pageInfo { endCursor } } }",
        "{ runLogs { pageInfo { endCursor } } }",
    ],
)
def test_lists_without_exactly_one_object_a_row(module_api: Api, query: str) -> None:
    first, later = both(module_api, query)
    assert first == later


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(
    chosen=st.lists(st.tuples(st.from_regex(r"[_A-Za-z]\w{0,8}", fullmatch=True), st.sampled_from(FIELDS))),
    first=st.integers(1, 100),
)
def test_any_selection_under_any_name(module_api: Api, chosen: list[tuple[str, str]], first: int) -> None:
    by_name = {name: field for name, field in chosen if name.isascii()}
    selection = " ".join(f"{name}: {field}" for name, field in by_name.items()) or "id"
    one, later = both(module_api, listed(selection, f"first: {first}"))
    assert one == later


def test_pages_meet_where_they_are_read_in_either_way(module_api: Api) -> None:
    query = "query ($after: String) { runLogs(first: 3, after: $after) {"
    query += " edges { cursor node { id } } pageInfo { endCursor hasNextPage } } }"
    ids, after, more = [], None, True
    while more:
        page = module_api.data(query, {"after": after})["runLogs"]
        ids += [edge["node"]["id"] for edge in page["edges"]]
        assert page["edges"][-1]["cursor"] == page["pageInfo"]["endCursor"]
        after, more = page["pageInfo"]["endCursor"], page["pageInfo"]["hasNextPage"]
    assert len(ids) == len(set(ids)) == len(RUNS)


def test_rows_of_other_sites_are_not_shown(module_api: Api, module_store: Store) -> None:
    module_store.run(site_id="paris")
    berlin, paris = module_api.as_key(sites=["berlin"]), module_api.as_key(sites=["paris"], name="p")
    query = listed("siteId")
    for _ in range(3):
        assert b"paris" not in berlin.runner.run(berlin.post(query)).content
        assert b"berlin" not in paris.runner.run(paris.post(query)).content
    module_store.rows("DELETE FROM biz.ai_run_logs WHERE site_id = 'paris'")
