"""Adopted times without a zone: their zone is chosen once, for reading, writing, sums and paging alike."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from psycopg import sql

from db.migrations.runner import MigrationError, apply_migrations
from resolvers.imports.load import import_run_logs
from resolvers.imports.options import ImportOptions
from tests.api.mutations.test_record_runs import record, report
from tests.db.test_odd_rows import ODD_TABLES
from tests.support.api import Api
from tests.support.store import Store

SHANGHAI = ZoneInfo("Asia/Shanghai")
RUNS = """
query ($filter: RunLogFilter, $first: Int, $after: String) {
  runLogs(filter: $filter, first: $first, after: $after) {
    edges { cursor node { createdAt finishedAt tokensUsed } } pageInfo { endCursor hasNextPage }
  }
}
"""
TREND = '{ dashboard(timeZone: "Asia/Shanghai") { trend(days: 3) { date calls tokens } today { calls } } }'


@pytest.fixture
def dsn(empty_dsn: str) -> str:
    """An adopted database that writes the time of Shanghai into columns without a zone."""
    name = psycopg.conninfo.conninfo_to_dict(empty_dsn)["dbname"]
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(ODD_TABLES.format(time="timestamp"))
        alter = sql.SQL("ALTER DATABASE {} SET TimeZone = 'Asia/Shanghai'")
        connection.execute(alter.format(sql.Identifier(str(name))))
    with psycopg.connect(empty_dsn, autocommit=True) as service:
        for hours in range(60):
            service.execute(
                "INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, created_at)"
                " VALUES ('s', 'chat', 'success', 1, now() - %s * interval '1 hour')",
                (hours,),
            )
    return empty_dsn


def migrated(dsn: str, zone: str | None = None) -> list[str]:
    said: list[str] = []
    asyncio.run(apply_migrations(dsn, stored_time_zone=zone, tell=said.append))
    return [line for line in said if "without a zone" in line]


@pytest.fixture
def adopted(dsn: str) -> str:
    """The same after it was migrated."""
    assert "Asia/Shanghai" in migrated(dsn)[0]
    assert migrated(dsn) == []
    return dsn


def moments(api: Api, **variables: Any) -> list[datetime]:
    edges = api.data(RUNS, variables)["runLogs"]["edges"]
    return [datetime.fromisoformat(edge["node"]["createdAt"]) for edge in edges]


def test_rows_are_read_paged_and_filtered_as_the_service_means_them(adopted: str, api: Api) -> None:
    found: list[datetime] = []
    after = None
    while True:
        page = api.data(RUNS, {"first": 7, "after": after})["runLogs"]
        found += [datetime.fromisoformat(edge["node"]["createdAt"]) for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
        if not page["pageInfo"]["hasNextPage"]:
            break
    assert len(found) == 60
    assert found == sorted(found, reverse=True)
    assert {time.utcoffset() for time in found} == {timedelta()}
    assert abs(found[0] - datetime.now(UTC)) < timedelta(minutes=5)
    wanted = {"createdAt": {"from": found[9].isoformat(), "to": found[4].isoformat()}}
    assert moments(api, filter=wanted) == found[5:10]


def test_sums_are_those_of_its_own_days(adopted: str, api: Api, store: Store) -> None:
    store.rows(
        "INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, created_at)"
        " SELECT 's', 'chat', 'success', 5, now() AT TIME ZONE 'Asia/Shanghai'"
    )
    counted = {
        str(row["day"]): (row["calls"], row["tokens"])
        for row in store.rows(
            "SELECT created_at::date AS day, count(*) AS calls, sum(tokens_used) AS tokens"
            " FROM biz.ai_run_logs GROUP BY 1"
        )
    }
    trend = api.data(TREND)["dashboard"]["trend"]
    assert {day["date"]: (day["calls"], day["tokens"]) for day in trend} == {
        day["date"]: counted[day["date"]] for day in trend
    }
    assert sum(day["calls"] for day in trend) >= 49


def test_what_is_written_is_local_and_comes_back_as_it_was(
    adopted: str, api: Api, store: Store, tmp_path: Path
) -> None:
    store.rows("DELETE FROM biz.ai_run_logs")
    created, finished = "2026-03-01T10:00:00+00:00", "2026-03-01T10:00:05+00:00"
    record(api, report(siteId="s", externalId="x", status="RUNNING", createdAt=created))
    record(api, report(siteId="s", externalId="x", finishedAt=finished))
    (row,) = store.rows("SELECT created_at::text, finished_at::text FROM biz.ai_run_logs")
    assert row == {"created_at": "2026-03-01 18:00:00", "finished_at": "2026-03-01 18:00:05"}
    (node,) = [edge["node"] for edge in api.data(RUNS)["runLogs"]["edges"]]
    assert (node["createdAt"], node["finishedAt"]) == (created, finished)

    file = tmp_path / "runs.csv"
    file.write_text("site_id,app_type,created_at,external_id\ns,chat,2026-03-02T10:00:00Z,y\n")
    assert import_run_logs(adopted, str(file), ImportOptions()).rows == 1
    assert store.value("SELECT max(created_at)::text FROM biz.ai_run_logs") == "2026-03-02 18:00:00"
    again = record(api, report(siteId="s", externalId="y", latencyMs=3))
    assert again["changed"] == 1


def test_the_operator_may_say_the_zone(dsn: str, store: Store) -> None:
    assert "America/New_York" in migrated(dsn, "America/New_York")[0]
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT runglass.stored_time_zone()").fetchone()
    assert row == ("America/New_York",)


def test_a_zone_that_was_chosen_is_not_changed_by_a_setting(adopted: str) -> None:
    with pytest.raises(MigrationError, match="adopted with times in Asia/Shanghai"):
        migrated(adopted, "Europe/Berlin")
    assert migrated(adopted, "Asia/Shanghai") == []


def test_a_zone_without_a_name_must_be_said(dsn: str) -> None:
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, autocommit=True) as connection:
        alter = sql.SQL("ALTER DATABASE {} SET TimeZone = '<+03>-03'")
        connection.execute(alter.format(sql.Identifier(str(name))))
    with pytest.raises(MigrationError, match="RUNGLASS_STORED_TIME_ZONE"):
        migrated(dsn)
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT to_regclass('runglass.batches')").fetchone() == (None,)
