"""Whatever a service writes into its own table: its write succeeds, sums are right, and folding goes on."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from db.migrations.runner import apply_migrations
from db.postgres.connection import Connection
from resolvers.budgets.budget_events import tell_thresholds
from tests.api.mutations.test_set_budget import set_budget
from tests.api.queries.test_budget import BUDGET
from tests.api.queries.test_dashboard import DASHBOARD
from tests.db.adopted import VARIANTS
from tests.db.recount import BOUNDS, check, connect, fold, in_utc, rebuild
from tests.support.api import Api
from tests.support.store import Store

NANOSECONDS = 1_764_460_800_123_456_789
LARGEST = 2**63 - 1

# A column's type; what a service may write; what of it counts, None where it counts as no number.
VALUES: dict[str, list[tuple[str, int | None]]] = {
    "smallint": [("-32768", -32768), ("32767", 32767)],
    "integer": [("-2147483648", -(2**31)), ("2147483647", 2**31 - 1)],
    "bigint": [(str(-(2**63)), -(2**63)), (str(LARGEST), LARGEST), ("7", 7)],
    "numeric": [
        ("NaN", None), ("Infinity", None), ("-Infinity", None), ("1e300", None), ("-1e300", None),
        (str(LARGEST), LARGEST), (str(2**63), None), ("12.4", 12), ("-3", -3),
    ],
    "numeric(30,2)": [("9999999999999999999999.99", None), ("41.60", 42)],
    "real": [
        ("NaN", None), ("Infinity", None), ("-Infinity", None), ("3e38", None),
        ("-3e38", None), ("6", 6),
    ],
    "double precision": [
        ("NaN", None), ("Infinity", None), ("-Infinity", None), ("1e308", None), ("-1e308", None),
        ("9.223372036854775807e18", None), ("9.2e18", 9_200_000_000_000_000_000), ("1e-320", 0), ("8", 8),
    ],
    # A domain.
    "amount": [("NaN", None), ("Infinity", None), ("9" * 40, None), ("3.7", 4), ("-5", -5), ("12", 12)],
}  # fmt: skip
DATES = [
    None, "infinity", "-infinity", "0001-06-01", "0044-03-15 BC", "4713-01-01 BC", "12026-11-24",
    "294276-12-31", "9998-12-31", "0002-01-01", "2026-11-24",
]  # fmt: skip
TABLE = """
CREATE DOMAIN amount AS numeric;
CREATE SCHEMA biz;
CREATE TABLE biz.ai_run_logs (id bigserial PRIMARY KEY, site_id text, app_type text, trigger_type text,
    member_id text, session_id text, request_prompt text, response_text text, tokens_used {tokens},
    latency_ms {latency}, status text, error_message text, alert_status text, created_at {time},
    finished_at {time});
INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, latency_ms, created_at) VALUES
"""
COUNTED = """
SELECT sum(calls), sum(tokens), sum(latency_ms_sum), sum(latency_calls)
FROM runglass.run_usage WHERE level = 3
"""


def totals(dsn: str) -> tuple[Any, ...]:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(COUNTED).fetchone()
    assert row
    return row


@pytest.mark.parametrize("kind", VALUES)
def test_numbers_of_any_type_are_counted_and_never_stop_their_writer(empty_dsn: str, kind: str) -> None:
    dsn = in_utc(empty_dsn)
    values = VALUES[kind]
    insert = (
        "INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, latency_ms, created_at)"
        f" VALUES ('north', 'chat', 'success', %s::text::{kind}, %s::text::{kind}, '2026-11-24 10:00')"
    )
    first = ", ".join(
        f"('north', 'chat', 'success', '{text}'::{kind}, '{text}'::{kind}, '2026-11-24')"
        for text, _ in values
    )
    counts = [count for _, count in values]
    expected = (
        len(counts),
        sum(count or 0 for count in counts),
        len([count for count in counts if count is not None]),
    )
    with connect(dsn) as connection:
        connection.execute(TABLE.format(tokens=kind, latency=kind, time="timestamptz") + first)
        asyncio.run(apply_migrations(dsn))
        assert totals(dsn) == (expected[0], expected[1], expected[1], expected[2])
        for text, _ in values:
            connection.execute(insert, (text, text))
        connection.execute(
            "UPDATE biz.ai_run_logs SET status = 'failed', created_at = created_at + interval '1 s'"
        )
        fold(dsn)
        twice = tuple(2 * part for part in (expected[0], expected[1], expected[1], expected[2]))
        assert totals(dsn) == twice
        assert rebuild(dsn) == 2 * len(values)
        assert totals(dsn) == twice
        connection.execute("DELETE FROM biz.ai_run_logs")
        fold(dsn)
        assert totals(dsn) == (None, None, None, None)


@pytest.mark.parametrize("kind", ["timestamptz", "timestamp"])
def test_dates_of_any_kind_never_stop_their_writer(empty_dsn: str, kind: str) -> None:
    dsn = in_utc(empty_dsn)
    rows = ", ".join(
        "('north', 'chat', 'success', 3, 4, {})".format("NULL" if date is None else f"'{date}'")
        for date in DATES
    )
    statement = TABLE.format(tokens="bigint", latency="integer", time=kind) + rows
    with connect(dsn) as connection:
        connection.execute(statement)
        asyncio.run(apply_migrations(dsn))
        assert totals(dsn) == (3, 9, 12, 3)
        connection.execute(statement[statement.index("INSERT") :])
        connection.execute("UPDATE biz.ai_run_logs SET tokens_used = 5")
        fold(dsn)
        assert totals(dsn) == (6, 30, 24, 6)
        assert rebuild(dsn) == 6
        connection.execute("DELETE FROM biz.ai_run_logs")
        fold(dsn)
        assert totals(dsn) == (None, None, None, None)


def test_names_of_any_length_never_stop_a_fold(empty_dsn: str) -> None:
    dsn = in_utc(empty_dsn)
    # Two fit into an index of the log itself, three into none.
    long = [
        "".join(chr(0x4E00 + (n * 7919 + m) % 20_000) for n in range(length))
        for m, length in enumerate((290, 290, 600))
    ]
    with connect(dsn) as connection:
        connection.execute(TABLE.format(tokens="bigint", latency="integer", time="timestamptz")
            + "('north', 'chat', 'success', 3, 4, '2026-11-24')")  # fmt: skip
        connection.execute("UPDATE biz.ai_run_logs SET site_id = %s, app_type = %s, status = %s", long)
        asyncio.run(apply_migrations(dsn))
        connection.execute("INSERT INTO biz.ai_run_logs (site_id, created_at) VALUES ('north', '2026-11-24')")
        fold(dsn)
    assert totals(dsn)[0] == 2


@pytest.mark.parametrize("how", ["not folded", "folded", "recounted"])
def test_tokens_beyond_64_bits_are_summed_to_the_token_everywhere(
    dsn: str, store: Store, how: str, request: pytest.FixtureRequest
) -> None:
    """Six runs with a time in nanoseconds for their tokens, and one of another site."""
    for number in range(6):
        store.add("biz.ai_run_logs", site_id="north", app_type="chat", status="success",
            tokens_used=NANOSECONDS, latency_ms=number)  # fmt: skip
    store.add("biz.ai_run_logs", site_id="south", app_type="mail", status="success", tokens_used=5)
    if how == "folded":
        assert fold(dsn) == 7
    elif how == "recounted":
        assert rebuild(dsn) == 7
    # Its upkeep folds too, so it is started last.
    poisoned: Api = request.getfixturevalue("api")
    whole = 6 * NANOSECONDS + 5
    assert whole > 2**63
    assert store.value("SELECT sum(tokens_used) FROM biz.ai_run_logs") == Decimal(whole)
    shown = poisoned.data(DASHBOARD, {"days": 1})["dashboard"]
    assert shown["today"]["tokens"] == whole == shown["trend"][0]["tokens"]
    assert {app["appType"]: app["tokens"] for app in shown["appDistribution"]} == {
        "chat": whole - 5, "mail": 5,
    }  # fmt: skip
    assert shown["budget"]["daily"]["used"] == whole == shown["budget"]["monthly"]["used"]
    other = poisoned.data(DASHBOARD, {"days": 1, "siteId": "south"})["dashboard"]
    assert other["today"]["tokens"] == 5 == other["budget"]["daily"]["used"]
    budget = poisoned.data(BUDGET, {})["budget"]
    assert budget["daily"]["used"] == whole
    asyncio.run(check(in_utc(dsn), *BOUNDS))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_budget_of_such_tokens_is_told(empty_dsn: str, name: str) -> None:
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(VARIANTS[name].sql())
        largest = LARGEST if name != "integers" else 2**31 - 1
        connection.execute("UPDATE biz.ai_run_logs SET tokens_used = %s, created_at = now()", (largest,))
    asyncio.run(apply_migrations(empty_dsn))
    api = Api(empty_dsn)
    try:
        for period in ("DAILY", "MONTHLY"):
            budget = set_budget(api, siteId="1", period=period, hardLimit=10)
            assert budget["status"]["used"] == 21 * largest
        api.runner.run(tell(empty_dsn))
        events = api.data("{ budgetEvents { edges { node { usedTokens } } } }")["budgetEvents"]["edges"]
        assert len(events) == 6
        assert {event["node"]["usedTokens"] for event in events} == {min(21 * largest, LARGEST)}
    finally:
        api.close()


async def tell(dsn: str) -> int:
    async with await Connection.connect(dsn, autocommit=True) as connection:
        return await tell_thresholds(connection)
