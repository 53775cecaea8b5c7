"""A site spelt another way is the same site to lists, sums, budgets, keys, tokens and external ids."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db.migrations.runner import apply_migrations
from db.sql.column_forms import ColumnForm, ColumnForms
from db.sql.scope import Scope
from resolvers.imports.load import import_run_logs
from resolvers.imports.options import ImportOptions
from tests.api.mutations.test_ack_alert import ACK_ALERT
from tests.api.mutations.test_confirm_batch import CONFIRM_BATCH
from tests.api.mutations.test_create_api_key import CREATE as CREATE_API_KEY
from tests.api.mutations.test_estimate_batch import ESTIMATE_BATCH, estimate
from tests.api.mutations.test_invalidate_cache import INVALIDATE_CACHE
from tests.api.mutations.test_record_runs import RECORD_RUNS, record, report
from tests.api.mutations.test_set_budget import SET_BUDGET
from tests.api.mutations.test_set_model_price import SET_PRICE
from tests.db.adopted import VARIANTS
from tests.support.api import Api
from tests.support.store import Store

START = "2026-01-01T00:00:00Z"
SPELLINGS = ("7", "07", "007", "+7")
READ = """
query ($site: ID) {
  dashboard(siteId: $site) { siteId today { calls tokens } appHealth { appType } }
  budget(siteId: $site) { daily { used } }
  runLogs(filter: {siteId: $site}) { totalCount { count } edges { node { siteId } } }
  alerts(filter: {siteId: $site}) { totalCount { count } }
  triggerJobs(filter: {siteId: $site}) { totalCount { count } }
  batches(filter: {siteId: $site}) { totalCount { count } }
  cacheEntries(filter: {siteId: $site}) { totalCount { count } }
  budgets(siteId: $site) { totalCount { count } }
}
"""


@pytest.fixture
def dsn(empty_dsn: str) -> str:
    """A database whose sites and members are integers."""
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(VARIANTS["integers"].sql())
    asyncio.run(apply_migrations(empty_dsn))
    return empty_dsn


@pytest.fixture
def seven(store: Store) -> Store:
    """The store with a failed run and a job of the site 7."""
    store.run(site_id=7, status="failed", tokens_used=60_000, member_id=1)
    store.job(site_id=7, member_id=1, app_chain=psycopg.types.json.Jsonb(["chat"]))
    store.rows(
        "INSERT INTO biz.ai_cache (site_id, cache_type, target_id, status, created_at)"
        " VALUES (7, 'c', '1', 'valid', now())"
    )
    return store


@pytest.mark.parametrize("site", SPELLINGS)
def test_every_read_of_a_site_sees_the_same(api: Api, seven: Store, site: str) -> None:
    assert api.data(READ, {"site": site}) == api.data(READ, {"site": "7"})
    shown = api.data(READ, {"site": site})
    assert shown["dashboard"]["siteId"] == "7"
    assert shown["dashboard"]["today"] == {"calls": 1, "tokens": 60_000}
    assert shown["budget"]["daily"]["used"] == 60_000
    assert shown["runLogs"]["edges"] == [{"node": {"siteId": "7"}}]
    assert shown["alerts"]["totalCount"]["count"] == shown["cacheEntries"]["totalCount"]["count"] == 1


@pytest.mark.parametrize(
    "site", [" 7", "7 ", "٧", "7.0", "0x7", "7_0", "", "seven", str(2**31), "-" + "9" * 300]
)
def test_what_is_no_site_id_has_nothing(api: Api, seven: Store, site: str) -> None:
    shown = api.data(READ, {"site": site})
    assert shown["dashboard"]["today"]["calls"] == 0
    assert {block["totalCount"]["count"] for block in shown.values() if "totalCount" in block} == {0}


@pytest.mark.parametrize("member", ["01", "+1"])
def test_a_member_spelt_another_way_is_the_same_member(api: Api, seven: Store, member: str) -> None:
    asked = "query ($of: ID) { runLogs(filter: {memberId: $of}) { edges { node { memberId } } } }"
    assert api.data(asked, {"of": member})["runLogs"]["edges"] == [{"node": {"memberId": "1"}}]


@pytest.mark.parametrize("site", SPELLINGS)
def test_a_hard_limit_holds_however_the_site_is_spelt(api: Api, seven: Store, site: str) -> None:
    given = {"siteId": "007", "period": "DAILY", "hardLimit": 60_500}
    budget = api.data(SET_BUDGET, {"input": given})["setBudget"]
    assert budget["siteId"] == "7"

    batch = estimate(api, siteId=site, appTypes=["chat"], memberIds=["1", "01", " 1 "])
    answer = api.data(CONFIRM_BATCH, {"id": batch["id"]})["confirmBatch"]

    assert (batch["siteId"], batch["memberCount"]) == ("7", 1)
    assert answer["__typename"] == "BudgetExceeded"
    assert seven.value("SELECT count(*) FROM biz.ai_trigger_jobs WHERE batch_id IS NOT NULL") == 0


def test_a_key_of_a_site_spelt_another_way_is_a_key_of_that_site(api: Api, seven: Store) -> None:
    given = {"name": "k", "role": "VIEWER", "siteIds": ["007", "7"]}
    assert api.data(CREATE_API_KEY, {"input": given})["createApiKey"]["apiKey"]["siteIds"] == ["7"]

    # As keys were stored before ids had one form.
    old = api.as_key(role="operator", sites=["007", "x"])
    assert old.data("{ viewer { siteIds } }")["viewer"]["siteIds"] == ["7"]
    assert old.data(READ, {"site": None}) == api.data(READ, {"site": "7"}) | {
        "dashboard": api.data(READ, {"site": "7"})["dashboard"] | {"siteId": None}
    }
    other = api.as_key(role="operator", sites=["070"])
    alert = f"alert_{seven.value('SELECT max(id) FROM biz.ai_run_logs')}"
    assert other.data(ACK_ALERT, {"id": alert})["ackAlert"]["code"] == "NOT_FOUND"


def test_an_external_id_is_one_however_its_site_is_spelt(api: Api, store: Store) -> None:
    first = record(api, report(siteId="7", externalId="x", status="RUNNING"))
    again = record(api, report(siteId="007", externalId="x", status="SUCCESS"))
    assert again["runIds"] == first["runIds"]
    twice = record(api, report(siteId="7", externalId="y"), report(siteId="07", externalId="y"))
    assert (twice["code"], twice["field"]) == ("INVALID_INPUT", "externalId")
    assert store.value("SELECT count(*) FROM runglass.run_external_ids") == 1


CHANGES: dict[str, tuple[str, Callable[[str], dict[str, Any]], str]] = {
    "report's site": (RECORD_RUNS, lambda name: {"runs": [report(siteId=name)]}, "siteId"),
    "report's app": (RECORD_RUNS, lambda name: {"runs": [report(siteId="7", appType=name)]}, "appType"),
    "report's model": (RECORD_RUNS, lambda name: {"runs": [report(siteId="7", model=name)]}, "model"),
    "batch's app": (
        ESTIMATE_BATCH,
        lambda name: {"input": {"siteId": "7", "appTypes": [name], "memberIds": ["1"]}},
        "appTypes",
    ),
    "batch's site": (
        ESTIMATE_BATCH,
        lambda name: {"input": {"siteId": name, "appTypes": ["chat"], "memberIds": ["1"]}},
        "siteId",
    ),
    "budget's site": (SET_BUDGET, lambda name: {"input": _budget(siteId=name)}, "siteId"),
    "budget's app": (SET_BUDGET, lambda name: {"input": _budget(appType=name)}, "appType"),
    "price's model": (
        SET_PRICE,
        lambda name: {
            "input": {"model": name, "promptPrice": "1", "completionPrice": "1", "validFrom": START}
        },
        "model",
    ),
    "key's site": (
        CREATE_API_KEY,
        lambda name: {"input": {"name": "k", "role": "VIEWER", "siteIds": [name]}},
        "siteIds",
    ),
    "cache's site": (INVALIDATE_CACHE, lambda name: {"input": {"siteId": name}}, "siteId"),
}


def _budget(**given: Any) -> dict[str, Any]:
    return {"period": "DAILY", "hardLimit": 1, **given}


@pytest.mark.parametrize("name", ["7 ", "\u00a07", "chat\n"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_refuses_a_name_with_white_space_around_it(
    api: Api, store: Store, change: str, name: str
) -> None:
    mutation, given, field = CHANGES[change]
    before = store.snapshot()
    (payload,) = api.data(mutation, given(name)).values()
    assert payload["code"] == "INVALID_INPUT"
    assert field in payload["message"]
    assert store.snapshot() == before


def test_a_scope_compares_sites_in_their_canonical_form() -> None:
    forms = ColumnForms({("ai_run_logs", "site_id"): ColumnForm("integer", low=-(2**31), high=2**31 - 1)})
    scope = Scope.of("007", "12", "x", str(2**31)).spelled(forms)
    assert scope.sites == {"7", "12"}
    assert scope.includes("+07")
    assert not scope.includes("x")
    assert scope.narrow("0012").sites == {"12"}
    assert scope.narrow("8").sites == scope.narrow("x").sites == frozenset()


@pytest.mark.parametrize(
    ("form", "value", "canonical"),
    [
        (ColumnForm("number"), "07.50", "7.5"),
        (ColumnForm("number"), "1e9", None),
        (ColumnForm("uuid"), "{A0EEBC99-9C0B4EF8-BB6D6BB9BD380A11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        (ColumnForm("uuid"), "7", None),
        (ColumnForm(length=3), "abcd", None),
        (ColumnForm(length=3), "007", "007"),
    ],
)
def test_a_column_has_one_form_of_each_value(form: ColumnForm, value: str, canonical: str | None) -> None:
    assert form.canonical(value) == canonical


def test_an_import_knows_a_site_spelt_another_way(api: Api, store: Store, dsn: str, tmp_path: Path) -> None:
    record(api, report(siteId="7", externalId="x"))
    file = tmp_path / "runs.csv"
    file.write_text("site_id,app_type,external_id,created_at\n007,chat,x,2026-03-01T00:00:00Z\n")
    assert import_run_logs(dsn, str(file), ImportOptions()).bad_rows == 1
    assert store.value("SELECT count(*) FROM biz.ai_run_logs WHERE external_id = 'x'") == 1
