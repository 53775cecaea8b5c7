"""A rate limit for each caller, over every process, at few statements."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from limits import parse

from db.postgres.connection import Connection
from db.postgres.pool import Database
from graph.settings.config import SettingsError, load_settings
from resolvers.access.rate_limits import RateLimited, RateLimiter
from tests.support.api import Api
from tests.support.store import Store

VIEWER = "{ viewer { name } }"


@pytest.fixture
def limited(dsn: str) -> Iterator[Api]:
    """An app that allows each caller 60 requests a day."""
    api = Api(dsn, rate_limit="60/day")
    yield api
    api.close()


def test_what_is_above_the_limit_is_told_when_to_come_back(limited: Api) -> None:
    async def send() -> list[httpx.Response]:
        return await asyncio.gather(*(limited.post(VIEWER) for _ in range(70)))

    answers = limited.runner.run(send())

    assert Counter(answer.status_code for answer in answers) == {200: 60, 429: 10}
    refused = next(answer for answer in answers if answer.status_code == 429)
    extensions = refused.json()["errors"][0]["extensions"]
    assert extensions["code"] == "RATE_LIMITED"
    assert 0 < extensions["retryAfter"] <= 86_400
    assert refused.headers["retry-after"] == str(extensions["retryAfter"])


def test_callers_do_not_spend_each_others_allowance(limited: Api) -> None:
    other = limited.as_key()
    for _ in range(60):
        limited.data(VIEWER)
    assert limited.execute(VIEWER)["errors"][0]["extensions"]["code"] == "RATE_LIMITED"
    assert other.data(VIEWER) == {"viewer": {"name": "another"}}


def test_a_request_without_a_caller_spends_nothing(limited: Api, store: Store) -> None:
    limited.headers = {}
    assert limited.execute(VIEWER)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert store.rows("SELECT * FROM runglass.rate_limits") == []


def test_a_period_that_is_over_counts_no_more(limited: Api, store: Store) -> None:
    limited.data(VIEWER)
    store.rows("UPDATE runglass.rate_limits SET taken = 1000, period = period - 1")
    for _ in range(59):
        limited.data(VIEWER)


class SpendingConnection(Connection):
    """Counts the statements that take of an allowance."""

    statements = 0

    async def fetch(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
        SpendingConnection.statements += "rate_limits" in sql
        return await super().fetch(sql, *args, **kwargs)


def spend(dsn: str, processes: int, requests: int, limit: str) -> tuple[Counter[bool], int]:
    """What became of requests that several processes took turns in, and how many statements they ran."""
    settings = load_settings(database_url=dsn, rate_limit=limit)

    async def run() -> Counter[bool]:
        databases = [
            Database(dsn, settings.pool, connection_class=SpendingConnection) for _ in range(processes)
        ]
        limiters = [RateLimiter(database, parse(limit)) for database in databases]
        for database in databases:
            await database.open()
        outcomes: Counter[bool] = Counter()
        for number in range(requests):
            try:
                await limiters[number % processes].spend("key_1")
                outcomes[True] += 1
            except RateLimited:
                outcomes[False] += 1
        for database in databases:
            await database.close()
        return outcomes

    SpendingConnection.statements = 0
    return asyncio.run(run()), SpendingConnection.statements


def test_processes_share_one_allowance(dsn: str) -> None:
    outcomes, _ = spend(dsn, processes=4, requests=300, limit="200/day")
    assert outcomes == {True: 200, False: 100}


def test_a_thousand_requests_cost_twenty_statements(dsn: str) -> None:
    outcomes, statements = spend(dsn, processes=1, requests=1_500, limit="1000/day")
    assert outcomes == {True: 1_000, False: 500}
    assert statements == 20


@pytest.mark.parametrize("rate", ["many", "0/minute", "5", "-1/second", "1/fortnight"])
def test_a_rate_that_is_none_stops_the_start(rate: str) -> None:
    with pytest.raises(SettingsError, match="RUNGLASS_RATE_LIMIT"):
        load_settings(rate_limit=rate)
