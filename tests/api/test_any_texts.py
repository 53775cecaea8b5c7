"""Whatever texts are stored and however a list is asked for, the standard executor says the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.types.json import Jsonb

from graph.types.ids import Kind
from graph.types.pagination import cursor_at
from tests.support.api import Api, Client
from tests.support.store import Store

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
# What ends strings, rows and escapes where JSON or SQL is put together or taken apart as text.
NASTY = (
    *(
        "},{",
        '"},{"',
        '"}',
        "}]}",
        "[{",
        '":"',
        ",",
        '"',
        "\\",
        '\\"',
        "\\\\",
        "\\u0022",
        "\\ud83d",
        "\\n",
        "\n",
    ),
    *(
        "\x01",
        "\x1f",
        "\x7f",
        "\x85",
        "\u2028",
        "\u2029",
        "\ufeff",
        "\uffff",
        "\U0010ffff",
        "🙂",
        "e\u0301",
        "'",
    ),
    *("%s", "%(scope_site)s", "{scope}", "$1", "null", " ", "\t", "</script>", "--", "/*", "É", "ß", "İ"),
)
ENDS = ("", "},{", '"},{"', '"}', '":"', "\\")
PIECE = st.sampled_from(NASTY) | st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4
)
TEXT = st.builds("".join, st.tuples(PIECE, PIECE, st.sampled_from(ENDS)))
NAME = st.from_regex(r"[_A-Za-z][_0-9A-Za-z]{0,7}", fullmatch=True)
PAGE_INFO = ("hasNextPage", "hasPreviousPage", "startCursor", "endCursor", "__typename")


class Listed(NamedTuple):
    """A list, its table, the columns of text behind its fields, and its other fields."""

    table: str
    kind: Kind
    texts: dict[str, str]
    others: tuple[str, ...]
    constants: dict[str, Any] = {}


LISTS = {
    "runLogs": Listed(
        "biz.ai_run_logs",
        Kind.RUN,
        {
            **{"siteId": "site_id", "appType": "app_type", "triggerType": "trigger_type", "model": "model"},
            **{"memberId": "member_id", "sessionId": "session_id", "errorMessage": "error_message"},
            **{"statusText": "status", "externalId": "external_id"},
            **{"requestPrompt": "request_prompt", "responseText": "response_text"},
        },
        ("id", "status", "tokensUsed", "createdAt", "alertStatus", "cost", "triggerJob { id }", "__typename"),
    ),
    "alerts": Listed(
        "biz.ai_run_logs",
        Kind.ALERT,
        {
            **{"siteId": "site_id", "appType": "app_type", "triggerType": "trigger_type"},
            **{
                "memberId": "member_id",
                "errorMessage": "error_message",
                "alertChangedBy": "alert_changed_by",
            },
        },
        ("id", "runStatus", "alertStatus", "createdAt", "runLog { id errorMessage }", "__typename"),
        {"status": "failed"},
    ),
    "triggerJobs": Listed(
        "biz.ai_trigger_jobs",
        Kind.JOB,
        {
            **{"siteId": "site_id", "eventType": "event_type", "connectorType": "connector_type"},
            **{"memberId": "member_id", "errorMessage": "error_message", "statusText": "status"},
        },
        ("id", "status", "createdAt", "retryOf { id }", "runLogs { totalCount { count } }", "__typename"),
        {"app_chain": ["chat"], "payload": Jsonb({})},
    ),
    "cacheEntries": Listed(
        "biz.ai_cache",
        Kind.CACHE,
        {"siteId": "site_id", "appType": "cache_type", "memberId": "target_id", "statusText": "status"},
        ("id", "status", "isExpired", "createdAt", "result", "__typename"),
        {"result": Jsonb({"},{": '"},{"'})},
    ),
}


class Asked(NamedTuple):
    """A document, and by which name it asks for each field of a row."""

    query: str
    names: dict[str, str]


@pytest.fixture(scope="module")
def standard(module_dsn: str) -> Iterator[Client]:
    """The app with graphql-core's own executor, as Strawberry has it."""
    standard = Api(module_dsn, fast_paths=False)
    yield standard
    standard.close()


def aliased(fields: dict[str, str]) -> str:
    return " ".join(f"{name}: {field}" for name, field in fields.items())


@st.composite
def asked(draw: st.DrawFn, name: str, rows: list[tuple[int, datetime]]) -> Asked:
    """A page of any size from either end, after or before any row, with any members by any names."""
    listed = LISTS[name]
    fields = draw(
        st.dictionaries(NAME, st.sampled_from([*listed.texts, *listed.others]), min_size=3, max_size=14)
    )
    size = draw(st.integers(1, 4) | st.just(100))
    arguments = [f"{draw(st.sampled_from(['first', 'last']))}: {size}"]
    for way in ("after", "before"):
        # Rarely, for what is not on a page says nothing.
        if rows and draw(st.integers(0, 5)) == 5:
            identity, created_at = draw(st.sampled_from(rows))
            arguments.append(f'{way}: "{cursor_at(listed.kind.value, created_at, identity)}"')
    if draw(st.booleans()):
        arguments.append("sort: CREATED_AT_ASC")
    node = f"node {{ {aliased(fields)} }}"
    members = draw(
        st.permutations([node, *draw(st.lists(NAME.map("c_{}: cursor".format), max_size=2, unique=True))])
    )
    parts = [f"edges {{ {' '.join(members)} }}"]
    if information := draw(st.dictionaries(NAME, st.sampled_from(PAGE_INFO), max_size=4)):
        parts.append(f"pageInfo {{ {aliased(information)} }}")
    selection = " ".join(draw(st.permutations(parts)))
    return Asked(f"{{ {draw(NAME)}: {name}({', '.join(arguments)}) {{ {selection} }} }}", fields)


@pytest.mark.parametrize("name", LISTS)
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(data=st.data())
def test_any_texts_in_any_list(
    module_api: Api, standard: Client, module_store: Store, name: str, data: st.DataObject
) -> None:
    listed = LISTS[name]
    # An example may end while it is drawn.
    module_store.rows(f"DELETE FROM {listed.table}")
    drawn = data.draw(st.lists(st.fixed_dictionaries(dict.fromkeys(listed.texts, TEXT)), max_size=5))
    rows: list[tuple[int, datetime]] = []
    for number, texts in enumerate(drawn):
        created_at = NOON + timedelta(seconds=number // 2)
        values = {column: texts[field] for field, column in listed.texts.items()} | listed.constants
        rows.append((module_store.add(listed.table, created_at=created_at, **values), created_at))
    query, names = data.draw(asked(name, rows))

    expected = standard.execute(query)
    assert "errors" not in expected
    # The first time, and when the document is known.
    for _ in range(3):
        assert module_api.execute(query) == expected
    # What was stored, whatever both would make of it.
    wanted = [{alias: texts[field] for alias, field in names.items() if field in texts} for texts in drawn]
    (page,) = expected["data"].values()
    for edge in page["edges"]:
        assert {alias: edge["node"][alias] for alias in names if alias in wanted[0]} in wanted
