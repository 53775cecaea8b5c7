"""Counts, tokens and latencies of run logs from the roll-ups, equal to a recount in the statement's snapshot.

Tables: runglass.run_usage and runglass.run_latency (by hour and day), runglass.run_totals (of all time),
runglass.run_log_deltas (what is not folded into them yet). Each statement adds the roll-ups and the deltas,
so a reader never waits for a fold, and what it costs follows the days asked for, not the length of the log.

Times are aware datetimes at whole quarters of an hour (ValueError otherwise): every zone's midnight is one.
Ranges hold their start and not their end. A site, app or status that is NULL in an adopted table is '' here,
and rows without a site are seen by the scope of every site only.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import accumulate
from typing import Any, LiteralString, NamedTuple

import psycopg

from db.postgres.connection import Connection, Read, unhurried
from db.sql.scope import Scope, SiteStatement
from db.usage.ranges import ranges

# The histogram's bin n >= 1 holds 1.1^(n-2) < ms <= 1.1^(n-1); `run_log_deltas_sql` puts values into it.
_BIN_GROWTH = 1.1
# Above this many deltas moved, the next readers should not have to step over what is left of them.
_VACUUM_FROM = 20_000


class PeriodUsage(NamedTuple):
    """Runs of one status within [bounds[period], bounds[period + 1]).

    `latency_ms_sum` is over the `latency_calls` runs that have a latency.
    """

    period: int
    status: str
    calls: int
    tokens: int
    latency_calls: int
    latency_ms_sum: int


class AppUsage(NamedTuple):
    """Runs of one app."""

    app_type: str
    calls: int
    tokens: int


class RollUpStatement(SiteStatement):
    """A statement over the roll-ups: `{level}` and `{site}` are where its level and the sites belong.

    A roll-up of every site is kept beside those of each, under level + 2 and the site ''; those by day are
    kept beside those by hour, under level + 4.
    """

    __slots__ = ("_of_every_site", "_of_sites")

    def __init__(self, sql: LiteralString, *, of_sites: LiteralString, of_every_site: LiteralString) -> None:
        super().__init__(sql)
        self._of_sites: LiteralString = of_sites
        self._of_every_site: LiteralString = of_every_site

    def _text(self, scope: Scope) -> LiteralString:
        text = super()._text(scope)
        if scope.sites is None:
            return text.replace("{level}", self._of_every_site).replace("{site}", "site_id = ''")
        site: LiteralString = "= (SELECT %(own_scope_site)s)"
        if len(scope.sites) != 1:
            site = "= ANY((SELECT %(own_scope_sites)s::text[])::text[])"
        return text.replace("{level}", self._of_sites).replace("{site}", "site_id " + site)


def moved(column: LiteralString) -> LiteralString:
    """What of a column's sum an edge of `SUM` moves, with its sign."""
    return (
        "step.sign * edge.sign * CASE edge.part WHEN 0 THEN " + column + " WHEN 1 THEN " + column + "_15"
        " WHEN 2 THEN " + column + "_30 ELSE " + column + "_45 END"
    )


# A day (UTC) counts for the period that holds its start; what `db.usage.ranges` calls edges then mends the
# periods on both sides of each bound. The values stand in sub-selects because the planner cannot look into
# those: it thinks no plan of certain values better than that of any, and so does not plan the statement each
# time. OFFSET 0 keeps it from computing each period three times; without an ORDER BY it need not sort the
# rows.
SUM: LiteralString = """
SELECT {columns} FROM (
    SELECT width_bucket(hour, %(days)s::timestamptz[]) AS period, {key} AS key, {measures}
    FROM {table}
    WHERE level = {level} + 4 AND {site} AND hour >= (SELECT %(first_day)s::timestamptz)
        AND hour < (SELECT %(last_day)s::timestamptz)
    UNION ALL
    SELECT edge.period + step.shift, {key}, {moved}
    FROM unnest(
        (SELECT %(edge_periods)s::integer[]), %(edge_levels)s::integer[], %(edge_hours)s::timestamptz[],
        %(edge_parts)s::integer[], %(edge_signs)s::integer[]
    ) AS edge (period, level, hour, part, sign)
    JOIN {table} AS roll_up ON roll_up.level = {level} + edge.level AND {site} AND roll_up.hour = edge.hour
    CROSS JOIN (VALUES (0, -1), (-1, 1)) AS step (shift, sign)
    UNION ALL
    SELECT width_bucket(quarter, %(bounds)s::timestamptz[]), {key}, {deltas}
    FROM runglass.run_log_deltas
    WHERE {scope} AND quarter >= %(first)s AND quarter < %(last)s
    OFFSET 0
) AS shares
WHERE period BETWEEN 1 AND %(periods)s AND key IS NOT NULL
GROUP BY {group}
HAVING sum(calls) <> 0
"""


def of_one_period(sum_of_periods: LiteralString) -> LiteralString:
    """A statement made of `SUM` for two bounds, whose edges need not be told apart by their periods."""
    return (
        sum_of_periods.replace("width_bucket(hour, %(days)s::timestamptz[])", "1")
        .replace("width_bucket(quarter, %(bounds)s::timestamptz[])", "1")
        .replace("edge.period + step.shift", "1")
        .replace("    CROSS JOIN (VALUES (0, -1), (-1, 1)) AS step (shift, sign)\n", "")
        .replace("step.sign * edge.sign", "edge.sign")
        .replace("%(edge_signs)s", "%(edge_signs_of_one)s")
        .replace("period BETWEEN 1 AND %(periods)s AND ", "")
    )


_SUM_USAGE = (
    SUM.replace("{table}", "runglass.run_usage")
    .replace("{measures}", "calls, tokens, latency_calls, latency_ms_sum")
    .replace(
        "{moved}",
        ", ".join((moved("calls"), moved("tokens"), moved("latency_calls"), moved("latency_ms_sum"))),
    )
    .replace("{deltas}", "calls, tokens, CASE WHEN latency_bin IS NULL THEN 0 ELSE calls END, latency_ms_sum")
)

SUM_USAGE_BY_PERIOD = RollUpStatement(
    _SUM_USAGE.replace("{key}", "status")
    .replace("{group}", "period, key")
    .replace(
        "{columns}",
        "period - 1, key, sum(calls)::bigint, sum(tokens), sum(latency_calls)::bigint, sum(latency_ms_sum)",
    ),
    of_sites="1",
    of_every_site="3",
)

SUM_USAGE_BY_APP = RollUpStatement(
    of_one_period(_SUM_USAGE)
    .replace("{key}", "app_type")
    .replace("{group}", "key")
    .replace("{columns}", "key, sum(calls)::bigint, sum(tokens)"),
    of_sites="0",
    of_every_site="2",
)

SUM_LATENCY_BINS = RollUpStatement(
    of_one_period(SUM.replace("{moved}", moved("calls")))
    .replace("{table}", "runglass.run_latency")
    .replace("{measures}", "calls")
    .replace("{deltas}", "calls")
    .replace("{key}", "latency_bin")
    .replace("{group}", "key")
    .replace("{columns}", "key, sum(calls)::bigint"),
    of_sites="1",
    of_every_site="3",
)

# Also apps all of whose runs are gone; '' stands for runs without an app.
APPS_OF_SITES: LiteralString = """
SELECT app_type FROM runglass.run_totals WHERE {own_scope}
UNION
SELECT app_type FROM runglass.run_log_deltas WHERE {own_scope}
"""
# Goes from app to app along the index, as there is a row for each site, app and status.
APPS_OF_EVERY_SITE: LiteralString = """
WITH RECURSIVE known (app_type) AS (
    SELECT min(app_type) FROM runglass.run_totals
    UNION ALL
    SELECT (SELECT min(app_type) FROM runglass.run_totals WHERE app_type > known.app_type)
    FROM known WHERE app_type IS NOT NULL
)
SELECT app_type FROM known WHERE app_type IS NOT NULL
UNION
SELECT app_type FROM runglass.run_log_deltas
"""

FOLD = "SELECT runglass.fold_run_log_deltas(%s, %s)"
LIST_DAYS = "SELECT runglass.run_rollup_days()"
REBUILD_DAY = "SELECT runglass.rebuild_run_rollups(%s, %s)"
REBUILD_TOTALS = "SELECT runglass.rebuild_run_totals()"


def usage_by_period(*, scope: Scope, bounds: Sequence[datetime]) -> Read[list[PeriodUsage]]:
    """Runs of each period [bounds[i], bounds[i + 1]) by status; nothing for a period without runs.

    `bounds` ascend; two or more (ValueError otherwise).
    """
    return Read(SUM_USAGE_BY_PERIOD.sql(scope), ranges(bounds, scope), _period_usage, list)


def usage_by_app(*, scope: Scope, start: datetime, end: datetime) -> Read[list[AppUsage]]:
    """Runs of [start, end) by app, those that occur, in the order of their names."""
    return Read(SUM_USAGE_BY_APP.sql(scope), ranges((start, end), scope), _app_usage, sorted)


def _period_usage(row: Sequence[Any]) -> PeriodUsage:
    # Sums are numeric, so that none can be too large.
    period, status, calls, tokens, latency_calls, latency_ms_sum = row
    return PeriodUsage(period, status, calls, int(tokens), latency_calls, int(latency_ms_sum))


def _app_usage(row: Sequence[Any]) -> AppUsage:
    app_type, calls, tokens = row
    return AppUsage(app_type, calls, int(tokens))


async def tokens_since(
    conn: Connection, *, scope: Scope, starts: Sequence[datetime], end: datetime
) -> list[int]:
    """Every run's tokens from each start to `end`, in the order of `starts`, from one statement."""
    bounds = [*sorted(set(starts)), end]
    used = dict.fromkeys(bounds, 0)
    for usage in await conn.read(usage_by_period(scope=scope, bounds=bounds)):
        for start in bounds[: usage.period + 1]:
            used[start] += usage.tokens
    return [used[start] for start in starts]


def latency_percentiles(
    *, scope: Scope, start: datetime, end: datetime, percents: Sequence[int]
) -> Read[list[float | None]]:
    """The smallest latencies (ms) that these percents of the runs of [start, end) do not pass.

    Of runs that have a latency; None where none has. By the nearest rank, so each is that of a run, as
    percentile_disc defines it, to within 5 %: what lies below a millisecond is 0, and what lies above 2^31 -
    1 is that.
    """
    finish = partial(_percentiles, percents)
    return Read(SUM_LATENCY_BINS.sql(scope), ranges((start, end), scope), tuple, finish)


async def fold(conn: psycopg.AsyncConnection, *, limit: int = 100_000, wait: bool = False) -> int:
    """Move deltas into the roll-ups and return how many were moved, up to `limit` of them a transaction.

    Returns at once, having moved nothing, while another session folds or rebuilds; with `wait` it waits its
    turn instead. The connection is in autocommit.
    """
    moved = batch = await _unhurried(conn, FOLD, (limit, wait))
    while batch >= limit:
        batch = await _unhurried(conn, FOLD, (limit, wait))
        moved += batch
    if moved >= _VACUUM_FROM:
        await conn.execute("VACUUM (SKIP_LOCKED) runglass.run_log_deltas")
    return moved


async def rebuild(
    conn: psycopg.AsyncConnection, *, progress: Callable[[int, int], None] | None = None
) -> int:
    """Recount every day from the rows and return how many rows there were.

    Writers and readers go on, and readers see each day as it was or as it is recounted. Each day is one
    transaction, which keeps folds off; a rebuild that is broken off leaves the days after it as they were.
    `progress` is called with (days done, days). The connection is in autocommit.
    """
    cursor = await conn.execute(LIST_DAYS)
    days: list[datetime] = [day for (day,) in await cursor.fetchall()]
    rows = 0
    for number, day in enumerate(days, start=1):
        rows += await _unhurried(conn, REBUILD_DAY, (day, day + timedelta(days=1)))
        if progress:
            progress(number, len(days))
    await _unhurried(conn, REBUILD_TOTALS, ())
    return rows


async def _unhurried(conn: psycopg.AsyncConnection, statement: LiteralString, values: Sequence[Any]) -> int:
    async with unhurried(conn):
        cursor = await conn.execute(statement, values)
        row = await cursor.fetchone()
    return row[0] if row else 0


def _percentiles(percents: Sequence[int], rows: Sequence[tuple[int, int]]) -> list[float | None]:
    bins = sorted(rows)
    ends = list(accumulate([calls for _, calls in bins]))
    return [_percentile(bins, ends, percent) for percent in percents]


def _percentile(bins: Sequence[tuple[int, int]], ends: Sequence[int], percent: int) -> float | None:
    """The value of the run at the nearest rank; up to the end of each bin there are so many runs."""
    if not ends:
        return None
    rank = max(1, -(-percent * ends[-1] // 100))
    return _value_in(bins[bisect_left(ends, rank)][0])


def _value_in(number: int) -> float:
    """Between the bounds of a bin, as far from one as from the other in proportion: 4.8 %."""
    if number <= 1:
        return float(number)
    return 2 * _BIN_GROWTH ** (number - 1) / (1 + _BIN_GROWTH)
