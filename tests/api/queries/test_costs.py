"""Cost on dashboard, budgets and batches: that of the runs to the digit, null where unknown."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.api.mutations.test_budget_limits import confirm, estimate
from tests.api.mutations.test_set_budget import set_budget
from tests.support.api import Api
from tests.support.store import Store

COSTS = """
query ($siteId: ID, $timeZone: String) {
  dashboard(siteId: $siteId, timeZone: $timeZone) {
    today { calls cost unpricedCalls }
    trend(days: 4) { date calls cost unpricedCalls }
    appDistribution(days: 4) { appType count cost unpricedCalls }
    budget { daily { cost unpricedCalls } monthly { used cost unpricedCalls } }
  }
  runLogs(filter: {siteId: $siteId}, first: 100) { edges { node { appType createdAt cost } } }
}
"""
TREND = "{ dashboard { trend(days: 2) { cost unpricedCalls } appDistribution { cost unpricedCalls } } }"
BUDGETS = "{ budgets { edges { node { siteId appType status { used cost unpricedCalls } } } } }"
BATCH = "query ($id: ID!) { batch(id: $id) { cost unpricedCalls estimatedCost } }"


def add_price(store: Store, model: str = "gpt-5", since: str = "2020-01-01Z", until: Any = None) -> None:
    """Two millionths a prompt token, five a completion token."""
    store.add(
        "runglass.model_prices", model=model, prompt_price=2, completion_price=5, valid_from=since,
        valid_until=until, created_by="tests", updated_by="tests",
    )  # fmt: skip


def add_run(store: Store, **given: Any) -> int:
    known = {"model": "gpt-5", "prompt_tokens": 1_000_000, "completion_tokens": 0}
    return store.run(**(known | given))


def sum_of(runs: list[dict[str, Any]]) -> tuple[Decimal | None, int]:
    """What the runs of a list cost, as the API says of each, and how many say nothing."""
    costs = [Decimal(run["cost"]) for run in runs if run["cost"] is not None]
    return (sum(costs) if costs else None, len(runs) - len(costs))


def said(block: dict[str, Any]) -> tuple[Decimal | None, int]:
    return (None if block["cost"] is None else Decimal(block["cost"]), block["unpricedCalls"])


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Asia/Kathmandu"])
def test_cost_is_that_of_the_runs_whatever_changes_when(api: Api, store: Store, zone: str) -> None:
    random, now = Random(5), datetime.now(UTC)
    for number in range(90):
        moment = now - timedelta(minutes=random.randint(0, 60 * 70))
        store.run(
            site_id=("berlin", "paris")[number % 2],
            app_type=("chat", "mail", "none")[number % 3],
            model=None if number % 3 == 2 else random.choice((None, "gpt-5", "small", "other")),
            prompt_tokens=random.choice((None, random.randint(0, 5000))),
            completion_tokens=random.randint(0, 500),
            created_at=moment,
        )
        if number == 45:
            store.rows("SELECT runglass.fold_run_log_deltas()")
    for hours in range(0, 70, 7):
        start = now - timedelta(minutes=hours * 60 + random.randint(0, 59))
        for model in ("gpt-5", "small"):
            until = random.choice((None, start + timedelta(hours=3)))
            add_price(store, model, start.isoformat(), until)

    for site in ("berlin", None):
        shown = api.data(COSTS, {"siteId": site, "timeZone": zone})
        dashboard = shown["dashboard"]
        runs = [edge["node"] for edge in shown["runLogs"]["edges"]]
        for run in runs:
            run["day"] = datetime.fromisoformat(run["createdAt"]).astimezone(ZoneInfo(zone)).date()
        assert any(run["cost"] for run in runs)
        assert any(run["cost"] is None for run in runs)
        for day in dashboard["trend"]:
            assert said(day) == sum_of([run for run in runs if str(run["day"]) == day["date"]])
        today = dashboard["trend"][-1]
        assert said(dashboard["today"]) == said(dashboard["budget"]["daily"]) == said(today)
        for app in dashboard["appDistribution"]:
            assert said(app) == sum_of([run for run in runs if run["appType"] == app["appType"]])


def test_what_is_unknown_is_null_and_what_is_free_is_zero(api: Api, store: Store) -> None:
    assert api.data(TREND)["dashboard"]["trend"] == [{"cost": None, "unpricedCalls": 0}] * 2
    add_run(store)
    store.run(app_type="mail", status="running")
    assert api.data(TREND)["dashboard"]["trend"][-1] == {"cost": None, "unpricedCalls": 2}
    add_price(store, "free")
    add_run(store, model="free", prompt_tokens=0)
    assert api.data(TREND)["dashboard"]["trend"][-1] == {"cost": "0", "unpricedCalls": 2}


def test_a_run_that_ends_is_corrected_and_removed_is_followed(api: Api, store: Store) -> None:
    add_price(store)
    run = store.run(status="running")

    def today() -> dict[str, Any]:
        return api.data(TREND)["dashboard"]["trend"][-1]

    assert today() == {"cost": None, "unpricedCalls": 1}
    for change, cost in (
        ("model = 'gpt-5', prompt_tokens = 1000000, completion_tokens = 0, status = 'success'", "2"),
        ("completion_tokens = 1000000", "7"),
        ("model = NULL", None),
        ("model = 'gpt-5'", "7"),
    ):
        store.rows(f"UPDATE biz.ai_run_logs SET {change} WHERE id = %s", (run,))
        assert today() == {"cost": cost, "unpricedCalls": int(cost is None)}
    store.rows("DELETE FROM biz.ai_run_logs WHERE id = %s", (run,))
    assert today() == {"cost": None, "unpricedCalls": 0}


def test_a_price_of_before_prices_had_to_begin_at_quarters_does_so_at_the_next(
    api: Api, store: Store
) -> None:
    quarter = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    for minutes in (8, 14, 15, 31, 44, 45):
        add_run(store, created_at=quarter + timedelta(minutes=minutes))
    add_price(store, since=str(quarter + timedelta(minutes=7)), until=str(quarter + timedelta(minutes=31)))
    priced = [edge["node"]["cost"] for edge in api.data(COSTS)["runLogs"]["edges"]][::-1]
    assert priced == [None, None, "2", "2", "2", None]
    days = api.data(TREND)["dashboard"]["trend"]
    assert sum(Decimal(day["cost"] or 0) for day in days) == 6
    assert sum(day["unpricedCalls"] for day in days) == 3


def test_cost_of_many_days_and_apps_takes_as_many_statements_as_of_one(api: Api, store: Store) -> None:
    def statements(days: int, fields: str) -> int:
        return api.statements(f"{{ dashboard {{ trend(days: {days}) {{ calls {fields} }} }} }}")

    add_price(store)
    add_run(store)
    assert statements(90, "") + 3 == statements(90, "cost unpricedCalls") == statements(1, "cost")
    apps = "{ dashboard { appDistribution { cost unpricedCalls } } }"
    one = api.statements(apps)
    for number in range(20):
        add_run(store, app_type=f"app{number}")
    assert api.statements(apps) == one


def test_a_budget_tells_what_its_period_has_cost(api: Api, store: Store) -> None:
    add_price(store)
    for subject in ({"siteId": "berlin"}, {"siteId": "berlin", "appType": "chat"}, {"appType": "chat"}, {}):
        set_budget(api, **({"siteId": None, "period": "MONTHLY"} | subject))
    for site, app in (("berlin", "chat"), ("berlin", "mail"), ("paris", "chat")):
        add_run(store, site_id=site, app_type=app, completion_tokens=1_000_000)
    store.run(status="running")
    add_run(store, created_at=datetime.now(UTC) - timedelta(days=32))

    def statuses(reader: Any) -> dict[tuple[Any, Any], tuple[Any, Any]]:
        return {
            (node["siteId"], node["appType"]): (node["status"]["cost"], node["status"]["unpricedCalls"])
            for node in (edge["node"] for edge in reader.data(BUDGETS)["budgets"]["edges"])
        }

    assert statuses(api) == {
        ("berlin", None): ("14", 1),
        ("berlin", "chat"): ("7", 1),
        (None, "chat"): ("14", 1),
        (None, None): ("21", 1),
    }


def test_a_budget_of_every_site_hides_its_cost_from_who_may_not_see_them(api: Api, store: Store) -> None:
    add_price(store)
    add_run(store)
    set_budget(api, siteId=None)
    verdict = "budgetVerdict { budgets { siteId used cost unpricedCalls } }"
    batch = estimate(api)["id"]
    query = f"query ($id: ID!) {{ batch(id: $id) {{ {verdict} }} }}"

    def of_every_site(reader: Any) -> dict[str, Any]:
        budgets = reader.data(query, {"id": batch})["batch"]["budgetVerdict"]["budgets"]
        return next(budget for budget in budgets if budget["siteId"] is None)

    assert of_every_site(api)["cost"] == "2"
    hidden = of_every_site(api.as_key(sites=["berlin"]))
    assert hidden == {"siteId": None, "used": None, "cost": None, "unpricedCalls": None}


def _unfolded(_store: Store) -> None:
    return


def _folded(store: Store) -> None:
    store.rows("SELECT runglass.fold_run_log_deltas()")


def _rebuilt(store: Store) -> None:
    for day in store.rows("SELECT runglass.run_rollup_days() AS day"):
        store.rows("SELECT runglass.rebuild_run_rollups(%(day)s, %(day)s + interval '1 day')", day)


@pytest.mark.parametrize("moved", [_unfolded, _folded, _rebuilt])
def test_a_batch_tells_what_its_runs_have_cost_so_far(
    api: Api, store: Store, moved: Callable[[Store], None]
) -> None:
    add_price(store)
    batch, other = (made["id"] for made in (estimate(api), estimate(api)))

    def cost(batch_id: str) -> tuple[str | None, int | None]:
        shown = api.data(BATCH, {"id": batch_id})["batch"]
        return shown["cost"], shown["unpricedCalls"]

    assert cost(batch) == (None, None)
    for batch_id in (batch, other):
        confirm(api, {"id": batch_id})
    assert cost(batch) == (None, 0)
    jobs = {
        f"batch_{row['batch_id'].hex}": row["ids"]
        for row in store.rows("SELECT batch_id, array_agg(id) AS ids FROM biz.ai_trigger_jobs GROUP BY 1")
    }
    for job in jobs[batch][:3]:
        add_run(store, trigger_job_id=job)
    store.run(trigger_job_id=jobs[batch][3], status="running")
    add_run(store, trigger_job_id=jobs[other][0], completion_tokens=1_000_000)
    add_run(store)
    moved(store)

    assert (cost(batch), cost(other)) == (("6", 1), ("7", 0))
    store.rows("UPDATE biz.ai_run_logs SET model = 'unknown' WHERE trigger_job_id = %s", (jobs[batch][0],))
    assert cost(batch) == ("4", 2)


def test_the_costs_of_many_batches_are_two_statements(api: Api, store: Store) -> None:
    def statements(first: int, fields: str) -> int:
        return api.statements(f"{{ batches(first: {first}) {{ edges {{ node {{ id {fields} }} }} }} }}")

    for _ in range(5):
        confirm(api, estimate(api))
    assert statements(5, "cost unpricedCalls") == statements(1, "cost") == statements(5, "") + 2


def test_a_run_in_flight_costs_nothing_yet(api: Api, store: Store) -> None:
    add_price(store)
    run = add_run(store, status="running")
    waiting = add_run(store, status="pending")
    add_run(store, status="success")

    def shown() -> tuple[list[str | None], dict[str, Any]]:
        answer = api.data(COSTS)
        today = answer["dashboard"]["today"]
        return [edge["node"]["cost"] for edge in answer["runLogs"]["edges"]], today

    costs, today = shown()
    assert sorted(costs, key=str) == ["2", None, None]
    assert today == {"calls": 3, "cost": "2", "unpricedCalls": 2}

    store.rows("UPDATE biz.ai_run_logs SET status = 'success' WHERE id = %s", (run,))
    store.rows("UPDATE biz.ai_run_logs SET status = 'failed' WHERE id = %s", (waiting,))
    costs, today = shown()
    assert costs == ["2"] * 3
    assert today == {"calls": 3, "cost": "6", "unpricedCalls": 0}
