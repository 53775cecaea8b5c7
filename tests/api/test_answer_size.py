"""An answer has a size: long texts are cut in lists and marked, and no stored row makes a page unreadable."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from db.migrations.runner import apply_migrations
from tests.support.api import Api
from tests.support.store import Store

CUT = 2_000
LONG = "Fehler äöü\U0001f600 " * 20_000
MANY = 25


def pages(name: str, fields: str, aliases: int = 1) -> str:
    return (
        "{"
        + " ".join(f"a{n}: {name}(first: 100) {{ edges {{ node {{ {fields} }} }} }}" for n in range(aliases))
        + "}"
    )


def nodes(api: Api, name: str, fields: str) -> list[dict[str, Any]]:
    return [edge["node"] for edge in api.data(pages(name, fields))["a0"]["edges"]]


# What has a long text, how it is stored, and which object shows it.
TEXTS: dict[str, tuple[str, str, str, Callable[[Store, str], int]]] = {
    "a run's error": ("runLogs", "errorMessage", "run", lambda s, t: s.run(error_message=t)),
    "a run's prompt": ("runLogs", "requestPrompt", "run", lambda s, t: s.run(request_prompt=t)),
    "a run's response": ("runLogs", "responseText", "run", lambda s, t: s.run(response_text=t)),
    "an alert's error": (
        "alerts",
        "errorMessage",
        "alert",
        lambda s, t: s.run(status="failed", error_message=t),
    ),
    "a job's error": ("triggerJobs", "errorMessage", "job", lambda s, t: s.job(error_message=t)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_long_text_is_cut_in_lists_and_whole_by_id(api: Api, store: Store, name: str) -> None:
    connection, field, kind, add = TEXTS[name]
    add(store, "short")
    long = add(store, LONG)
    fields = f"id {field} {field}Truncated"
    listed = {node["id"]: node for node in nodes(api, connection, fields)}
    assert listed[f"{kind}_{long}"] == {
        "id": f"{kind}_{long}",
        field: LONG[:CUT],
        f"{field}Truncated": True,
    }
    (other,) = [node for node in listed.values() if node["id"] != f"{kind}_{long}"]
    assert (other[field], other[f"{field}Truncated"]) == ("short", False)
    on = {"run": "RunLog", "alert": "Alert", "job": "TriggerJob"}[kind]
    whole = {"id": f"{kind}_{long}", field: LONG, f"{field}Truncated": False}
    by_id = f'node(id: "{kind}_{long}") {{ ... on {on} {{ {fields} }} }}'
    own = {"run": "runLog", "alert": "alert", "job": "triggerJob"}[kind]
    data = api.data(f'{{ node: {by_id} own: {own}(id: "{kind}_{long}") {{ {fields} }} }}')
    assert data == {"node": whole, "own": whole}


def test_a_text_is_cut_at_its_limit_and_not_before(api: Api, store: Store) -> None:
    for length in (CUT, CUT + 1):
        store.run(error_message="x" * length)
    found = nodes(api, "runLogs", "errorMessage errorMessageTruncated")
    assert [node["errorMessage"] for node in found] == ["x" * CUT, "x" * CUT]
    assert [node["errorMessageTruncated"] for node in found] == [True, False]


def test_no_text_is_not_cut(api: Api, store: Store) -> None:
    store.run()
    store.cache(result=None)
    fields = "errorMessageTruncated requestPrompt requestPromptTruncated"
    assert nodes(api, "runLogs", fields) == [
        {"errorMessageTruncated": False, "requestPrompt": None, "requestPromptTruncated": False}
    ]
    assert nodes(api, "cacheEntries", "result resultTruncated") == [
        {"result": None, "resultTruncated": False}
    ]


def test_what_hangs_on_another_object_is_cut(api: Api, store: Store) -> None:
    job = store.job(error_message=LONG)
    run = store.run(status="failed", trigger_job_id=job, error_message=LONG, request_prompt=LONG)
    fields = "errorMessage errorMessageTruncated requestPrompt requestPromptTruncated"
    of_run = f"runLog {{ {fields} triggerJob {{ errorMessage }} }}"
    data = api.data(f'{{ alert(id: "alert_{run}") {{ errorMessage {of_run} }} }}')["alert"]
    assert data["errorMessage"] == LONG
    assert data["runLog"]["errorMessage"] == data["runLog"]["requestPrompt"] == LONG[:CUT]
    assert data["runLog"]["errorMessageTruncated"] is data["runLog"]["requestPromptTruncated"] is True
    assert data["runLog"]["triggerJob"]["errorMessage"] == LONG[:CUT]
    below = api.data(f'{{ triggerJob(id: "job_{job}") {{ runLogs {{ edges {{ node {{ {fields} }} }} }} }} }}')
    assert below["triggerJob"]["runLogs"]["edges"][0]["node"]["requestPrompt"] == LONG[:CUT]
    recent = api.data("{ dashboard { recentAlerts { errorMessage errorMessageTruncated } } }")
    assert recent["dashboard"]["recentAlerts"] == [
        {"errorMessage": LONG[:CUT], "errorMessageTruncated": True}
    ]


def test_whether_a_text_is_cut_needs_the_permission_to_read_it(api: Api, store: Store) -> None:
    run = store.run(request_prompt=LONG)
    answer = api.as_key(role="admin").execute(f'{{ runLog(id: "run_{run}") {{ requestPromptTruncated }} }}')
    assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"


def test_a_long_json_is_cut_to_the_beginning_of_its_text(api: Api, store: Store) -> None:
    large = {"order": 1, "lines": ["Ware äöü"] * 5_000}
    job, entry = store.job(payload=Jsonb(large)), store.cache(result=Jsonb(large))
    store.job(payload=Jsonb({"order": 2}))
    store.connection.execute(
        "INSERT INTO runglass.audit_log (actor, action, target_kind, before, after)"
        " VALUES ('ann', 'x', 'site', %s, %s)",
        [Jsonb(large), Jsonb({"a": 1})],
    )
    small, cut = nodes(api, "triggerJobs", "payload payloadTruncated")
    assert small == {"payload": {"order": 2}, "payloadTruncated": False}
    text = store.value("SELECT payload::text FROM biz.ai_trigger_jobs WHERE id = %s", [job])
    assert cut == {"payload": text[:CUT], "payloadTruncated": True}
    (found,) = nodes(api, "cacheEntries", "result resultTruncated")
    assert found == {"result": text[:CUT], "resultTruncated": True}
    changed = "id before beforeTruncated after afterTruncated"
    (entry_of_log,) = [each for each in nodes(api, "auditLog", changed) if each["before"]]
    assert entry_of_log["before"] == text[:CUT]
    assert (entry_of_log["beforeTruncated"], entry_of_log["afterTruncated"]) == (True, False)
    whole = api.data(
        f'{{ job: triggerJob(id: "job_{job}") {{ payload payloadTruncated }}'
        f' entry: node(id: "cache_{entry}") {{ ... on CacheEntry {{ result resultTruncated }} }}'
        f' change: node(id: "{entry_of_log["id"]}") {{ ... on AuditEntry {{ before after }} }} }}'
    )
    assert whole == {
        "job": {"payload": large, "payloadTruncated": False},
        "entry": {"result": large, "resultTruncated": False},
        "change": {"before": large, "after": {"a": 1}},
    }


ODD = {
    "a number of 400 digits": ("1" + "0" * 400, 10**400),
    "a number of 1,900 digits": ("1" * 1_900, int("1" * 1_900)),
    "a number that is no double": ("1e400", "1e400"),
    "a small number": ("1e-400", 0.0),
    "half a character": ('{"a": "\\ud800"}', '{"a": "\\ud800"}'),
    "a character that PostgreSQL has not": ('{"a": "\\u0000"}', {"a": "\0"}),
    "a name twice": ('{"a": 1, "a": 2}', {"a": 2}),
    "900 levels": ("[" * 900 + "]" * 900, "[" * 900 + "]" * 900),
    "300 levels": ("[" * 300 + "]" * 300, None),
}


@pytest.mark.parametrize("name", ODD)
def test_whatever_json_is_stored_the_page_is_readable(api: Api, store: Store, name: str) -> None:
    text, shown = ODD[name]
    store.connection.execute("ALTER TABLE biz.ai_cache ALTER COLUMN result TYPE json")
    store.connection.execute("ALTER TABLE biz.ai_trigger_jobs ALTER COLUMN payload TYPE json")
    store.connection.execute(
        "INSERT INTO biz.ai_cache (site_id, cache_type, result) VALUES ('berlin', 'chat', %s::json)", [text]
    )
    store.connection.execute(
        "INSERT INTO biz.ai_trigger_jobs (site_id, event_type, payload) VALUES ('b', 'x', %s::json)", [text]
    )
    (entry,), (job,) = nodes(api, "cacheEntries", "result"), nodes(api, "triggerJobs", "payload")
    assert entry["result"] == job["payload"]
    if shown is not None:
        assert entry["result"] == shown


def test_stored_errors_of_megabytes_make_a_small_answer(api: Api, store: Store) -> None:
    store.connection.execute(
        "INSERT INTO biz.ai_run_logs (site_id, app_type, status, error_message)"
        " SELECT 'berlin', 'chat', 'failed', repeat(md5(n::text), 30000) FROM generate_series(1, %s) AS n",
        [MANY],
    )
    response = api.runner.run(api.post(pages("runLogs", "errorMessage errorMessageTruncated", aliases=5)))
    assert "errors" not in response.json()
    assert len(response.content) < 5 * MANY * (CUT + 200)


def test_whole_texts_share_the_room_of_an_answer(dsn: str, store: Store) -> None:
    api = Api(dsn, max_answer_bytes=400_000)
    ids = [store.run(error_message="x" * 300_000) for _ in range(10)]
    try:
        one = api.data(f'{{ runLog(id: "run_{ids[0]}") {{ errorMessage errorMessageTruncated }} }}')["runLog"]
        assert (len(one["errorMessage"]), one["errorMessageTruncated"]) == (200_000, True)
        aliases = " ".join(
            f'r{run}: runLog(id: "run_{run}") {{ errorMessage errorMessageTruncated }}' for run in ids
        )
        many = api.data(f"{{ {aliases} }}")
        assert {(len(run["errorMessage"]), run["errorMessageTruncated"]) for run in many.values()} == {
            (20_000, True)
        }
    finally:
        api.close()


def test_an_answer_above_the_limit_is_one_coded_error(dsn: str, store: Store) -> None:
    api = Api(dsn, max_answer_bytes=100_000, max_list_text=5_000)
    for _ in range(30):
        store.run(error_message="x" * 5_000)
    try:
        response = api.runner.run(api.post(pages("runLogs", "errorMessage")))
        assert response.status_code == 200
        (error,) = response.json()["errors"]
        assert error["extensions"] == {"code": "ANSWER_TOO_LARGE", "maximum": 100_000}
        assert response.json()["data"] is None
        assert (
            len(api.data("{ runLogs(first: 10) { edges { node { errorMessage } } } }")["runLogs"]["edges"])
            == 10
        )
    finally:
        api.close()


def test_long_texts_weigh_more(api: Api) -> None:
    error = api.error(pages("runLogs", "errorMessage requestPrompt responseText", aliases=20))
    assert (error["code"], error["limit"]) == ("QUERY_TOO_COMPLEX", "cost")
    assert "errors" not in api.execute(pages("runLogs", "errorMessage", aliases=20))


def test_long_names_weigh_more_in_every_row(api: Api) -> None:
    """An alias of 25,000 characters in 5,000 rows would be an answer of 125 MB."""
    alias = "a" * 25_000
    rows = f"edges {{ node {{ runLogs(first: 50) {{ edges {{ node {{ {alias}: id }} }} }} }} }}"
    error = api.error(f"{{ triggerJobs(first: 100) {{ {rows} }} }}")
    assert (error["code"], error["limit"]) == ("QUERY_TOO_COMPLEX", "cost")
    assert "errors" not in api.execute(f"{{ runLogs {{ edges {{ node {{ {alias}: id }} }} }} }}")


@pytest.fixture
def careless(server_dsn: Callable[[str], str]) -> Iterator[str]:
    """A migrated database that checks no encoding."""
    name = f"careless_{os.getpid()}"
    with psycopg.connect(server_dsn("postgres"), autocommit=True) as admin:
        database = sql.Identifier(name)
        provider = sql.SQL("LOCALE_PROVIDER libc" if admin.info.server_version >= 150_000 else "")
        create = sql.SQL("CREATE DATABASE {} ENCODING 'SQL_ASCII' LOCALE 'C' {} TEMPLATE template0")
        admin.execute(create.format(database, provider))
        try:
            yield server_dsn(name)
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))


def test_odd_bytes_do_not_make_a_page_unreadable(careless: str) -> None:
    asyncio.run(apply_migrations(careless))
    with psycopg.connect(careless, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, status, error_message)"
            " VALUES ('berlin', 'chat', 'failed', convert_from('\\x66fc72'::bytea, 'SQL_ASCII'))"
        )
    api = Api(careless)
    try:
        assert nodes(api, "runLogs", "appType errorMessage") == [
            {"appType": "chat", "errorMessage": "f\ufffdr"}
        ]
    finally:
        api.close()
