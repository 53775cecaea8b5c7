"""What a caller sends makes neither many statements nor long ones: PostgreSQL keeps a plan of each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from db.postgres.connection import MAX_PREPARED
from tests.support.api import Api
from tests.support.store import Store

PAGE_SIZES = 10
LONGEST = 3_000
CREATED = datetime(2026, 5, 1, tzinfo=UTC)
LISTS = {
    "runLogs": ("RunLogFilter", "id errorMessage"),
    "triggerJobs": ("TriggerJobFilter", "id payload"),
    "alerts": ("AlertFilter", "id errorMessage"),
    "batches": ("BatchFilter", "id"),
    "cacheEntries": ("CacheEntryFilter", "id result"),
    "auditLog": ("AuditLogFilter", "id after"),
}
STATUSES = {
    "runLogs": ("status", "PENDING RUNNING SUCCESS FAILED TIMEOUT CIRCUIT_OPEN UNKNOWN"),
    "triggerJobs": ("status", "PENDING RUNNING SUCCESS FAILED SKIPPED_DUPLICATE CANCELLED UNKNOWN"),
    "alerts": ("alertStatus", "PENDING ACKNOWLEDGED IGNORED UNKNOWN"),
    "batches": ("status", "ESTIMATED CONFIRMED RUNNING COMPLETED CANCELLED EXPIRED UNKNOWN"),
    "cacheEntries": ("status", "VALID INVALIDATED UNKNOWN"),
}


@pytest.fixture(scope="module", autouse=True)
def rows(module_store: Store) -> None:
    job = module_store.job(created_at=CREATED)
    for number in range(3):
        module_store.run(status="failed", created_at=CREATED, trigger_job_id=job, model=f"m{number}")
        module_store.cache(created_at=CREATED)


def statements(api: Api, requests: Iterator[tuple[str, dict[str, Any]]]) -> set[str]:
    """The different texts that the requests ran, each of which must be answered and none of which is long."""
    texts: set[str] = set()
    for query, variables in requests:
        response, ran = api.watched(api.post(query, variables))
        answer = response.json()
        assert "errors" not in answer, (query, answer["errors"])
        assert ran
        texts |= set(ran)
    assert max(map(len, texts)) < LONGEST
    return texts


def listed(name: str, arguments: str = "filter: $filter", alias: str = "") -> str:
    kind, fields = LISTS[name]
    return (
        f"query {alias or 'Q'}($filter: {kind}) {{ {alias and alias + ': '}{name}({arguments})"
        f" {{ edges {{ cursor node {{ {fields} }} }} }} }}"
    )


@pytest.mark.parametrize("name", LISTS)
def test_pages_of_any_size_make_a_few_statements(module_api: Api, name: str) -> None:
    sizes = range(1, 101, 1 if name == "runLogs" else 4)
    pages = [listed(name, f"filter: $filter, {way}: {size}") for size in sizes for way in ("first", "last")]
    assert len(statements(module_api, ((page, {}) for page in pages))) <= 2 * PAGE_SIZES + 1


def test_pages_below_rows_of_any_size_make_a_few_statements(module_api: Api) -> None:
    runs = "runLogs(first: $n) { edges { node { id } } }"
    query = f"query ($n: Int) {{ triggerJobs {{ edges {{ node {{ {runs} }} }} }} }}"
    assert len(statements(module_api, ((query, {"n": n}) for n in range(1, 101)))) <= 1 + PAGE_SIZES


@pytest.mark.parametrize("name", STATUSES)
def test_a_list_of_statuses_counts_each_once_in_whatever_order(module_api: Api, name: str) -> None:
    field, words = STATUSES[name]
    chosen, texts = random.Random(name), []
    for length in [1, 2, 3, 5, 10, 1_000] * 6:
        texts.append({"filter": {field: chosen.choices(words.split()[:3], k=length)}})
    found = statements(module_api, ((listed(name), variables) for variables in texts))
    # Of what the cache holds the answers are read as well.
    assert len(found) <= 2**3 - 1 + (name == "cacheEntries")


@pytest.mark.parametrize("name", LISTS)
def test_names_and_values_of_a_caller_are_in_no_statement(module_api: Api, name: str) -> None:
    by_value = [
        (listed(name, alias=f"a{number}"), {"filter": {"siteId": f"site-{number}"}}) for number in range(30)
    ]
    assert len(statements(module_api, iter(by_value))) == 1


VALUES = {
    "appType": "chat",
    "triggerType": "event",
    "memberId": "m",
    "sessionId": "s",
    "model": "m1",
    "errorContains": "x",
}


def test_every_value_of_a_filter_makes_one_statement(module_api: Api) -> None:
    for field, value in VALUES.items():
        requests = [(listed("runLogs"), {"filter": {field: value * n}}) for n in range(1, 30)]
        assert len(statements(module_api, iter(requests))) == 1


def test_what_postgresql_keeps_is_bounded(dsn: str) -> None:
    """Every filter there is, in hundreds of combinations, on the one connection of a pool."""
    chosen = random.Random(1)
    api = Api(dsn, pool_min_size=1, pool_max_size=1)
    try:
        for _ in range(250):
            given: dict[str, Any] = {field: value for field, value in VALUES.items() if chosen.random() < 0.4}
            given["status"] = chosen.choices(STATUSES["runLogs"][1].split(), k=chosen.randint(1, 50))
            query = listed("runLogs", f"filter: $filter, first: {chosen.randint(1, 100)}")
            # Prepared when it comes again.
            for _ in range(2):
                api.data(query, {"filter": given})
        number, longest = api.runner.run(prepared(api))
    finally:
        api.close()
    assert 100 < number <= MAX_PREPARED + 1
    assert longest < LONGEST


async def prepared(api: Api) -> tuple[int, int]:
    """How many statements the pool's connection has prepared, and how long the longest is."""
    async with api.app.state.database.connection() as connection:
        cursor = await connection.execute(
            "SELECT count(*), max(length(statement)) FROM pg_prepared_statements"
        )
        (row,) = await cursor.fetchall()
    return row[0], row[1]


def test_a_statement_is_planned_once_however_often_it_comes(dsn: str) -> None:
    api = Api(dsn, pool_min_size=1, pool_max_size=1)
    given = {"siteId": "s", "memberId": "m", "createdAt": {"from": CREATED.isoformat()}}
    try:
        for number in range(8):
            api.data(listed("runLogs"), {"filter": given | {"appType": f"app{number}", "status": ["FAILED"]}})
        assert api.runner.run(custom_plans(api)) == []
    finally:
        api.close()


async def custom_plans(api: Api) -> list[Any]:
    """The statements that PostgreSQL has planned more often than once."""
    async with api.app.state.database.connection() as connection:
        return await connection.fetch(
            "SELECT statement FROM pg_prepared_statements WHERE custom_plans > 0", {}
        )
