"""What is asked of every contender, and whether two answers say the same."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from typing import Any, NamedTuple

from bench.statements import SITE

LIST = """
query Runs($first: Int) { runLogs(first: $first) {
  edges { cursor node { id siteId appType model status tokensUsed latencyMs memberId createdAt } }
  pageInfo { hasNextPage endCursor } } }
"""

DASHBOARD = """
query Dashboard($site: ID) { dashboard(siteId: $site) {
  siteId timeZone
  today { calls tokens successRate averageLatencyMs byStatus { status statusText calls }
    latency { p50 p95 p99 } }
  trend { date calls tokens successRate }
  appDistribution { appType count tokens share }
  appHealth { appType lastStatus lastStatusText lastCallAt }
  budget { timeZone daily { used limit ratio remaining resetsAt }
    monthly { used limit ratio remaining resetsAt } }
  recentAlerts { id siteId appType triggerType memberId runStatus errorMessage alertStatus alertChangedBy
    alertChangedAt createdAt } } }
"""

CURSORS = ("cursor", "endCursor")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")


class Case(NamedTuple):
    """One request. `least_mercurius`, `least_plain` and `least_postgresql` are the ratios to be reached."""

    name: str
    title: str
    query: str
    variables: dict[str, Any]
    least_mercurius: float = 1.0
    least_plain: float | None = None
    least_postgresql: float | None = None

    @property
    def body(self) -> bytes:
        """The request's body."""
        return json.dumps({"query": self.query, "variables": self.variables}).encode()


CASES = (
    Case("list_20", "List, 20 rows", LIST, {"first": 20}, least_plain=5, least_postgresql=0.15),
    Case("list_100", "List, 100 rows", LIST, {"first": 100}, least_plain=8, least_postgresql=0.20),
    Case("dashboard_one", "Dashboard, one site", DASHBOARD, {"site": SITE}),
    Case("dashboard_all", "Dashboard, all sites", DASHBOARD, {"site": None}),
)


class AnswersDiffer(Exception):
    """Two contenders do not say the same, so comparing their speed would mean nothing."""


def check_equal(mine: Any, other: Any, path: str = "data") -> None:
    """Raise AnswersDiffer where two answers differ by more than a cursor's text or a float's last digits."""
    if isinstance(mine, dict) and isinstance(other, dict) and mine.keys() == other.keys():
        for name in mine:
            if name in CURSORS:
                _check(bool(mine[name]) == bool(other[name]), mine[name], other[name], f"{path}.{name}")
            else:
                check_equal(mine[name], other[name], f"{path}.{name}")
    elif isinstance(mine, list) and isinstance(other, list) and len(mine) == len(other):
        for index, (left, right) in enumerate(zip(mine, other, strict=True)):
            check_equal(left, right, f"{path}[{index}]")
    else:
        numbers = isinstance(mine, float | int) and isinstance(other, float | int)
        same = math.isclose(mine, other, rel_tol=1e-9) if numbers else _moment(mine) == _moment(other)
        _check(same, mine, other, path)


def _moment(value: Any) -> Any:
    # PostgreSQL's own text of a time leaves trailing zeros out.
    return datetime.fromisoformat(value) if isinstance(value, str) and _TIME.fullmatch(value) else value


def _check(same: bool, mine: Any, other: Any, path: str) -> None:
    if not same:
        raise AnswersDiffer(f"{path}: {str(mine)[:120]!r} is not {str(other)[:120]!r}")
