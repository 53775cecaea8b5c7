"""The recent alerts are the ten newest, pending ones first, however many are pending."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from db.postgres.connection import Connection
from db.runs.alerts import recent_alerts
from db.sql.scope import EVERY_SITE, Scope
from tests.db.recount import NOW, add_run, connect

STATES = (None, "pending", "acknowledged", "ignored", "odd")
alerts = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(STATES), st.sampled_from(("north", "south"))), max_size=30
)


async def read(dsn: str, scope: Scope) -> list[int]:
    async with await Connection.connect(dsn, autocommit=True) as connection:
        return [row.id for row in await connection.read(recent_alerts(scope=scope))]


def test_the_ten_newest_with_pending_ones_first(database: str) -> None:
    @settings(
        max_examples=60, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(alerts)
    @example([(age, "ignored", "north") for age in range(12)] + [(20, None, "north"), (0, None, "north")])
    def compare(story: list[tuple[int, str | None, str]]) -> None:
        runs = [
            (state in (None, "pending"), NOW - timedelta(minutes=age), number, site)
            for number, (age, state, site) in enumerate(story, start=1)
        ]
        with connect(database) as connection, connection.transaction():
            connection.execute("TRUNCATE biz.ai_run_logs")
            for (_, moment, number, site), (_, state, _) in zip(runs, story, strict=True):
                alert = {"id": number, "site_id": site, "status": "failed", "alert_status": state}
                add_run(connection, created_at=moment, **alert)
            add_run(connection, id=99, site_id="north", created_at=NOW + timedelta(minutes=1))
        for scope in (EVERY_SITE, Scope.of("north")):
            ordered = sorted((run for run in runs if scope.includes(run[3])), reverse=True)
            assert asyncio.run(read(database, scope)) == [number for _, _, number, _ in ordered[:10]]

    compare()
