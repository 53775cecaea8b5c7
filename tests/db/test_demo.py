"""Loading the demo into a real database, once."""

from __future__ import annotations

import asyncio

import psycopg
import pytest

from db.postgres.errors import Unavailable
from resolvers.demo.load import DemoSummary, load_demo

COUNTS = """
SELECT (SELECT count(*) FROM biz.ai_run_logs), (SELECT count(*) FROM biz.ai_trigger_jobs),
    (SELECT count(*) FROM biz.ai_cache)
"""


def test_two_loaders_at_once_load_it_once(dsn: str) -> None:
    async def load_twice() -> list[DemoSummary]:
        return await asyncio.gather(load_demo(dsn), load_demo(dsn))

    first, second = sorted(asyncio.run(load_twice()), key=lambda summary: summary.loaded)
    assert first == DemoSummary(loaded=False)
    with psycopg.connect(dsn) as connection:
        assert connection.execute(COUNTS).fetchone() == (second.runs, second.jobs, second.cache_entries)
        # Later jobs get ids of their own, and no month's rows lie in a stretch between months.
        added = connection.execute(
            "INSERT INTO biz.ai_trigger_jobs (site_id, event_type) VALUES ('a', 'b') RETURNING id"
        ).fetchone()
        assert added == (second.jobs + 1,)
        assert connection.execute(
            "SELECT count(*) FROM biz.ai_run_logs AS run JOIN runglass.run_log_parts() ON part = run.tableoid"
            " WHERE is_stretch"
        ).fetchone() == (0,)
    assert asyncio.run(load_demo(dsn)) == DemoSummary(loaded=False)


def test_every_model_of_the_demo_has_a_price_at_all_times(dsn: str) -> None:
    asyncio.run(load_demo(dsn))
    with psycopg.connect(dsn) as connection:
        unpriced = connection.execute(
            "SELECT count(*) FROM biz.ai_run_logs AS run WHERE NOT EXISTS (SELECT FROM runglass.model_prices"
            " AS price WHERE price.model = run.model AND valid_from <= run.created_at)"
        )
        assert unpriced.fetchone() == (0,)
        odd = (
            "SELECT count(*) FROM runglass.model_prices WHERE extract(minute FROM valid_from)::int % 15 <> 0"
        )
        assert connection.execute(odd).fetchone() == (0,)


@pytest.mark.parametrize(
    "row",
    [
        "INSERT INTO biz.ai_run_logs (site_id, app_type) VALUES ('a', 'chat')",
        "INSERT INTO biz.ai_trigger_jobs (site_id, event_type) VALUES ('a', 'x')",
        "INSERT INTO biz.ai_cache (site_id, cache_type) VALUES ('a', 'chat')",
    ],
)
def test_a_store_that_holds_anything_is_left_alone(dsn: str, row: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(row)
        connection.commit()
        before = connection.execute(COUNTS).fetchone()
        assert asyncio.run(load_demo(dsn)) == DemoSummary(loaded=False)
        assert connection.execute(COUNTS).fetchone() == before


def test_a_load_that_fails_leaves_nothing(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("ALTER TABLE biz.ai_cache DROP COLUMN expires_at")
        connection.commit()
        with pytest.raises(psycopg.errors.UndefinedColumn):
            asyncio.run(load_demo(dsn))
        assert connection.execute(COUNTS).fetchone() == (0, 0, 0)


def test_a_database_that_is_gone_is_told(dsn: str) -> None:
    with pytest.raises(Unavailable):
        asyncio.run(load_demo(dsn.replace("test_", "gone_")))
