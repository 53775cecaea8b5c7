"""budgets and budgetEvents: budgets stand as the dashboard counts, and tell each threshold once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from db.postgres.pool import Database
from resolvers.budgets.status import BudgetSpec, Meter
from resolvers.worker.maintenance import run_upkeep_once
from tests.api.mutations.test_budget_limits import confirm, estimate
from tests.api.mutations.test_set_budget import set_budget
from tests.support.api import Api, Client
from tests.support.store import Store

BUDGETS = """
query ($siteId: ID, $first: Int, $after: String) {
  budgets(siteId: $siteId, first: $first, after: $after) {
    totalCount { count }
    pageInfo { hasNextPage endCursor }
    edges { node { id siteId appType period softLimit hardLimit timeZone
      status { used reserved limit state startsAt resetsAt limitReachedAt } } }
  }
}
"""
DASHBOARD = """
query ($siteId: ID, $timeZone: String) {
  dashboard(siteId: $siteId, timeZone: $timeZone) {
    today { tokens } appDistribution(days: 1) { appType tokens } budget { monthly { used } daily { limit } }
  }
}
"""
EVENTS = """
query ($siteId: ID) {
  budgetEvents(siteId: $siteId, sort: CREATED_AT_ASC) {
    edges { node { id budgetId siteId appType period threshold usedTokens limitTokens } }
  }
}
"""


def budgets(api: Any, **variables: Any) -> list[dict[str, Any]]:
    return [edge["node"] for edge in api.data(BUDGETS, variables)["budgets"]["edges"]]


def events(api: Any, **variables: Any) -> list[dict[str, Any]]:
    return [edge["node"] for edge in api.data(EVENTS, variables)["budgetEvents"]["edges"]]


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Pacific/Chatham", "America/Los_Angeles"])
def test_used_is_what_the_dashboard_shows(api: Api, store: Store, zone: str) -> None:
    api.asks_twice = False  # when a limit will be reached is said as of now
    now = datetime.now(UTC)
    for hours in range(0, 24 * 40, 5):
        store.run(
            site_id=("berlin", "paris")[hours % 2],
            app_type=("chat", "mail", "search")[hours % 3],
            status=("success", "failed", "running")[hours % 3],
            tokens_used=hours + 1,
            created_at=now - timedelta(hours=hours),
        )
    for site in (None, "berlin"):
        for app in (None, "chat"):
            for period in ("DAILY", "MONTHLY"):
                set_budget(api, siteId=site, appType=app, period=period, hardLimit=9_999, timeZone=zone)

    used = {
        (node["siteId"], node["appType"], node["period"]): node["status"]["used"] for node in budgets(api)
    }

    for site in (None, "berlin"):
        shown = api.data(DASHBOARD, {"siteId": site, "timeZone": zone})["dashboard"]
        assert used[site, None, "DAILY"] == shown["today"]["tokens"] > 0
        assert used[site, None, "MONTHLY"] == shown["budget"]["monthly"]["used"]
        chat = [app["tokens"] for app in shown["appDistribution"] if app["appType"] == "chat"]
        assert used[site, "chat", "DAILY"] == sum(chat)
        recount = store.value(
            "SELECT coalesce(sum(tokens_used), 0) FROM biz.ai_run_logs WHERE app_type = 'chat'"
            " AND (site_id = %(site)s OR %(site)s::text IS NULL)"
            " AND date_trunc('month', created_at AT TIME ZONE %(zone)s)"
            " = date_trunc('month', now() AT TIME ZONE %(zone)s)",
            {"site": site, "zone": zone},
        )
        assert used[site, "chat", "MONTHLY"] == recount


def test_a_budget_lies_in_its_own_zone(api: Api) -> None:
    set_budget(api, period="MONTHLY", timeZone="Asia/Kolkata")
    status = budgets(api)[0]["status"]
    local = datetime.now(ZoneInfo("Asia/Kolkata"))
    start = local.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert datetime.fromisoformat(status["startsAt"]) == start
    assert datetime.fromisoformat(status["resetsAt"]) > local


def test_budgets_of_other_sites_and_of_every_site_are_not_shown(api: Api, store: Store) -> None:
    for site in (None, "berlin", "paris"):
        set_budget(api, siteId=site)
    assert [node["siteId"] for node in budgets(api)] == ["paris", "berlin", None]
    assert [node["siteId"] for node in budgets(api, siteId="berlin")] == ["berlin"]

    colleague = api.as_key(sites=["berlin"])
    assert [node["siteId"] for node in budgets(colleague)] == ["berlin"]
    assert budgets(colleague, siteId="paris") == []
    one = "query ($id: ID!) { budgetLimit(id: $id) { id } node(id: $id) { id } }"
    assert colleague.data(one, {"id": "budget_1"}) == {"budgetLimit": None, "node": None}
    assert api.data(one, {"id": "budget_1"}) == {
        "budgetLimit": {"id": "budget_1"},
        "node": {"id": "budget_1"},
    }


def test_pages_hold_every_budget_once(api: Api) -> None:
    made = [set_budget(api, siteId=f"site{number}")["id"] for number in range(5)]
    seen: list[str] = []
    after = None
    while len(seen) < 5:
        page = api.data(BUDGETS, {"first": 2, "after": after})["budgets"]
        assert page["totalCount"]["count"] == 5
        seen += [edge["node"]["id"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    assert seen == made[::-1]


def test_a_figure_that_several_budgets_need_is_read_once(api: Api) -> None:
    set_budget(api)
    one = api.statements(BUDGETS)
    set_budget(api, period="MONTHLY")
    set_budget(api, appType="chat")
    set_budget(api, appType="mail")
    assert api.statements(BUDGETS) <= one + 3


def test_estimates_tell_a_caller_of_one_site_nothing_of_what_all_sites_use(api: Api, store: Store) -> None:
    store.run(site_id="paris", tokens_used=10_000)
    store.run(site_id="berlin", tokens_used=1, created_at=datetime.now(UTC) - timedelta(days=40))
    set_budget(api, siteId=None, softLimit=9000, hardLimit=20_000)
    set_budget(api, siteId=None, period="MONTHLY", hardLimit=9_000)
    operator = api.as_key(role="operator", sites=["berlin"])

    verdicts = [estimate(operator, members=members)["budgetVerdict"] for members in (1, 4, 5, 50)]

    told = {
        (budget["siteId"], budget["state"], budget["used"], budget["reserved"])
        for verdict in verdicts
        for budget in verdict["budgets"]
    }
    assert told == {(None, "UNKNOWN", None, None)}
    assert {verdict["state"] for verdict in verdicts} == {"OK"}
    job = store.job(app_chain=["chat"])
    state = "query ($id: ID!) { triggerJob(id: $id) { budgetState } }"
    assert operator.data(state, {"id": f"job_{job}"}) == {"triggerJob": {"budgetState": "OK"}}
    assert api.data(state, {"id": f"job_{job}"}) == {"triggerJob": {"budgetState": "EXCEEDED"}}
    dry = f"""mutation {{ retryJobs(input: {{jobIds: ["job_{job}"], dryRun: true, reason: "x"}}) {{
        ... on RetriedJobs {{ budgetVerdict {{ state budgets {{ state used }} }} }} }} }}"""
    verdict = operator.data(dry)["retryJobs"]["budgetVerdict"]
    assert (verdict["state"], {budget["state"] for budget in verdict["budgets"]}) == ("OK", {"UNKNOWN"})
    # Of its own site it is told all.
    set_budget(api, siteId="berlin", hardLimit=5)
    own = [b for b in estimate(operator)["budgetVerdict"]["budgets"] if b["siteId"] == "berlin"]
    assert (own[0]["state"], own[0]["used"]) == ("EXCEEDED", 0)


def test_the_figures_of_other_sites_are_hidden_in_a_refusal(api: Api, store: Store) -> None:
    store.run(site_id="paris", tokens_used=777)
    set_budget(api, siteId=None, hardLimit=778)
    operator = api.as_key(role="operator", sites=["berlin"])
    refusal = confirm(operator, estimate(operator, members=1))
    assert (refusal["__typename"], refusal["limit"]) == ("BudgetExceeded", 778)
    assert (refusal["used"], refusal["reserved"]) == (None, None)
    assert "777" not in str(refusal)


CONFIRM_ONE = "mutation ($id: ID!) { confirmBatch(input: {batchId: $id}) { __typename } }"


def test_refusals_cannot_be_used_to_search_for_a_figure_of_other_sites(
    api: Api, dsn: str, store: Store
) -> None:
    set_budget(api, siteId=None, hardLimit=100)
    operator = api.as_key(role="operator", sites=["berlin"])
    batches = [estimate(operator, members=members)["id"] for members in range(1, 8)]
    for batch in batches[:5]:
        assert operator.data(CONFIRM_ONE, {"id": batch})["confirmBatch"]["__typename"] == "BudgetExceeded"

    keyed = CONFIRM_ONE.replace("{batchId: $id}", '{batchId: $id, idempotencyKey: "k"}')
    for query in (CONFIRM_ONE, keyed):
        error = operator.error(query, {"id": batches[5]})
        assert error["code"] == "RATE_LIMITED"
        assert 0 < error["retryAfter"] <= 3600
    # It is not told either what the budgets would allow, on no way and by no other server.
    set_budget(api, siteId=None, hardLimit=10**9)
    assert operator.error(CONFIRM_ONE, {"id": batches[5]})["code"] == "RATE_LIMITED"
    job = store.job(app_chain=["chat"])
    retry = f'mutation {{ retryJob(input: {{jobId: "job_{job}"}}) {{ __typename }} }}'
    assert operator.error(retry)["code"] == "RATE_LIMITED"
    other = Api(dsn)
    try:
        elsewhere = Client(other.runner, other.client, operator.headers)
        assert elsewhere.error(CONFIRM_ONE, {"id": batches[5]})["code"] == "RATE_LIMITED"
    finally:
        other.close()
    # Others go on, and so does it, where nothing is hidden.
    colleague = api.as_key(role="operator", sites=["berlin"])
    assert colleague.data(CONFIRM_ONE, {"id": batches[5]})["confirmBatch"]["__typename"] == "Batch"
    assert operator.data("{ viewer { name } }")["viewer"]["name"]


def test_refusals_by_a_budget_that_the_caller_may_read_are_not_counted(api: Api, store: Store) -> None:
    set_budget(api, siteId="berlin", hardLimit=100)
    operator = api.as_key(role="operator", sites=["berlin"])
    batch = estimate(operator, members=1)["id"]
    for _ in range(7):
        assert operator.data(CONFIRM_ONE, {"id": batch})["confirmBatch"]["__typename"] == "BudgetExceeded"


def test_an_override_tells_no_budget_of_other_sites_in_the_audit_log(api: Api, store: Store) -> None:
    set_budget(api, siteId=None, hardLimit=100)
    budget = set_budget(api, siteId="berlin", hardLimit=100)
    admin = api.as_key(role="admin", sites=["berlin"])
    batch = estimate(admin, members=1)
    confirm(admin, batch, override={"reason": "launch"})
    after = store.value("SELECT after FROM runglass.audit_log WHERE action = 'confirmBatch'")
    assert after["exceededBudgets"] == [int(budget["id"].removeprefix("budget_"))]


def test_only_admins_override(api: Api, store: Store) -> None:
    set_budget(api, hardLimit=0)
    batch = estimate(api)
    operator = api.as_key(role="operator")
    before = store.snapshot()
    error = operator.error(
        'mutation ($id: ID!) { confirmBatch(input: {batchId: $id, override: {reason: "x"}}) { __typename } }',
        {"id": batch["id"]},
    )
    assert error["code"] == "FORBIDDEN"
    assert store.snapshot() == before


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_only_admins_set_and_remove_budgets(api: Api, store: Store, role: str) -> None:
    budget = set_budget(api)
    colleague = api.as_key(role=role)
    before = store.snapshot()
    for mutation in (
        'setBudget(input: {siteId: "berlin", period: DAILY, hardLimit: 1})',
        f'removeBudget(input: {{budgetId: "{budget["id"]}"}})',
    ):
        assert colleague.error(f"mutation {{ {mutation} {{ __typename }} }}")["code"] == "FORBIDDEN"
    assert store.snapshot() == before


def test_an_admin_of_one_site_sets_budgets_of_that_site_only(api: Api, store: Store) -> None:
    paris = set_budget(api, siteId="paris")
    admin = api.as_key(role="admin", sites=["berlin"])
    assert set_budget(admin, siteId="berlin")["__typename"] == "BudgetLimit"
    before = store.snapshot()
    assert set_budget(admin, siteId="paris")["__typename"] == "NotFound"
    assert set_budget(admin, siteId=None)["__typename"] == "InvalidInput"
    remove = "mutation ($id: ID!) { removeBudget(input: {budgetId: $id}) { __typename } }"
    assert admin.data(remove, {"id": paris["id"]})["removeBudget"]["__typename"] == "NotFound"
    assert store.snapshot() == before


def test_stored_limits_stand_in_the_dashboard_in_place_of_the_settings(api: Api) -> None:
    def limit(site_id: str | None) -> int:
        return api.data(DASHBOARD, {"siteId": site_id})["dashboard"]["budget"]["daily"]["limit"]

    assert limit("berlin") == limit(None) == 100_000
    set_budget(api, softLimit=5, hardLimit=7)
    set_budget(api, siteId=None, softLimit=0, hardLimit=None)
    set_budget(api, appType="chat", hardLimit=3)
    assert (limit("berlin"), limit(None), limit("paris")) == (7, 0, 100_000)


def forecast(api: Api, store: Store, now: datetime, period: str, limit: int) -> datetime | None:
    spec = BudgetSpec(None, "berlin", None, period, None, limit, "UTC")

    async def ask() -> datetime | None:
        database: Database = api.app.state.database
        async with database.connection() as connection:
            return (await Meter(connection, now).status(spec)).limit_reached_at

    return api.runner.run(ask())


def test_the_forecast_goes_on_at_todays_rate(api: Api, store: Store) -> None:
    now = datetime(2026, 3, 10, 6, 0, tzinfo=UTC)
    store.run(tokens_used=600, created_at=now - timedelta(hours=2))
    store.run(tokens_used=1_000, created_at=now - timedelta(days=3))

    assert forecast(api, store, now, "daily", 1_000) == now + timedelta(hours=4)
    assert forecast(api, store, now, "daily", 600) == now
    assert forecast(api, store, now, "daily", 2_401) is None
    assert forecast(api, store, now, "monthly", 2_800) == now + timedelta(hours=12)
    assert forecast(api, store, now + timedelta(days=1), "monthly", 2_800) is None


def run_upkeep(api: Api) -> None:
    api.runner.run(run_upkeep_once(api.app.state.database))


def test_each_threshold_is_told_once_in_a_period(api: Api, store: Store) -> None:
    budget = set_budget(api, hardLimit=1_000)
    set_budget(api, siteId="paris", hardLimit=1_000)
    told: list[int] = []
    for tokens, thresholds in ((799, []), (1, [80]), (149, []), (1, [95]), (50, [100]), (9_000, [])):
        store.run(tokens_used=tokens)
        run_upkeep(api)
        run_upkeep(api)
        told += thresholds
        assert [event["threshold"] for event in events(api)] == told
    assert {
        key: events(api)[0][key] for key in ("budgetId", "siteId", "appType", "period", "limitTokens")
    } == {
        "budgetId": budget["id"],
        "siteId": "berlin",
        "appType": None,
        "period": "DAILY",
        "limitTokens": 1_000,
    }
    assert events(api, siteId="paris") == []
    store.rows("UPDATE runglass.budget_events SET period_start = period_start - interval '1 day'")
    run_upkeep(api)
    assert [event["threshold"] for event in events(api)] == [80, 95, 100, 80, 95, 100]


def test_processes_that_look_at_once_tell_a_threshold_once(api: Api, store: Store) -> None:
    set_budget(api, hardLimit=100)
    store.run(tokens_used=100)

    async def look() -> None:
        await asyncio.gather(*(run_upkeep_once(api.app.state.database) for _ in range(8)))

    api.runner.run(look())
    assert [event["threshold"] for event in events(api)] == [80, 95, 100]


def test_a_budget_without_use_tells_nothing(api: Api, store: Store) -> None:
    set_budget(api, hardLimit=0)
    run_upkeep(api)
    assert events(api) == []
