"""runLogs: filters, order, pages, totals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from graph.types.pagination import cursor_at
from tests.support.api import Api
from tests.support.store import Store

RUN_LOGS = """
query ($filter: RunLogFilter, $sort: CreatedSort! = CREATED_AT_DESC, $first: Int, $after: String, $last: Int,
       $before: String) {
  runLogs(filter: $filter, sort: $sort, first: $first, after: $after, last: $last, before: $before) {
    edges { cursor node { id model } }
    pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}
"""
TOTAL = (
    "query ($filter: RunLogFilter) { runLogs(filter: $filter, first: 1) { totalCount { count isExact } } }"
)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)

# Each run has a name in its model; together they differ in everything that a filter looks at.
RUNS: dict[str, dict[str, Any]] = {
    "a": {"status": "success", "latency_ms": 100, "tokens_used": 10, "member_id": "m1"},
    "b": {"status": "failed", "error_message": "Rate limit 100% reached", "tokens_used": 20},
    "c": {"status": "timeout", "error_message": "rate_limit", "site_id": "paris", "latency_ms": 30_000},
    "d": {"status": "circuit_open", "app_type": "mail", "session_id": "s1"},
    "e": {"status": "running", "trigger_type": "event", "member_id": "m1", "latency_ms": None},
    "f": {"status": "pending", "app_type": "mail", "member_id": "m2", "tokens_used": 2**33},
    "g": {"status": "paused", "trigger_type": "manual", "site_id": "paris", "cached_tokens": 40},
    "h": {"status": "success", "error_message": r"back\slash", "session_id": "s1", "latency_ms": 101},
}


@pytest.fixture(scope="module", autouse=True)
def runs(module_store: Store) -> dict[str, int]:
    """The runs above, an hour apart from noon on, by name."""
    return {
        name: module_store.run(model=name, created_at=NOON + timedelta(hours=hour), **values)
        for hour, (name, values) in enumerate(RUNS.items())
    }


def names(api: Api, **variables: Any) -> str:
    edges = api.data(RUN_LOGS, variables)["runLogs"]["edges"]
    return "".join(edge["node"]["model"] for edge in edges)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "abcdefgh"),
        ({"siteId": "berlin"}, "abdefh"),
        ({"siteId": "nowhere"}, ""),
        ({"siteId": ""}, ""),
        ({"appType": "mail"}, "df"),
        ({"appType": "MAIL"}, ""),
        ({"status": ["SUCCESS"]}, "ah"),
        ({"status": ["FAILED", "TIMEOUT", "CIRCUIT_OPEN"]}, "bcd"),
        ({"status": ["RUNNING", "PENDING", "RUNNING"]}, "ef"),
        ({"status": ["UNKNOWN"]}, "g"),
        ({"status": ["UNKNOWN", "SUCCESS"]}, "agh"),
        ({"status": []}, ""),
        ({"status": None}, "abcdefgh"),
        ({"triggerType": "event"}, "e"),
        ({"memberId": "m1"}, "ae"),
        ({"memberId": "%"}, ""),
        ({"sessionId": "s1"}, "dh"),
        ({"model": "c"}, "c"),
        ({"createdAt": {"from": "2026-05-01T14:00:00Z"}}, "cdefgh"),
        ({"createdAt": {"to": "2026-05-01T14:00:00Z"}}, "ab"),
        ({"createdAt": {"from": "2026-05-01T15:00:00+02:00", "to": "2026-05-01T16:00:00+02:00"}}, "b"),
        ({"createdAt": {"from": "2026-05-01T13:00:00", "to": "2026-05-01T14:00:00"}}, "b"),
        ({"createdAt": {"from": "2026-05-01T14:00:00Z", "to": "2026-05-01T14:00:00Z"}}, ""),
        ({"createdAt": {}}, "abcdefgh"),
        ({"latencyMs": {"min": 100, "max": 100}}, "a"),
        ({"latencyMs": {"min": 101}}, "ch"),
        ({"latencyMs": {"max": 100}}, "a"),
        ({"latencyMs": {"min": 5, "max": 4}}, ""),
        ({"tokensUsed": {"min": 11, "max": 20}}, "b"),
        ({"tokensUsed": {"min": 2147483647}}, "f"),
        ({"errorContains": "rate"}, "bc"),
        ({"errorContains": "RATE LIMIT"}, "b"),
        ({"errorContains": "%"}, "b"),
        ({"errorContains": "_"}, "c"),
        ({"errorContains": "\\"}, "h"),
        ({"errorContains": "'; DROP TABLE biz.ai_run_logs; --"}, ""),
        ({"errorContains": ""}, "bch"),
        ({"siteId": "berlin", "appType": "chat", "status": ["SUCCESS"], "memberId": "m1"}, "a"),
        ({"siteId": "paris", "status": ["TIMEOUT"], "errorContains": "rate", "latencyMs": {"min": 1}}, "c"),
        ({"siteId": "paris", "status": ["SUCCESS"]}, ""),
        ({"memberId": "m1", "triggerType": "event", "createdAt": {"from": "2026-05-01T00:00:00Z"}}, "e"),
    ],
)
def test_only_what_matches_every_filter_is_listed(
    module_api: Api, wanted: dict[str, Any], expected: str
) -> None:
    assert names(module_api, filter=wanted) == expected[::-1]
    assert names(module_api, filter=wanted, sort="CREATED_AT_ASC") == expected
    total = module_api.data(TOTAL, {"filter": wanted})["runLogs"]["totalCount"]
    assert total == {"count": len(expected), "isExact": True}


@pytest.mark.parametrize(
    "wanted",
    [
        {"siteId": "a\x00"},
        {"memberId": "\ud800"},
        {"errorContains": "\x00"},
        {"errorContains": "\udfff"},
        {"model": "\x00"},
        {"status": ["success"]},
        {"status": [None]},
        {"latencyMs": {"min": 2**31}},
        {"createdAt": {"from": "noon"}},
        {"createdAt": {"from": 1}},
        {"nothing": 1},
    ],
)
def test_a_filter_that_cannot_be_used_is_a_coded_error(module_api: Api, wanted: dict[str, Any]) -> None:
    assert module_api.error(RUN_LOGS, {"filter": wanted})["code"] in ("BAD_USER_INPUT", "BAD_REQUEST")


@pytest.mark.parametrize("edge", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_times_at_the_edge_of_the_calendar_filter_as_others_do(module_api: Api, edge: str) -> None:
    late = edge.startswith("9999")
    assert names(module_api, filter={"createdAt": {"to" if late else "from": edge}}) == "hgfedcba"
    assert names(module_api, filter={"createdAt": {"from" if late else "to": edge}}) == ""


def test_a_time_without_an_offset_is_one_of_the_configured_zone(module_dsn: str, runs: Any) -> None:
    api = Api(module_dsn, time_zone="Asia/Kolkata")
    try:
        noon_there = {"createdAt": {"from": "2026-05-01T17:30:00", "to": "2026-05-01T17:30:01"}}
        assert names(api, filter=noon_there) == "a"
    finally:
        api.close()


def test_the_values_of_a_run_are_shown_as_they_are_stored(module_api: Api, runs: dict[str, int]) -> None:
    query = """
    query ($filter: RunLogFilter) { runLogs(filter: $filter) { edges { node {
      id siteId appType triggerType memberId sessionId model tokensUsed promptTokens completionTokens
      cachedTokens
      latencyMs status statusText errorMessage alertStatus externalId createdAt finishedAt triggerJob { id }
    } } } }
    """
    (paused,) = module_api.data(query, {"filter": {"model": "g"}})["runLogs"]["edges"]
    assert paused["node"] == {
        "id": f"run_{runs['g']}",
        "siteId": "paris",
        "appType": "chat",
        "triggerType": "manual",
        "memberId": None,
        "sessionId": None,
        "model": "g",
        "tokensUsed": 100,
        "promptTokens": None,
        "cachedTokens": 40,
        "completionTokens": None,
        "latencyMs": None,
        "status": "UNKNOWN",
        "statusText": "paused",
        "errorMessage": None,
        "alertStatus": None,
        "externalId": None,
        "createdAt": "2026-05-01T18:00:00+00:00",
        "finishedAt": None,
        "triggerJob": None,
    }
    (failed,) = module_api.data(query, {"filter": {"model": "b"}})["runLogs"]["edges"]
    assert (failed["node"]["status"], failed["node"]["alertStatus"]) == ("FAILED", "PENDING")
    (huge,) = module_api.data(query, {"filter": {"model": "f"}})["runLogs"]["edges"]
    assert huge["node"]["tokensUsed"] == 2**33


def test_texts_are_read_by_one_statement_more_and_only_when_selected(module_api: Api) -> None:
    plain = "{ runLogs { edges { node { id status errorMessage } } } }"
    texts = "{ runLogs { edges { node { id requestPrompt responseText } } } }"
    assert module_api.statements(plain) == 1
    assert module_api.statements(texts) == 2


def test_a_total_is_counted_only_when_selected(module_api: Api) -> None:
    assert module_api.statements("{ runLogs { edges { cursor } pageInfo { endCursor } } }") == 1
    assert module_api.statements("{ runLogs { totalCount { count } } }") == 2


# Pages.


@pytest.fixture(scope="module")
def ties(module_store: Store) -> list[str]:
    """Forty runs of the site `ties` in five instants, newest first, as typed ids."""
    made = [
        module_store.run(site_id="ties", model="t", created_at=NOON + timedelta(seconds=number % 5))
        for number in range(40)
    ]
    ordered = sorted(zip((number % 5 for number in range(40)), made, strict=True), reverse=True)
    return [f"run_{run}" for _, run in ordered]


def walk(api: Api, size: int, *, forward: bool, **variables: Any) -> Iterator[list[str]]:
    """The pages from the front by first/after, or from the back by last/before."""
    cursor = None
    while True:
        place = {"first": size, "after": cursor} if forward else {"last": size, "before": cursor}
        page = api.data(RUN_LOGS, {"filter": {"siteId": "ties"}, **place, **variables})["runLogs"]
        yield [edge["node"]["id"] for edge in page["edges"]]
        info = page["pageInfo"]
        assert info["startCursor"] == (page["edges"][0]["cursor"] if page["edges"] else None)
        assert info["endCursor"] == (page["edges"][-1]["cursor"] if page["edges"] else None)
        if not info["hasNextPage" if forward else "hasPreviousPage"]:
            return
        cursor = info["endCursor" if forward else "startCursor"]


@pytest.mark.parametrize("size", [1, 3, 8, 20, 40, 100])
@pytest.mark.parametrize("sort", ["CREATED_AT_DESC", "CREATED_AT_ASC"])
def test_walking_forwards_meets_every_row_once(
    module_api: Api, ties: list[str], sort: str, size: int
) -> None:
    pages = list(walk(module_api, size, forward=True, sort=sort))
    expected = ties if sort == "CREATED_AT_DESC" else ties[::-1]
    assert [run for page in pages for run in page] == expected
    assert {len(page) for page in pages[:-1]} <= {size}


@pytest.mark.parametrize("size", [1, 7, 20, 40, 100])
@pytest.mark.parametrize("sort", ["CREATED_AT_DESC", "CREATED_AT_ASC"])
def test_walking_backwards_meets_every_row_once(
    module_api: Api, ties: list[str], sort: str, size: int
) -> None:
    pages = list(walk(module_api, size, forward=False, sort=sort))
    expected = ties if sort == "CREATED_AT_DESC" else ties[::-1]
    assert [run for page in reversed(pages) for run in page] == expected


@pytest.mark.parametrize("forward", [True, False])
def test_rows_added_while_walking_move_nothing(api: Api, store: Store, forward: bool) -> None:
    there = [
        store.run(site_id="ties", created_at=NOON + timedelta(seconds=number % 3)) for number in range(24)
    ]
    seen: list[str] = []
    for page in walk(api, 5, forward=forward):
        seen += page
        store.run(site_id="ties", created_at=NOON + timedelta(hours=1))
        store.run(site_id="ties", created_at=NOON - timedelta(hours=1))
        store.run(site_id="ties", created_at=NOON + timedelta(seconds=1))
        if len(seen) > 200:
            break
    assert len(seen) == len(set(seen))
    assert {f"run_{run}" for run in there} <= set(seen)


def test_a_range_between_two_cursors(module_api: Api, ties: list[str]) -> None:
    edges = module_api.data(RUN_LOGS, {"filter": {"siteId": "ties"}, "first": 40})["runLogs"]["edges"]
    between = {"filter": {"siteId": "ties"}, "after": edges[4]["cursor"], "before": edges[9]["cursor"]}
    whole = module_api.data(RUN_LOGS, {**between, "first": 10})["runLogs"]
    assert [edge["node"]["id"] for edge in whole["edges"]] == ties[5:9]
    back = module_api.data(RUN_LOGS, {**between, "last": 2})["runLogs"]
    assert [edge["node"]["id"] for edge in back["edges"]] == ties[7:9]
    assert back["pageInfo"]["hasPreviousPage"] is True


def test_twenty_rows_unless_told_otherwise(module_api: Api, ties: list[str]) -> None:
    page = module_api.data(RUN_LOGS, {"filter": {"siteId": "ties"}})["runLogs"]
    assert [edge["node"]["id"] for edge in page["edges"]] == ties[:20]
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (True, False)


def test_an_empty_page_has_no_cursors(module_api: Api) -> None:
    assert module_api.data(RUN_LOGS, {"filter": {"siteId": "nowhere"}})["runLogs"] == {
        "edges": [],
        "pageInfo": {
            "hasNextPage": False,
            "hasPreviousPage": False,
            "startCursor": None,
            "endCursor": None,
        },
    }


@pytest.mark.parametrize(
    ("sizes", "argument"),
    [
        ({"first": 0}, "first"),
        ({"first": -1}, "first"),
        ({"first": 101}, "first"),
        ({"last": 0}, "last"),
        ({"last": -(2**31)}, "last"),
        ({"last": 101}, "last"),
        ({"first": 5, "last": 5}, "last"),
    ],
)
def test_page_sizes_out_of_range_are_coded_errors(
    module_api: Api, sizes: dict[str, int], argument: str
) -> None:
    error = module_api.error(RUN_LOGS, sizes)
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", argument)


def test_a_page_size_that_no_answer_could_hold_is_a_coded_error(module_api: Api) -> None:
    assert module_api.error(RUN_LOGS, {"first": 2**31 - 1})["code"] in ("BAD_USER_INPUT", "QUERY_TOO_COMPLEX")


CURSOR = cursor_at("run", NOON, 1)
BAD_CURSORS = [
    "",
    "garbage",
    "====",
    "run:1:1",
    "\x00",
    "\ud800",
    "ключ",
    "A" * 100_000,
    CURSOR[:-1],
    CURSOR[:20],
    CURSOR + "1",
    CURSOR + "\n",
    CURSOR + "0" * 16,
    CURSOR.upper(),
    CURSOR[:-1] + "١",
    CURSOR + "; DROP TABLE x",
    "run-" + "7" + "f" * 15 + "0" * 16,
    "run-" + "8" + "0" * 15 + "0" * 16,
    "run-" + "0" * 16 + "f" * 16,
    "-" + CURSOR,
    cursor_at("job", NOON, 1),
    cursor_at("alert", NOON, 1),
    cursor_at("cache", NOON, 1),
]


@pytest.mark.parametrize("argument", ["after", "before"])
@pytest.mark.parametrize("cursor", BAD_CURSORS, ids=range(len(BAD_CURSORS)))
def test_a_bad_cursor_is_a_coded_error(module_api: Api, argument: str, cursor: str) -> None:
    error = module_api.error(RUN_LOGS, {argument: cursor})
    assert error["code"] in ("BAD_USER_INPUT", "BAD_REQUEST")
    assert len(error["message"]) < 1000


def test_the_cursor_of_another_list_is_refused(module_api: Api) -> None:
    alerts = module_api.data("{ alerts(first: 1) { edges { cursor } } }")["alerts"]["edges"]
    error = module_api.error(RUN_LOGS, {"after": alerts[0]["cursor"]})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "after")
    assert error["message"] == "after is no cursor of this list."


@pytest.mark.parametrize("years", [-1900, 0, 7000])
def test_rows_of_every_age_and_id_have_a_place(api: Api, store: Store, years: int) -> None:
    for number in (1, 2**63 - 2, 2**63 - 1):
        store.run(id=number, created_at=NOON.replace(year=2026 + years))
    pages = [api.data(RUN_LOGS, {"first": 1})["runLogs"]]
    while pages[-1]["pageInfo"]["hasNextPage"]:
        pages.append(api.data(RUN_LOGS, {"first": 1, "after": pages[-1]["pageInfo"]["endCursor"]})["runLogs"])
    ids = [edge["node"]["id"] for page in pages for edge in page["edges"]]
    assert ids == [f"run_{2**63 - 1}", f"run_{2**63 - 2}", "run_1"]


def test_the_place_of_a_row_that_is_gone_is_still_a_place(api: Api, store: Store) -> None:
    runs = [store.run(created_at=NOON + timedelta(seconds=second)) for second in range(3)]
    first = api.data(RUN_LOGS, {"first": 2})["runLogs"]
    store.rows("DELETE FROM biz.ai_run_logs WHERE id = %s", (runs[1],))
    rest = api.data(RUN_LOGS, {"after": first["pageInfo"]["endCursor"]})["runLogs"]
    assert [edge["node"]["id"] for edge in rest["edges"]] == [f"run_{runs[0]}"]


def test_totals_are_exact_up_to_ten_thousand(module_api: Api, module_store: Store) -> None:
    module_store.rows(
        """
        INSERT INTO biz.ai_run_logs (site_id, app_type, status, created_at)
        SELECT site, 'chat', 'success', '2020-01-01' FROM
        (VALUES ('exact', 10000), ('more', 10001)) AS wanted (site, runs), generate_series(1, wanted.runs)
        """
    )
    exact = module_api.data(TOTAL, {"filter": {"siteId": "exact"}})["runLogs"]["totalCount"]
    more = module_api.data(TOTAL, {"filter": {"siteId": "more"}})["runLogs"]["totalCount"]
    module_store.rows("DELETE FROM biz.ai_run_logs WHERE site_id IN ('exact', 'more')")
    assert exact == {"count": 10_000, "isExact": True}
    assert more == {"count": 10_000, "isExact": False}
