"""What calls would take: the mean, spread and cost of an app's own history, and the range of a batch's total.

The total of many independent calls lies much closer to its mean than each call does, so its range is not that
of a call times their number. Here it is the range in which the total falls in 8 of 10 cases if the calls are
like the newest ones and independent of each other: the mean plus and minus 1.28 standard errors, of the calls
and of a mean that is known from a sample only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from db.estimates import RecentCalls, recent_calls
from db.pool import Connection
from db.rollups import MeanTokens, mean_tokens_by_app
from db.scope import Scope
from resolvers.run_logs import FINISHED

HISTORY = timedelta(days=30)
# What a call is taken to use where an app has no history.
DEFAULT_TOKENS = 2_000
# The newest runs of an app that say how calls differ and what they cost.
SAMPLE = 200
# Fewer say too little of how calls differ.
SMALLEST_SAMPLE = 10
# Of the normal distribution, a tenth lies above so many standard deviations.
_TENTH = Decimal("1.2816")
_MILLION = Decimal(1_000_000)
_SMALLEST = Decimal("0.0000000001")
_WIDE = Context(prec=60)


async def estimate_apps(
    connection: Connection, scope: Scope, calls: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What so many calls of each app are expected to take, as `app_estimates` of a batch has it.

    The mean is of all runs of the last 30 days, the rest of the newest of them: p10 and p90 tokens and the
    deviation of a call from the mean of those, and what those of known cost have cost. Money is a string of a
    decimal; what is unknown is None.
    """
    apps = list(calls)
    means = await mean_tokens(connection, scope, apps)
    recent = await recent_calls(
        connection,
        scope=scope,
        app_types=apps,
        since=datetime.now(UTC) - HISTORY,
        ended=FINISHED,
        most=SAMPLE,
    )
    return [
        {
            "app_type": app,
            "calls": count,
            "mean_tokens": means[app].mean if app in means else float(DEFAULT_TOKENS),
            "sample_size": means[app].sample_size if app in means else 0,
            **_described(recent[app]),
        }
        for app, count in calls.items()
    ]


async def mean_tokens(connection: Connection, scope: Scope, apps: Sequence[str]) -> dict[str, MeanTokens]:
    """Mean tokens of the runs of the last 30 days, by app; apps without runs are absent."""
    since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HISTORY
    rows = await mean_tokens_by_app(connection, scope=scope, app_types=apps, since=since)
    return {row.app_type: row for row in rows}


def estimated_tokens(app_estimates: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Tokens that all calls of each app are expected to use, by app."""
    return {app["app_type"]: app["calls"] * app["mean_tokens"] for app in app_estimates}


def total_tokens(app_estimates: Iterable[Mapping[str, Any]]) -> int:
    """Tokens that all calls are expected to use."""
    return sum(map(round, estimated_tokens(app_estimates).values()))


def tokens_range(app_estimates: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Between what the tokens of all calls lie in 8 of 10 cases.

    None where an app has fewer than 10 ended runs to judge by.
    """
    totals = _range(app_estimates, "mean_tokens", "tokens_deviation", "recent_calls")
    return None if totals is None else (round(totals[0]), round(totals[1]))


def estimated_cost(app_estimates: Sequence[Mapping[str, Any]]) -> Decimal | None:
    """What all calls are expected to cost; None where that is unknown for one of the apps."""
    costs = [app.get("mean_cost") for app in app_estimates]
    if None in costs:
        return None
    return sum((Decimal(app["mean_cost"]) * app["calls"] for app in app_estimates), Decimal())


def cost_range(app_estimates: Sequence[Mapping[str, Any]]) -> tuple[Decimal, Decimal] | None:
    """Between what the cost of all calls lies in 8 of 10 cases, to ten decimal places.

    None where an app has fewer than 10 ended runs of known cost to judge by.
    """
    totals = _range(app_estimates, "mean_cost", "cost_deviation", "priced_calls")
    return None if totals is None else (totals[0].quantize(_SMALLEST), totals[1].quantize(_SMALLEST))


def _range(
    app_estimates: Sequence[Mapping[str, Any]], mean: str, deviation: str, sample: str
) -> tuple[Decimal, Decimal] | None:
    total = variance = Decimal()
    for app in app_estimates:
        # Batches of earlier versions have no spread.
        size, spread, calls = app.get(sample) or 0, app.get(deviation), Decimal(app["calls"])
        if size < SMALLEST_SAMPLE or spread is None:
            return None
        total += calls * Decimal(app[mean])
        variance += Decimal(spread) ** 2 * (calls + calls**2 / size)
    margin = _TENTH * variance.sqrt()
    return max(total - margin, Decimal()), total + margin


def _described(recent: RecentCalls) -> dict[str, Any]:
    cost, deviation = recent.cost_sum, recent.cost_deviation
    return {
        "recent_calls": recent.calls,
        "p10_tokens": recent.p10_tokens,
        "p90_tokens": recent.p90_tokens,
        "tokens_deviation": recent.tokens_deviation,
        "priced_calls": recent.priced_calls,
        "mean_cost": None if cost is None else _money(_WIDE.divide(cost, recent.priced_calls)),
        "cost_deviation": None if deviation is None else _money(deviation),
    }


def _money(millionths: Decimal) -> str:
    return format(_WIDE.divide(millionths, _MILLION).quantize(_SMALLEST, context=_WIDE), "f")
