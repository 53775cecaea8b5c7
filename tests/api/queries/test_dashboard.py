"""dashboard: each block equal to a recount, in any zone, and read only when it is selected."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import resolvers.usage.dashboard
from tests.support.api import Api, CountingConnection
from tests.support.store import Store

DASHBOARD = """
query ($siteId: ID, $timeZone: String, $days: Int! = 7) {
  dashboard(siteId: $siteId, timeZone: $timeZone) {
    siteId timeZone
    today {
      calls tokens successRate averageLatencyMs byStatus { status statusText calls } latency { p50 p95 p99 }
    }
    trend(days: $days) { date calls tokens successRate }
    appDistribution(days: $days) { appType count tokens share }
    appHealth { appType lastStatus lastStatusText lastCallAt }
    budget { timeZone daily { used } monthly { used } }
    recentAlerts { id alertStatus }
  }
}
"""
ZONES = ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Pacific/Kiritimati", "Europe/Berlin"]
STATUSES = [
    "success",
    "success",
    "success",
    "failed",
    "timeout",
    "circuit_open",
    "running",
    "pending",
    "paused",
]


class Clock:
    """Sets the hour at which the server believes to be asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, instant: datetime) -> None:
        class Stopped(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return instant.astimezone(tz)

        self._monkeypatch.setattr(resolvers.usage.dashboard, "datetime", Stopped)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[datetime], None]:
    """Stops the server's clock at an instant."""
    return Clock(monkeypatch)


def dashboard(api: Api, **variables: Any) -> dict[str, Any]:
    return api.data(DASHBOARD, variables)["dashboard"]


def fill(store: Store, around: datetime, hours: int, runs: int = 1500) -> None:
    """Runs of two sites and three apps at random times of the hours before and after an instant."""
    chance = random.Random(11)
    rows = [
        (
            chance.choice(["berlin", "paris"]),
            chance.choice(["chat", "mail", "scan"]),
            chance.choice(STATUSES),
            chance.randrange(500),
            chance.choice([None, chance.randrange(30_000)]),
            around + timedelta(seconds=chance.uniform(-3600 * hours, 3600 * hours)),
        )
        for _ in range(runs)
    ]
    with store.connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, latency_ms, created_at)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            rows,
        )


RECOUNT = """
SELECT count(*) AS calls, coalesce(sum(tokens_used), 0)::bigint AS tokens,
    avg((status = 'success')::int)
        FILTER (WHERE status NOT IN ('running', 'pending', 'paused'))::float AS rate
FROM biz.ai_run_logs
WHERE (created_at AT TIME ZONE %(zone)s)::date = %(day)s AND (%(site)s::text IS NULL OR site_id = %(site)s)
"""


def recounted(store: Store, zone: str, day: date, site: str | None = None) -> tuple[int, int, Any]:
    row = store.rows(RECOUNT, {"zone": zone, "day": day, "site": site})[0]
    return row["calls"], row["tokens"], row["rate"] if row["rate"] is None else pytest.approx(row["rate"])


@pytest.fixture(scope="module")
def busy(module_store: Store) -> datetime:
    """An instant in a fortnight of runs."""
    instant = datetime(2026, 5, 14, 21, 40, tzinfo=UTC)
    fill(module_store, instant, hours=8 * 24)
    return instant


@pytest.mark.parametrize("site", [None, "berlin"])
@pytest.mark.parametrize("zone", ZONES)
def test_every_number_is_that_of_a_recount(
    module_api: Api, module_store: Store, busy: datetime, clock: Clock, zone: str, site: str | None
) -> None:
    clock(busy)
    shown = dashboard(module_api, timeZone=zone, siteId=site)

    assert (shown["siteId"], shown["timeZone"]) == (site, zone)
    today = busy.astimezone(ZoneInfo(zone)).date()
    days = [today - timedelta(days=back) for back in range(6, -1, -1)]
    trend = shown["trend"]
    assert [day["date"] for day in trend] == [day.isoformat() for day in days]
    for day, row in zip(days, trend, strict=True):
        assert (row["calls"], row["tokens"], row["successRate"]) == recounted(module_store, zone, day, site)
    block = shown["today"]
    assert (block["calls"], block["tokens"], block["successRate"]) == recounted(
        module_store, zone, today, site
    )
    assert block["calls"] == sum(status["calls"] for status in block["byStatus"]) > 0
    assert shown["budget"]["daily"]["used"] == block["tokens"]


@pytest.mark.parametrize("zone", ZONES)
def test_statuses_and_latencies_of_today(
    module_api: Api, module_store: Store, busy: datetime, clock: Clock, zone: str
) -> None:
    clock(busy)
    block = dashboard(module_api, timeZone=zone)["today"]
    today = {"zone": zone, "day": busy.astimezone(ZoneInfo(zone)).date()}
    of_today = "FROM biz.ai_run_logs WHERE (created_at AT TIME ZONE %(zone)s)::date = %(day)s"
    counts = module_store.rows(f"SELECT status, count(*) AS calls {of_today} GROUP BY 1", today)
    assert {row["statusText"]: row["calls"] for row in block["byStatus"]} == {
        row["status"]: row["calls"] for row in counts
    }
    assert {row["status"] for row in block["byStatus"] if row["statusText"] == "paused"} == {"UNKNOWN"}
    calls = [row["calls"] for row in block["byStatus"]]
    assert calls == sorted(calls, reverse=True)
    mean = module_store.value(f"SELECT avg(latency_ms)::float {of_today}", today)
    assert block["averageLatencyMs"] == pytest.approx(mean)
    exact = module_store.value(
        f"SELECT percentile_disc(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY latency_ms) {of_today}", today
    )
    shown = [block["latency"][name] for name in ("p50", "p95", "p99")]
    assert shown == pytest.approx(exact, rel=0.05)


def test_shares_are_those_of_a_recount_and_sum_to_one(
    module_api: Api, module_store: Store, busy: datetime, clock: Clock
) -> None:
    clock(busy)
    apps = dashboard(module_api, days=3)["appDistribution"]
    exact = module_store.rows(
        """
        SELECT app_type, count(*) AS calls, sum(tokens_used)::bigint AS tokens FROM biz.ai_run_logs
        WHERE created_at >= '2026-05-12' AND created_at < '2026-05-15' GROUP BY 1 ORDER BY 2 DESC, 1
        """
    )
    assert [(app["appType"], app["count"], app["tokens"]) for app in apps] == [
        (row["app_type"], row["calls"], row["tokens"]) for row in exact
    ]
    assert sum(app["share"] for app in apps) == pytest.approx(1)
    total = sum(row["calls"] for row in exact)
    assert [app["share"] for app in apps] == pytest.approx([row["calls"] / total for row in exact])


def test_health_is_the_newest_run_of_every_app(module_api: Api, module_store: Store, busy: datetime) -> None:
    for site in (None, "berlin", "paris"):
        shown = dashboard(module_api, siteId=site)["appHealth"]
        newest = module_store.rows(
            "SELECT DISTINCT ON (app_type) app_type, status, created_at FROM biz.ai_run_logs"
            " WHERE %(site)s::text IS NULL OR site_id = %(site)s ORDER BY app_type, created_at DESC, id DESC",
            {"site": site},
        )
        assert [(app["appType"], app["lastStatusText"]) for app in shown] == [
            (row["app_type"], row["status"]) for row in newest
        ]
        assert [datetime.fromisoformat(app["lastCallAt"]) for app in shown] == [
            row["created_at"] for row in newest
        ]


def test_the_numbers_stay_when_the_roll_ups_are_rebuilt(
    module_api: Api, module_store: Store, busy: datetime, clock: Clock
) -> None:
    clock(busy)
    before = dashboard(module_api, timeZone="Asia/Kathmandu")
    module_store.rows("SELECT runglass.fold_run_log_deltas(100000, true)")
    assert dashboard(module_api, timeZone="Asia/Kathmandu") == before


@pytest.mark.parametrize(
    ("noon", "hours"),
    [
        (datetime(2026, 3, 29, 10, tzinfo=UTC), 23),
        (datetime(2026, 10, 25, 11, tzinfo=UTC), 25),
    ],
)
def test_the_days_on_which_clocks_change_are_as_long_as_they_are(
    api: Api, store: Store, clock: Clock, noon: datetime, hours: int
) -> None:
    clock(noon)
    zone = ZoneInfo("Europe/Berlin")
    first = datetime.combine(noon.astimezone(zone).date(), datetime.min.time(), zone).astimezone(UTC)
    for hour in range(-3, hours + 3):
        store.run(created_at=first + timedelta(hours=hour), tokens_used=1)

    shown = dashboard(api, timeZone="Europe/Berlin")
    assert shown["today"]["calls"] == hours
    assert [day["calls"] for day in shown["trend"]] == [0, 0, 0, 0, 0, 3, hours]

    clock(noon + timedelta(days=1))
    assert [day["calls"] for day in dashboard(api, timeZone="Europe/Berlin")["trend"]][-3:] == [3, hours, 3]


@pytest.mark.parametrize("days", [1, 2, 7, 90])
def test_days_without_runs_are_zeros(api: Api, store: Store, clock: Clock, days: int) -> None:
    now = datetime(2026, 5, 14, 12, tzinfo=UTC)
    clock(now)
    store.run(created_at=now, tokens_used=7)
    store.run(created_at=now - timedelta(days=days - 1), tokens_used=3)
    store.run(created_at=now - timedelta(days=days), tokens_used=1000)

    trend = dashboard(api, days=days)["trend"]

    assert [row["date"] for row in trend] == [
        (now.date() - timedelta(days=back)).isoformat() for back in range(days - 1, -1, -1)
    ]
    assert (trend[0]["tokens"], trend[-1]["tokens"]) == ((10, 10) if days == 1 else (3, 7))
    quiet = {"calls": 0, "tokens": 0, "successRate": None}
    assert all(row.items() >= quiet.items() for row in trend[1:-1])


@pytest.mark.parametrize("days", [0, -1, 91, 2**31 - 1])
@pytest.mark.parametrize("block", ["trend", "appDistribution"])
def test_days_out_of_range_are_a_coded_error(module_api: Api, block: str, days: int) -> None:
    field = "date" if block == "trend" else "share"
    error = module_api.error(f"{{ dashboard {{ {block}(days: {days}) {{ {field} }} }} }}")
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "days")


@pytest.mark.parametrize(
    "zone",
    ["Mars/Olympus", "", " ", "UTC+2", "+02:00", "../../etc/passwd", "/etc/localtime", "\x00", "x" * 5000],
)
def test_an_unknown_zone_is_a_coded_error(module_api: Api, zone: str) -> None:
    error = module_api.error("query ($z: String) { dashboard(timeZone: $z) { timeZone } }", {"z": zone})
    assert (error["code"], error["argument"]) == ("BAD_USER_INPUT", "timeZone")
    assert len(error["message"]) < 200


def test_the_setting_names_the_zone_where_nobody_does(dsn: str) -> None:
    api = Api(dsn, time_zone="Asia/Kolkata")
    try:
        assert dashboard(api)["timeZone"] == "Asia/Kolkata"
        assert dashboard(api, timeZone="UTC")["timeZone"] == "UTC"
    finally:
        api.close()


def test_runs_in_flight_do_not_lower_the_success_rate(api: Api, store: Store) -> None:
    for status in ("running", "pending", "paused"):
        store.run(status=status)
    today = dashboard(api)["today"]
    assert (today["calls"], today["successRate"]) == (3, None)

    store.run(status="success")
    assert dashboard(api)["today"]["successRate"] == 1.0

    for status in ("failed", "timeout", "circuit_open"):
        store.run(status=status)
    shown = dashboard(api)
    assert (shown["today"]["calls"], shown["today"]["successRate"]) == (7, 0.25)
    assert shown["trend"][-1]["successRate"] == 0.25


def test_with_no_run_at_all_everything_is_empty_and_nothing_is_an_error(api: Api) -> None:
    shown = dashboard(api, siteId="nowhere")
    assert shown["today"] == {
        "calls": 0,
        "tokens": 0,
        "successRate": None,
        "averageLatencyMs": None,
        "byStatus": [],
        "latency": {"p50": None, "p95": None, "p99": None},
    }
    assert (shown["appDistribution"], shown["appHealth"], shown["recentAlerts"]) == ([], [], [])
    assert shown["budget"]["monthly"]["used"] == 0


def test_recent_alerts_are_ten_with_pending_ones_first(api: Api, store: Store) -> None:
    now = datetime.now(UTC)
    said = ["acknowledged", None, "ignored", "pending"] * 4
    alerts = {
        minute: store.run(status="failed", alert_status=word, created_at=now - timedelta(minutes=minute))
        for minute, word in enumerate(said)
    }
    store.run(status="success")
    store.run(status="failed", site_id="paris", created_at=now - timedelta(days=1))

    first, _, shown = [dashboard(api, siteId="berlin")["recentAlerts"] for _ in range(3)]

    pending = [minute for minute, word in enumerate(said) if word in (None, "pending")]
    others = [minute for minute, word in enumerate(said) if word not in (None, "pending")]
    assert [alert["id"] for alert in shown] == [
        f"alert_{alerts[minute]}" for minute in (pending + others)[:10]
    ]
    assert [alert["alertStatus"] for alert in shown] == ["PENDING"] * 8 + ["ACKNOWLEDGED", "IGNORED"]
    assert shown == first


@pytest.mark.parametrize(
    ("blocks", "statements"),
    [
        ("siteId timeZone", 0),
        ("today { calls }", 1),
        ("today { latency { p50 } }", 2),
        ("trend { calls }", 1),
        ("appDistribution { share }", 1),
        ("appHealth { lastStatus }", 1),
        ("budget { daily { used } }", 2),
        ("recentAlerts { id }", 1),
        ("a: trend(days: 7) { calls } b: trend(days: 7) { tokens }", 1),
        ("a: trend(days: 7) { calls } b: trend(days: 8) { tokens }", 1),
        ("today { calls } trend { calls } budget { daily { used } }", 2),
        (
            "today { calls latency { p50 } } trend { calls } appDistribution { share }"
            " appHealth { lastStatus } budget { daily { used } } recentAlerts { id }",
            6,
        ),
    ],
)
def test_only_selected_blocks_are_read(module_api: Api, blocks: str, statements: int) -> None:
    assert module_api.statements(f"{{ dashboard {{ {blocks} }} }}") == statements


@pytest.mark.parametrize(
    ("latency", "statements"),
    [
        ("latency @skip(if: true) { p50 }", 1),
        ("latency @skip(if: $no) { p50 }", 2),
        ("latency @include(if: $no) { p50 }", 1),
        ("... on Today @include(if: $no) { latency { p50 } }", 1),
        ("... on Today { ... { latency { p50 } } }", 2),
        ("...Slow", 2),
        ("...Slow @skip(if: true)", 1),
        ("a: latency { p50 } b: latency { p99 }", 2),
    ],
)
def test_percentiles_are_read_only_where_they_are_shown(
    module_api: Api, latency: str, statements: int
) -> None:
    query = f"{{ dashboard {{ today {{ calls {latency} }} }} }}"
    if "Slow" in latency:
        query += " fragment Slow on Today { latency { p50 } }"
    assert module_api.statements(query.replace("$no", "false")) == statements
    if "$no" in latency:
        assert module_api.statements("query ($no: Boolean! = false)" + query) == statements


class TogetherConnection(CountingConnection):
    """Counts how often blocks were read together, and breaks those of a block if told to."""

    sent = 0
    broken = ""

    async def read_all(self, reads: Any) -> Any:
        TogetherConnection.sent += 1
        if self.broken:
            reads = [
                replace(read, sql="SELECT nothing", values={}) if self.broken in read.sql else read
                for read in reads
            ]
        return await super().read_all(reads)


@pytest.fixture
def together(dsn: str) -> Iterator[Api]:
    """The app whose connections are such."""
    api = Api(dsn, connection_class=TogetherConnection)
    TogetherConnection.sent, TogetherConnection.broken = 0, ""
    yield api
    TogetherConnection.broken = ""
    api.close()


def test_a_whole_dashboard_is_read_in_one_go(together: Api) -> None:
    for sent in range(1, 4):
        dashboard(together)
        assert TogetherConnection.sent == sent


def test_a_block_that_fails_is_an_error_and_is_not_read_twice(together: Api) -> None:
    dashboard(together)
    TogetherConnection.sent, TogetherConnection.broken = 0, "run_latency"
    for sent in range(1, 3):
        error = together.error(DASHBOARD)
        assert error["code"] == "INTERNAL_SERVER_ERROR"
        assert TogetherConnection.sent == sent
    assert together.data("{ dashboard { trend { calls } } }")

    TogetherConnection.broken = ""
    assert dashboard(together)
