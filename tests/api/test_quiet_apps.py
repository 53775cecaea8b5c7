"""The dashboard finds the newest run of an app that was retired without reading what came after it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.guards.test_plans import AnalysingConnection, plans_of
from tests.support.store import Store

# Without triggers, so that it takes a second; then a run of each app, from which the roll-ups know it.
RUNS = """
SET session_replication_role = replica;
INSERT INTO biz.ai_run_logs (site_id, app_type, status, member_id, created_at)
SELECT 'site' || n % 5, 'busy' || n % {apps}, 'success', 'm' || n % 999, now() - n * interval '20 seconds'
FROM generate_series(1, 200000) AS n;
SET session_replication_role = origin;
INSERT INTO biz.ai_run_logs (site_id, app_type, status, created_at)
SELECT 'site1', 'busy' || n, 'success', now() FROM generate_series(0, {apps} - 1) AS n;
INSERT INTO biz.ai_run_logs (site_id, app_type, status, created_at)
VALUES ('site1', 'retired', 'failed', now() - interval '40 days');
ANALYZE biz.ai_run_logs
"""
REMOVED = re.compile(r"Rows Removed by Filter: (\d+)")


@pytest.fixture
def analysed(dsn: str) -> Iterator[Callable[..., list[str]]]:
    """Gives the plans of the statements that an operation runs, with what became of their steps."""
    yield from plans_of(dsn, AnalysingConnection)


# The fewer apps there are, the more does the planner like to look for one of them in the order of time.
@pytest.mark.parametrize("apps", [3, 8])
@pytest.mark.parametrize("site", ["", '(siteId: "site1")'])
def test_a_retired_app_costs_no_more_than_another(
    store: Store, analysed: Callable[..., list[str]], site: str, apps: int
) -> None:
    store.connection.execute(RUNS.format(apps=apps))
    (plan,) = analysed(f"{{ dashboard{site} {{ appHealth {{ appType lastStatus }} }} }}")
    assert sum(map(int, REMOVED.findall(plan))) < 100, plan
