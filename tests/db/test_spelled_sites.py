"""Sites that our own tables hold from before they were spelt as their column prints them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db.migrations import runner
from db.migrations.runner import apply_migrations
from db.postgres.pool import PoolSettings
from resolvers.worker.checks import check_store
from tests.api.mutations.test_record_runs import record, report
from tests.db.adopted import VARIANTS
from tests.support.api import Api
from tests.support.store import Store

BUDGET = (
    "INSERT INTO runglass.budgets (site_id, period, hard_limit, time_zone, created_by, updated_by,"
    " updated_at) VALUES (%s, %s, %s, 'UTC', 'a', 'a', %s)"
)
BATCH = (
    "INSERT INTO runglass.batches (site_id, app_types, member_ids, status, estimated_calls, "
    " estimated_tokens, app_estimates, created_by, expires_at)"
    " VALUES (%s, '{chat}', '{1}', 'estimated', 1, 1, '[]', 'a', now())"
)
TABLES = ("budgets", "batches", "job_queue", "site_turns", "audit_log", "run_external_ids")


def migrate_to(dsn: str, folder: Path, last: str) -> None:
    for file in Path(runner.__file__).parent.glob("*.sql"):
        if file.name[:4] <= last:
            shutil.copy(file, folder)
    asyncio.run(apply_migrations(dsn, folder=folder))


def sites(store: Store, table: str) -> list[Any]:
    return [row["site_id"] for row in store.rows(f"SELECT site_id FROM runglass.{table} ORDER BY 1")]


@pytest.mark.parametrize("kind", ["integers", "texts"])
def test_stored_sites_are_spelt_once_and_collisions_are_told(
    empty_dsn: str, tmp_path: Path, kind: str
) -> None:
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(VARIANTS[kind].sql())
    migrate_to(empty_dsn, tmp_path, "0071")
    store = Store(empty_dsn)
    for place, (site, period, limit) in enumerate(
        [("7", "daily", 10), ("007", "daily", 20), ("07", "monthly", 30), (" 7", "monthly", 40),
         (None, "daily", 50), ("acme", "daily", 60), ("99999999999", "daily", 70)]
    ):  # fmt: skip
        store.rows(BUDGET, (site, period, limit, f"2026-05-{place + 1:02}"))
    for site in ("7", "007", "acme"):
        store.rows(BATCH, (site,))
        store.rows(
            "INSERT INTO runglass.audit_log (actor, action, site_id, target_kind)"
            " VALUES ('a', 'b', %s, 'site')",
            (site,),
        )
        store.rows("INSERT INTO runglass.site_turns VALUES (%s, 3)", (site,))
    store.rows(
        "INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank) VALUES (1, '+7', '{chat}', 0)"
    )
    store.rows(
        "INSERT INTO runglass.api_keys (name, role, key_hash, key_prefix, sites, created_by)"
        " VALUES ('k', 'viewer', sha256('k'), 'p', '{007,7,acme}', 'a')"
    )
    runs = [
        store.run(site_id=7, member_id=1, created_at=f"2026-05-0{day}", external_id="x") for day in (1, 2, 3)
    ]
    for site, name, run, day in (
        ("7", "x", runs[0], 1), ("007", "x", runs[1], 2), ("07", "y", runs[1], 2), (" 7", "y", runs[2], 3),
    ):  # fmt: skip
        store.rows(
            "INSERT INTO runglass.run_external_ids VALUES (%s, %s, %s, %s)",
            (site, name, run, f"2026-05-0{day}"),
        )
    store.rows(
        "INSERT INTO runglass.run_external_ids SELECT '007', 'many ' || n, n, now()"
        " FROM generate_series(1, 12000) AS n"
    )
    before = {table: sites(store, table) for table in TABLES}
    told: list[str] = []
    asyncio.run(apply_migrations(empty_dsn, tell=told.append))

    if kind == "texts":
        assert {table: sites(store, table) for table in TABLES} == before
        assert told == []
        store.connection.close()
        return
    limits = store.rows("SELECT site_id, hard_limit FROM runglass.budgets ORDER BY id")
    assert [(row["site_id"], row["hard_limit"]) for row in limits] == [
        ("7", 10), ("7", 40), (None, 50), ("acme", 60), ("99999999999", 70),
    ]  # fmt: skip
    assert len(told) == 2
    assert "budget 2 of site '007'" in told[0]
    assert "budget 3 of site '07'" in told[0]
    assert told[1].startswith("2 external ids are those of other runs")
    assert sites(store, "batches") == sites(store, "audit_log") == ["7", "7", "acme"]
    assert sites(store, "site_turns") == ["7", "acme"]
    assert sites(store, "job_queue") == ["7"]
    assert store.value("SELECT sites FROM runglass.api_keys") == ["7", "acme"]
    assert set(sites(store, "run_external_ids")) == {"7"}
    ids = store.rows(
        "SELECT external_id, run_id FROM runglass.run_external_ids WHERE external_id IN ('x', 'y')"
    )
    assert {row["external_id"]: row["run_id"] for row in ids} == {"x": runs[0], "y": runs[2]}
    assert store.value("SELECT count(*) FROM runglass.run_external_ids") == 12_002

    lines = asyncio.run(check_store(empty_dsn, PoolSettings()))
    (line,) = [line for line in lines if "no run can be" in line]
    assert "'acme' of budgets" in line
    assert "'99999999999' of budgets" in line
    assert "'acme' of keys" in line
    assert "'7'" not in line
    api = Api(empty_dsn)
    try:
        assert record(api, report(siteId="007", externalId="y", status="FAILED"))["changed"] == 1
    finally:
        api.close()
    assert store.value("SELECT status FROM biz.ai_run_logs WHERE id = %s", (runs[2],)) == "failed"
    store.connection.close()


@pytest.mark.parametrize(
    ("kind", "given", "spelled"),
    [
        ("int2", "+007", "7"), ("int2", "32768", None), ("int2", "-32768", "-32768"), ("int4", "acme", None),
        ("int8", " 9223372036854775807\t", "9223372036854775807"), ("int8", "9223372036854775808", None),
        ("numeric", "07.50", "7.5"), ("numeric", "1e3", None),
        ("uuid", "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("uuid", "a0eebc99", None), (None, " x", " x"),
    ],
)  # fmt: skip
def test_the_database_spells_as_the_service_does(
    store: Store, kind: str | None, given: str, spelled: str | None
) -> None:
    assert store.value("SELECT runglass.spelled_site(%s, %s)", (given, kind)) == spelled
