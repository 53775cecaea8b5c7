"""A filter that few runs match reads these few, also where the statement was prepared for any values.

Every statement that the app prepares is planned here without its values, which is what PostgreSQL may do from
the sixth time on; the others with them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from db.postgres.connection import Connection
from db.runs.number_ranges import FEW
from graph.types.pagination import EXACT_TOTAL
from tests.support.api import Api, Client
from tests.support.prepared import explain
from tests.support.store import Store

COLUMNS = "site_id, app_type, model, trigger_type, status, alert_status, tokens_used, latency_ms, created_at"
# Site 1 has two models and two causes of four. What is rare, or rare only there, is 46 days old.
RUNS = f"""
SET session_replication_role = replica;
INSERT INTO biz.ai_run_logs ({COLUMNS})
SELECT 'site' || n % 5, 'app' || n / 5 % 8,
    'model' || CASE WHEN n % 5 = 1 THEN n / 5 % 2 ELSE n / 5 % 4 END,
    'cause' || CASE WHEN n % 5 = 1 THEN n / 5 % 2 ELSE n / 5 % 4 END,
    CASE WHEN n % 10 < 2 AND n / 5 % 8 <> 7 THEN 'failed' ELSE 'success' END,
    CASE WHEN n % 100 = 0 THEN 'acknowledged' END,
    CASE WHEN n % 5 = 1 THEN n % 900 ELSE n % 3000 END, CASE WHEN n % 5 = 1 THEN n % 9000 ELSE n % 30000 END,
    now() - n * interval '20 seconds'
FROM generate_series(1, 200000) AS n;
INSERT INTO biz.ai_run_logs ({COLUMNS})
SELECT site, app, model, cause, status, alert_status, tokens, latency, now() - interval '46 days 12 hours'
FROM (VALUES
    ('quiet', 'app1', 'model1', 'cause1', 'success', NULL, 1, 1),
    ('site1', 'gone', 'model1', 'cause1', 'failed', NULL, 1, 1),
    ('site1', 'app1', 'model3', 'cause3', 'success', NULL, 1, 1),
    ('site1', 'app1', 'retired', 'cause1', 'success', NULL, 1, 1),
    ('site1', 'app1', 'model1', 'once', 'failed', NULL, 1, 1),
    ('site1', 'app1', 'model1', 'cause1', 'success', NULL, 2500, 25000),
    ('site1', 'app1', 'model1', 'cause1', 'success', NULL, 99999, 900000),
    ('site1', 'app7', 'model1', 'cause1', 'timeout', NULL, 1, 1),
    ('site1', 'app1', 'model1', 'cause1', 'failed', 'ignored', 1, 1)
) AS run (site, app, model, cause, status, alert_status, tokens, latency);
SET session_replication_role = origin;
"""
# One of everything, but for one old run.
UNIFORM = f"""
SET session_replication_role = replica;
INSERT INTO biz.ai_run_logs ({COLUMNS})
SELECT 'site1', 'app1', 'model1', 'cause1', 'success', NULL, 1, 1, now() - n * interval '20 seconds'
FROM generate_series(1, 200000) AS n;
INSERT INTO biz.ai_run_logs ({COLUMNS})
VALUES ('quiet', 'gone', 'retired', 'once', 'success', NULL, 1, 1, now() - interval '47 days');
SET session_replication_role = origin;
"""


class MeasuringConnection(Connection):
    """Keeps the plans of the statements over the log, with what they read."""

    plans: list[dict[str, Any]] = []

    async def fetch(self, sql: Any, values: Any, *args: Any, **options: Any) -> Any:
        if "biz.ai_run_logs" in sql:
            custom_plan = options.get("custom_plan", False)
            (plan,) = await explain(self, sql, values, "ANALYZE, FORMAT JSON", custom_plan=custom_plan)
            MeasuringConnection.plans.append(plan[0]["Plan"])
        return await super().fetch(sql, values, *args, **options)


def rows_read(plan: dict[str, Any]) -> int:
    """How many rows the scans of a plan gave or threw away."""
    own = 0
    if "Relation Name" in plan and plan["Node Type"] != "Bitmap Index Scan":
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = round((plan["Actual Rows"] + removed) * plan["Actual Loops"])
    return own + sum(rows_read(child) for child in plan.get("Plans", []))


@pytest.fixture(scope="module")
def api(module_store: Store, module_dsn: str) -> Iterator[Api]:
    """The app over the log."""
    module_store.connection.execute(RUNS)
    module_store.connection.execute("VACUUM ANALYZE biz.ai_run_logs")
    api = Api(module_dsn, connection_class=MeasuringConnection)
    yield api
    api.close()


@pytest.fixture(scope="module")
def several(api: Api) -> Client:
    """A caller of two sites."""
    return api.as_key(sites=["site1", "site2"])


@pytest.fixture
def read() -> Callable[..., int]:
    """Gives how many runs of a list there are, having checked how many rows were read for them."""

    def read(client: Client, list_name: str, condition: str, at_most: int, total: bool = False) -> int:
        shown = "totalCount { count }" if total else ""
        MeasuringConnection.plans = []
        data = client.data(
            f"{{ {list_name}(filter: {{{condition}}}) {{ edges {{ node {{ id }} }} {shown} }} }}"
        )
        plans = MeasuringConnection.plans
        assert plans
        assert sum(map(rows_read, plans)) <= at_most, json.dumps(plans, indent=1)
        found = len(data[list_name]["edges"])
        assert not total or data[list_name]["totalCount"]["count"] == found
        return found

    return read


RARE_EVERYWHERE = {
    "app": 'appType: "gone"',
    "model": 'model: "retired"',
    "cause": 'triggerType: "once"',
    "model of an app": 'model: "retired", appType: "app1"',
    "cause of a model": 'model: "model1", triggerType: "once"',
    "cause of a state": 'triggerType: "once", status: [FAILED]',
    "app of a state": 'appType: "gone", status: [FAILED]',
    "latency": "latencyMs: {min: 100000}",
    "tokens": "tokensUsed: {min: 50000, max: 100000}",
    "tokens of an app": 'tokensUsed: {min: 50000}, appType: "app1"',
}
RARE_AT_A_SITE = {
    "latency": 'siteId: "site1", latencyMs: {min: 20000, max: 29999}',
    "tokens": 'siteId: "site1", tokensUsed: {min: 2000, max: 3000}',
}


@pytest.mark.parametrize("name", RARE_EVERYWHERE)
@pytest.mark.parametrize("site", ["", 'siteId: "site1", '])
def test_the_few_runs_that_match_are_found_without_the_others(
    api: Api, read: Callable[..., int], name: str, site: str
) -> None:
    assert read(api, "runLogs", site + RARE_EVERYWHERE[name], at_most=100, total=True) == 1


@pytest.mark.parametrize("name", RARE_AT_A_SITE)
def test_what_is_rare_at_a_site_is_found_without_its_other_runs(
    api: Api, read: Callable[..., int], name: str
) -> None:
    assert read(api, "runLogs", RARE_AT_A_SITE[name], at_most=100, total=True) == 1


@pytest.mark.parametrize("name", ["latency", "tokens"])
def test_several_sites_are_looked_into_one_by_one(
    several: Client, read: Callable[..., int], name: str
) -> None:
    assert read(several, "runLogs", RARE_EVERYWHERE[name], at_most=100, total=True) == 1


@pytest.mark.parametrize("site", ["", 'siteId: "site1", '])
def test_of_two_ranges_the_one_that_few_have_is_taken(api: Api, read: Callable[..., int], site: str) -> None:
    condition = site + "latencyMs: {min: 1000}, tokensUsed: {min: 50000}"
    assert read(api, "runLogs", condition, at_most=FEW + 1 + 100) == 1


def test_a_site_without_news_is_found_without_the_others(api: Api, read: Callable[..., int]) -> None:
    assert read(api, "runLogs", 'siteId: "quiet"', at_most=100, total=True) == 1


def test_one_run_unlike_all_others_is_found_without_them(
    store: Store, dsn: str, read: Callable[..., int]
) -> None:
    store.connection.execute(UNIFORM)
    store.connection.execute("VACUUM ANALYZE biz.ai_run_logs")
    conditions = ['siteId: "quiet"', 'appType: "gone"', 'model: "retired"', 'triggerType: "once"']
    with contextlib.closing(Api(dsn, connection_class=MeasuringConnection)) as api:
        for condition in [*conditions, ", ".join(conditions)]:
            assert read(api, "runLogs", condition, at_most=100, total=True) == 1
        assert read(api, "runLogs", 'siteId: "site1"', at_most=100) == 20
        assert read(api, "runLogs", 'model: "model1"', at_most=100) == 20


def test_a_total_is_counted_no_further_than_few_runs_are() -> None:
    assert FEW >= EXACT_TOTAL


def test_nothing_is_found_in_a_range_without_runs(api: Api, read: Callable[..., int]) -> None:
    assert read(api, "runLogs", "latencyMs: {min: 5, max: 4}", at_most=100, total=True) == 0


@pytest.mark.parametrize("client_name", ["api", "several"])
@pytest.mark.parametrize(
    ("condition", "sql_condition"),
    [
        ("latencyMs: {min: 29500}", "latency_ms >= 29500"),
        (
            'siteId: "site2", tokensUsed: {min: 100, max: 120}',
            "tokens_used BETWEEN 100 AND 120 AND site_id = 'site2'",
        ),
        ('latencyMs: {min: 29000}, model: "model2"', "latency_ms >= 29000 AND model = 'model2'"),
        ("latencyMs: {min: 100}, tokensUsed: {max: 50}", "latency_ms >= 100 AND tokens_used <= 50"),
    ],
)
def test_pages_of_few_runs_are_those_of_the_whole_log(
    request: pytest.FixtureRequest, module_store: Store, client_name: str, condition: str, sql_condition: str
) -> None:
    client = request.getfixturevalue(client_name)
    sites = "TRUE" if client_name == "api" else "site_id IN ('site1', 'site2')"
    found = (
        f"SELECT id FROM biz.ai_run_logs WHERE {sites} AND {sql_condition} ORDER BY created_at DESC, id DESC"
    )
    expected = [f"run_{row['id']}" for row in module_store.rows(found)]
    query = f"""
    query ($first: Int, $after: String, $last: Int, $before: String, $sort: CreatedSort) {{
      runLogs(
        filter: {{{condition}}}, sort: $sort, first: $first, after: $after, last: $last, before: $before
      ) {{ edges {{ cursor node {{ id }} }} totalCount {{ count }} }} }}"""

    def page(**arguments: Any) -> tuple[list[str], list[str]]:
        shown = client.data(query, {"sort": "CREATED_AT_DESC"} | arguments)["runLogs"]
        assert shown["totalCount"]["count"] == len(expected)
        return [edge["node"]["id"] for edge in shown["edges"]], [edge["cursor"] for edge in shown["edges"]]

    assert len(expected) > 150
    ids, cursors = page(first=70)
    assert ids == expected[:70]
    assert page(first=70, after=cursors[-1])[0] == expected[70:140]
    assert page(last=10, before=cursors[50])[0] == expected[40:50]
    assert page(last=30)[0] == expected[-30:]
    assert page(first=40, sort="CREATED_AT_ASC")[0] == expected[::-1][:40]


@pytest.mark.parametrize("client_name", ["api", "several"])
@pytest.mark.parametrize("condition", ["latencyMs: {min: 100}", "tokensUsed: {max: 600}"])
def test_where_many_match_the_newest_are_read_and_no_more_are_counted_than_tells_so(
    request: pytest.FixtureRequest, read: Callable[..., int], client_name: str, condition: str
) -> None:
    client = request.getfixturevalue(client_name)
    assert read(client, "runLogs", condition, at_most=FEW + 1 + 300) == 20


@pytest.mark.parametrize("client_name", ["api", "several"])
@pytest.mark.parametrize("condition", ["latencyMs: {max: 9999}", "tokensUsed: {max: 999}"])
def test_the_total_of_a_range_reads_no_more_than_it_counts(
    request: pytest.FixtureRequest, client_name: str, condition: str
) -> None:
    client: Client = request.getfixturevalue(client_name)
    MeasuringConnection.plans = []
    data = client.data(f"{{ runLogs(filter: {{{condition}}}) {{ totalCount {{ count isExact }} }} }}")
    assert data["runLogs"]["totalCount"] == {"count": EXACT_TOTAL, "isExact": False}
    # The page itself and its count are read beside it.
    assert sum(map(rows_read, MeasuringConnection.plans)) <= 2 * (FEW + 1) + 300


@pytest.mark.parametrize(
    "condition",
    [
        'appType: "app7"',
        "alertStatus: [IGNORED]",
        'siteId: "site1", appType: "app7"',
        'siteId: "site1", alertStatus: [IGNORED]',
        'alertStatus: [IGNORED], appType: "app1"',
    ],
)
def test_the_few_alerts_that_match_are_found_without_the_others(
    api: Api, read: Callable[..., int], condition: str
) -> None:
    assert read(api, "alerts", condition, at_most=100) == 1
