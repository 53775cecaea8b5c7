"""The hot statements run along their indexes on 200,000 rows, however much of the log there is.

The app itself runs them; a cursor asks PostgreSQL for the plan of each before it is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from db.postgres.connection import Connection
from graph.types.pagination import cursor_at
from tests.support.api import Api, of_operation
from tests.support.prepared import explain
from tests.support.store import Store

ROWS = 200_000
FILL = f"""
SET session_replication_role = replica;
INSERT INTO biz.ai_run_logs
    (site_id, app_type, member_id, session_id, model, trigger_type, status, error_message, alert_status,
     tokens_used, latency_ms, trigger_job_id, created_at)
SELECT 'site' || n % 20, 'app' || n % 50, 'm' || n % 5000, 's' || n % 20000, 'model' || n % 30,
    'cause' || n % 15,
    CASE WHEN n % 50 = 0 THEN 'failed' WHEN n % 97 = 0 THEN 'running' ELSE 'success' END,
    CASE WHEN n % 50 = 0 THEN 'error ' || n END,
    CASE WHEN n % 50 = 0 AND n % 100 = 0 THEN 'acknowledged' END,
    n % 1000, n % 30000, CASE WHEN n % 40 = 0 THEN n / 40 END,
    now() - n * interval '26 seconds'
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO biz.ai_trigger_jobs (site_id, event_type, member_id, status, retry_of_id, created_at)
SELECT 'site' || n % 20, 'order', 'm' || n % 5000,
    CASE WHEN n % 50 = 0 THEN 'failed' WHEN n % 60 = 0 THEN 'skipped_duplicate' ELSE 'success' END,
    CASE WHEN n % 100 = 0 THEN n / 2 END, now() - n * interval '26 seconds'
FROM generate_series(1, {ROWS // 4}) AS n;
INSERT INTO biz.ai_cache (site_id, cache_type, target_id, created_at)
SELECT 'site' || n % 20, 'app' || n % 50, 'm' || n % 5000, now() - n * interval '26 seconds'
FROM generate_series(1, {ROWS // 4}) AS n;
SET session_replication_role = origin;
"""


class ExplainingConnection(Connection):
    """Keeps the plan of every statement of an operation that reads the three tables."""

    plans: list[str] = []
    options = "FORMAT TEXT"

    async def fetch(self, sql: Any, values: Any, *args: Any, **kwargs: Any) -> Any:
        if of_operation.get() is not None and "biz.ai_" in sql and sql.lstrip(" \n(").startswith("SELECT"):
            custom_plan = kwargs.get("custom_plan", False)
            lines = await explain(self, sql, values, self.options, custom_plan=custom_plan)
            ExplainingConnection.plans.append("\n".join(lines))
        return await super().fetch(sql, values, *args, **kwargs)


class AnalysingConnection(ExplainingConnection):
    """Runs each for its plan too, which then says what was never begun."""

    options = "ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF"


@pytest.fixture(scope="module", autouse=True)
def log(module_store: Store) -> None:
    """Sixty days of twenty sites, fifty apps, five thousand members, two alerts in a hundred runs."""
    module_store.connection.execute(FILL)
    for table in ("ai_run_logs", "ai_trigger_jobs", "ai_cache"):
        module_store.connection.execute(f"ANALYZE biz.{table}")


@pytest.fixture(scope="module")
def explained(module_dsn: str, log: None) -> Iterator[Callable[..., list[str]]]:
    """Gives the plans of the statements that an operation runs."""
    yield from plans_of(module_dsn, ExplainingConnection)


@pytest.fixture(scope="module")
def analysed(module_dsn: str, log: None) -> Iterator[Callable[..., list[str]]]:
    """Gives those plans with what became of each of their steps."""
    yield from plans_of(module_dsn, AnalysingConnection)


def plans_of(dsn: str, connection_class: type[ExplainingConnection]) -> Iterator[Callable[..., list[str]]]:
    api = Api(dsn, connection_class=connection_class)

    def plans(query: str, variables: dict[str, Any] | None = None) -> list[str]:
        ExplainingConnection.plans = []
        response, _ = api.watched(api.post(query, variables))
        assert "errors" not in response.json(), response.json()
        return ExplainingConnection.plans

    yield plans
    api.close()


# A sort of less than this is one of a member's rows, say, and does not grow with the log.
FEW_ROWS = 1000
SCAN = re.compile(
    r"(Seq|Index|Index Only|Bitmap Index|Bitmap Heap) Scan(?: Backward)?(?: using (\S+))? on (ai_\S+)"
    r".*?rows=(\d+)"
)
SORT = re.compile(r"Sort  \(cost=\S+ rows=(\d+)")


def indexes_used(plan: str, more_than: int = 0) -> set[str]:
    """The indexes by which more rows than that are found; nothing that has rows is read or sorted whole."""
    assert all(int(rows) < FEW_ROWS for rows in SORT.findall(plan)), plan
    used = set()
    for kind, index, relation, rows in SCAN.findall(plan):
        assert kind != "Seq" or relation in EMPTY, plan
        if kind not in ("Seq", "Bitmap Heap") and int(rows) > more_than:
            used.add(INDEX_OF[index or relation])
    return used


def assert_runs_along(plan: str, index: str) -> None:
    """The rows are found by this index; a partition that has none of them is looked into by any."""
    assert index in indexes_used(plan), plan
    assert indexes_used(plan, more_than=1) <= {index}, plan


EMPTY: set[str] = set()
INDEX_OF: dict[str, str] = {}


@pytest.fixture(scope="module", autouse=True)
def names(module_store: Store, log: None) -> None:
    """The index of the whole table that each partition's index belongs to; and which partitions are empty."""
    rows = module_store.rows(
        """
        SELECT class.relname AS name, coalesce(parent.relname, class.relname) AS whole
        FROM pg_class AS class
        LEFT JOIN pg_inherits ON inhrelid = class.oid
        LEFT JOIN pg_class AS parent ON parent.oid = inhparent
        WHERE class.relkind IN ('i', 'I') AND class.relnamespace = 'biz'::regnamespace
        """
    )
    INDEX_OF.update({row["name"]: row["whole"] for row in rows})
    empty = module_store.rows(
        "SELECT relname FROM pg_class"
        " WHERE relnamespace = 'biz'::regnamespace AND relkind = 'r' AND relpages = 0"
    )
    EMPTY.update(row["relname"] for row in empty)


PAGE = "edges { cursor node { id } } pageInfo { hasNextPage }"
LISTS = {
    "newest runs": ("runLogs", "", "run_logs_newest"),
    "runs of a site": ("runLogs", 'siteId: "site3"', "run_logs_by_site"),
    "runs of an app": ("runLogs", 'appType: "app3"', "run_logs_by_app"),
    "runs of an app of a site": ("runLogs", 'siteId: "site3", appType: "app3"', "run_logs_by_site_app"),
    "runs of a member": ("runLogs", 'memberId: "m77"', "run_logs_by_member"),
    "runs of a session": ("runLogs", 'sessionId: "s77"', "run_logs_by_session"),
    "runs of a model": ("runLogs", 'model: "model7"', "run_logs_by_model"),
    "runs of a cause": ("runLogs", 'triggerType: "cause7"', "run_logs_by_trigger_type"),
    "newest alerts": ("alerts", "", "alerts_newest"),
    "alerts of a site": ("alerts", 'siteId: "site0"', "alerts_by_site"),
    "pending alerts": ("alerts", "alertStatus: [PENDING]", "pending_alerts_newest"),
    "pending alerts of a site": (
        "alerts",
        'siteId: "site10", alertStatus: [PENDING]',
        "pending_alerts_by_site",
    ),
    "newest jobs": ("triggerJobs", "", "trigger_jobs_newest"),
    "jobs of a site": ("triggerJobs", 'siteId: "site3"', "trigger_jobs_by_site"),
    "jobs of a member": ("triggerJobs", 'memberId: "m77"', "trigger_jobs_by_member"),
    "newest cache entries": ("cacheEntries", "", "cache_newest"),
    "cache entries of a site": ("cacheEntries", 'siteId: "site3"', "cache_by_site"),
}


@pytest.mark.parametrize("sort", ["CREATED_AT_DESC", "CREATED_AT_ASC"])
@pytest.mark.parametrize("name", LISTS)
def test_a_page_runs_along_its_index_wherever_it_lies(
    explained: Callable[..., list[str]], module_store: Store, name: str, sort: str
) -> None:
    field, condition, index = LISTS[name]
    query = f"""
    query ($after: String, $before: String, $last: Int) {{
      {field}(filter: {{{condition}}}, sort: {sort}, after: $after, before: $before, last: $last) {{ {PAGE} }}
    }}
    """
    (plan,) = explained(query)
    assert_runs_along(plan, index)
    (plan,) = explained(query, {"last": 50})
    assert_runs_along(plan, index)
    kind = {"runLogs": "run", "alerts": "alert", "triggerJobs": "job", "cacheEntries": "cache"}[field]
    cursor = cursor_at(kind, module_store.value("SELECT now() - interval '3 days'"), 5)
    for place in ({"after": cursor}, {"before": cursor, "last": 20}):
        (plan,) = explained(query, place)
        assert_runs_along(plan, index)


STEP = re.compile(r"Scan(?: Backward)? using \S+ on (ai_run_logs_\S+).*\((never executed|actual)")


@pytest.mark.parametrize("condition", ["", 'siteId: "site3"'])
@pytest.mark.parametrize("days", [None, 3])
def test_a_page_is_read_from_one_partition_after_another_until_it_is_full(
    analysed: Callable[..., list[str]], module_store: Store, condition: str, days: int | None
) -> None:
    after = None
    if days:
        after = cursor_at("run", module_store.value("SELECT now() - %s * interval '1 day'", (days,)), 5)
    query = f"query ($after: String) {{ runLogs(filter: {{{condition}}}, after: $after) {{ {PAGE} }} }}"
    (plan,) = analysed(query, {"after": after})
    assert "Merge Append" not in plan, plan
    assert "Sort" not in plan, plan
    steps = dict(STEP.findall(plan))
    parts = [row["name"] for row in module_store.rows(PARTS_NEWEST_FIRST)]
    assert list(steps) == [name for name in parts if name in steps], plan
    # A page may begin in the first minutes of a month; what is older than the month before is not touched.
    older = [row["name"] for row in module_store.rows(PARTS_NEWEST_FIRST) if row["is_old"]]
    assert len(older) > 1
    assert {steps[name] for name in older} == {"never executed"}, plan


@pytest.mark.parametrize("sort", ["CREATED_AT_DESC", "CREATED_AT_ASC"])
def test_a_page_in_the_past_leaves_out_the_partitions_before_it(
    analysed: Callable[..., list[str]], module_store: Store, sort: str
) -> None:
    days = 45 if sort == "CREATED_AT_DESC" else 2
    cursor = cursor_at("run", module_store.value("SELECT now() - %s * interval '1 day'", (days,)), 5)
    query = f"query ($after: String) {{ runLogs(sort: {sort}, after: $after) {{ {PAGE} }} }}"
    (plan,) = analysed(query, {"after": cursor})
    steps = dict(STEP.findall(plan))
    passed = "is_new" if days == 45 else "is_old"
    parts = [row["name"] for row in module_store.rows(PARTS_NEWEST_FIRST) if row[passed]]
    assert parts
    assert not set(parts) & set(steps), plan


PAGES_READ = re.compile(r"Buffers: shared hit=(\d+)(?: read=(\d+))?")


@pytest.mark.parametrize("sort", ["CREATED_AT_DESC", "CREATED_AT_ASC"])
@pytest.mark.parametrize("condition", ["", 'siteId: "site3"'])
@pytest.mark.parametrize("days", [None, 20])
def test_a_page_within_a_time_reads_no_rows_before_it(
    analysed: Callable[..., list[str]], module_store: Store, condition: str, sort: str, days: int | None
) -> None:
    start, end = module_store.rows("SELECT now() - interval '35 days' AS a, now() - interval '15 days' AS b")[
        0
    ].values()
    created = f'createdAt: {{from: "{start.isoformat()}", to: "{end.isoformat()}"}}'
    after = days and cursor_at("run", module_store.value("SELECT now() - %s * interval '1 day'", (days,)), 5)
    query = f"""
    query ($after: String) {{
      runLogs(filter: {{{condition} {created}}}, sort: {sort}, after: $after) {{ {PAGE} }}
    }}"""
    (plan,) = analysed(query, {"after": after})
    hit, read = PAGES_READ.findall(plan)[0]
    # Twenty rows, of which each lies in a page of its own at worst, and some descents of an index.
    assert int(hit) + int(read or 0) < 120, plan


PARTS_NEWEST_FIRST = """
SELECT relname AS name, coalesce(upper(period) < now() - interval '40 days', false) AS is_old,
    coalesce(lower(period) > now() - interval '40 days', false) AS is_new
FROM runglass.run_log_parts() JOIN pg_class ON oid = part ORDER BY period DESC
"""


@pytest.mark.parametrize(
    ("name", "condition", "indexes"),
    [
        ("runLogs", "status: [RUNNING]", {"run_logs_by_other_status"}),
        (
            "runLogs",
            "status: [FAILED, TIMEOUT]",
            {"run_logs_by_other_status", "alerts_newest"},
        ),
        ("runLogs", 'errorContains: "error"', {"run_logs_with_error"}),
        ("runLogs", 'memberId: "m50", status: [FAILED]', {"alerts_by_member"}),
        ("runLogs", 'siteId: "site10", memberId: "m50", status: [FAILED, TIMEOUT]', {"alerts_by_member"}),
        ("triggerJobs", "status: [FAILED]", {"trigger_jobs_by_status", "trigger_jobs_newest"}),
        ("cacheEntries", 'siteId: "site3", appType: "app3", memberId: "m3"', {"cache_by_target"}),
    ],
)
def test_filters_find_their_rows_by_an_index(
    explained: Callable[..., list[str]], name: str, condition: str, indexes: set[str]
) -> None:
    (plan,) = explained(f"{{ {name}(filter: {{{condition}}}) {{ {PAGE} }} }}")
    assert indexes_used(plan) & indexes, plan
    assert indexes_used(plan, more_than=1) <= indexes, plan


def test_what_hangs_on_a_job_is_found_by_its_index(explained: Callable[..., list[str]]) -> None:
    plans = explained(
        "{ triggerJobs { edges { node { id retryOf { id } runLogs(first: 3) { edges { node { id } }"
        " totalCount { count } } retries(first: 3) { edges { node { id } } totalCount { count } } } } } }"
    )
    assert len(plans) >= 5
    for plan in plans:
        assert indexes_used(plan), plan
    used = set().union(*map(indexes_used, plans))
    assert used >= {"trigger_jobs_newest", "trigger_jobs_by_retry_of", "run_logs_by_job"}


def test_jobs_to_retry_or_stop_are_found_by_an_index(explained: Callable[..., list[str]]) -> None:
    for mutation in ("retryJobs", "cancelJobs"):
        for condition in ('siteId: "site10"', 'memberId: "m50"'):
            plans = explained(
                f'mutation {{ {mutation}(input: {{filter: {{{condition}}}, dryRun: true, reason: "r"}})'
                " { ... on Refusal { message } } }"
            )
            assert plans
            for plan in plans:
                assert indexes_used(plan), plan


def test_alerts_to_acknowledge_are_found_by_an_index(explained: Callable[..., list[str]]) -> None:
    for given in ('filter: {siteId: "site10"}', 'filter: {appType: "app3"}', 'alertIds: ["alert_50"]'):
        plans = explained(
            f'mutation {{ ackAlerts(input: {{{given}, dryRun: true, reason: "r"}})'
            " { ... on Refusal { message } } }"
        )
        assert plans
        for plan in plans:
            assert indexes_used(plan), plan


def test_the_dashboard_reads_no_more_of_the_log_than_it_shows(explained: Callable[..., list[str]]) -> None:
    for site in ("", '(siteId: "site3")'):
        plans = explained(f"{{ dashboard{site} {{ appHealth {{ lastStatus }} recentAlerts {{ id }} }} }}")
        for plan in plans:
            assert indexes_used(plan), plan
    numbers = explained(
        "{ dashboard { today { calls cost latency { p50 } } trend { calls cost } appDistribution { cost }"
        " budget { daily { used } } } budget { monthly { used } } }"
    )
    assert numbers == []


@pytest.mark.parametrize("site", ["", '(siteId: "site10")'])
def test_recent_alerts_are_never_sorted(explained: Callable[..., list[str]], site: str) -> None:
    (plan,) = explained(f"{{ dashboard{site} {{ recentAlerts {{ id }} }} }}")
    assert not SORT.findall(plan), plan
    index = "alerts_by_site" if site else "alerts_newest"
    assert indexes_used(plan, more_than=1) == {index, f"pending_{index}"}, plan


def test_an_object_is_found_by_its_id(explained: Callable[..., list[str]]) -> None:
    plans = explained(
        '{ runLog(id: "run_5") { id requestPrompt } alert(id: "alert_50") { id }'
        ' triggerJob(id: "job_5") { id }'
        ' node(id: "cache_5") { ... on CacheEntry { id result } } }'
    )
    assert len(plans) == 6
    for plan in plans:
        assert indexes_used(plan), plan


def test_an_estimate_reads_the_newest_runs_of_an_app_and_no_others(
    explained: Callable[..., list[str]],
) -> None:
    (plan,) = explained(
        'mutation { estimateBatch(input: {siteId: "site3", appTypes: ["app3"], memberIds: ["m1"]})'
        " { __typename } }"
    )
    assert_runs_along(plan, "run_logs_by_site_app")
    assert "Limit" in plan
