"""What calls would take: the mean, spread and cost of an app's own history, and the range of a batch's total.

The total of many calls lies much closer to its mean than each call does, so its range is not that of a call
times their number: see `resolvers.usage.margins`. Apps are taken to be independent of each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from math import ceil, fsum
from typing import Any

from db.postgres.pool import Connection
from db.sql.scope import Scope
from db.usage.estimates import RecentCalls
from db.usage.estimates import recent_calls as read_recent_calls
from resolvers.runs.run_bounds import MAX_TOKENS
from resolvers.usage.margins import margin_of

HISTORY = timedelta(days=30)
# What a call is taken to use where an app has no history.
DEFAULT_TOKENS = 2_000
# What runs of these used is what a call uses: the app was called, and the call is over.
CALLED = ("success", "failed", "timeout")
# The newest calls of an app that say what it takes. Older ones say less of the next ones.
SAMPLE = 1_000
# Of all apps of a batch together; each app's share is no smaller than the smallest sample.
SAMPLE_OF_ALL = 100_000
# Among so many times the sample it is looked for, so that runs that do not count cannot make it slow.
LOOKED_AT = 20
_MILLION = Decimal(1_000_000)
_SMALLEST = Decimal("0.0000000001")
_WIDE = Context(prec=60)


async def estimate_apps(
    connection: Connection, scope: Scope, calls: Mapping[str, int]
) -> list[dict[str, Any]]:
    """What so many calls of each app are expected to take, as `app_estimates` of a batch has it.

    All of it is of the app's newest calls of the last 30 days. Money is a string of a decimal; what is
    unknown is None.
    """
    recent = await recent_calls(connection, scope, list(calls))
    return [
        {"app_type": app, "calls": count, **_described(recent[app], count)} for app, count in calls.items()
    ]


async def recent_calls(
    connection: Connection, scope: Scope, apps: Sequence[str]
) -> Mapping[str, RecentCalls]:
    """Each app's newest calls that have ended and whose tokens are known, by app."""
    sample = min(SAMPLE, SAMPLE_OF_ALL // max(len(apps), 1))
    return await read_recent_calls(
        connection,
        scope=scope,
        app_types=apps,
        since=datetime.now(UTC) - HISTORY,
        statuses=CALLED,
        max_tokens=MAX_TOKENS,
        sample=sample,
        looked_at=sample * LOOKED_AT,
    )


def mean_tokens(recent: RecentCalls) -> float:
    """What a call is expected to use."""
    return fsum(recent.tokens) / len(recent.tokens) if recent.tokens else float(DEFAULT_TOKENS)


def estimated_tokens(app_estimates: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Tokens that all calls of each app are expected to use, by app."""
    return {app["app_type"]: app["calls"] * app["mean_tokens"] for app in app_estimates}


def total_tokens(app_estimates: Iterable[Mapping[str, Any]]) -> int:
    """Tokens that all calls are expected to use."""
    return sum(map(round, estimated_tokens(app_estimates).values()))


def tokens_range(app_estimates: Sequence[Mapping[str, Any]]) -> tuple[int, int] | None:
    """Between what the tokens of all calls lie in 8 of 10 cases.

    None where an app has fewer than 10 calls to judge by, and for batches of versions that judged otherwise.
    """
    totals = _range(app_estimates, "mean_tokens", "tokens_margin")
    return None if totals is None else (round(totals[0]), round(totals[1]))


def estimated_cost(app_estimates: Sequence[Mapping[str, Any]]) -> Decimal | None:
    """What all calls are expected to cost; None where that is unknown for one of the apps."""
    costs = [app.get("mean_cost") for app in app_estimates]
    if None in costs:
        return None
    return sum((Decimal(app["mean_cost"]) * app["calls"] for app in app_estimates), Decimal())


def cost_range(app_estimates: Sequence[Mapping[str, Any]]) -> tuple[Decimal, Decimal] | None:
    """Between what the cost of all calls lies in 8 of 10 cases, to ten decimal places.

    None where an app has fewer than 10 calls of known cost to judge by.
    """
    totals = _range(app_estimates, "mean_cost", "cost_margin")
    return None if totals is None else (totals[0].quantize(_SMALLEST), totals[1].quantize(_SMALLEST))


def _range(
    app_estimates: Sequence[Mapping[str, Any]], mean: str, margin: str
) -> tuple[Decimal, Decimal] | None:
    total = squares = Decimal()
    for app in app_estimates:
        if app.get(margin) is None:
            return None
        total += app["calls"] * Decimal(app[mean])
        squares += Decimal(app[margin]) ** 2
    together = squares.sqrt()
    return max(total - together, Decimal()), total + together


def _described(recent: RecentCalls, calls: int) -> dict[str, Any]:
    tokens, costs = recent.tokens or [], recent.costs or []
    ascending = sorted(tokens)
    margin = margin_of(costs, calls)
    return {
        "mean_tokens": mean_tokens(recent),
        "sample_size": len(tokens),
        "recent_calls": len(tokens),
        "p10_tokens": _at(ascending, 10),
        "p90_tokens": _at(ascending, 90),
        "tokens_margin": margin_of(tokens, calls),
        "priced_calls": len(costs),
        "mean_cost": _money(_WIDE.divide(recent.cost_sum, len(costs)))
        if recent.cost_sum is not None
        else None,
        "cost_margin": None if margin is None else _money(Decimal(margin)),
    }


def _at(ascending: Sequence[float], percent: int) -> float | None:
    """The smallest value that so many percent of them do not pass."""
    return ascending[ceil(percent * len(ascending) / 100) - 1] if ascending else None


def _money(millionths: Decimal) -> str:
    return format(_WIDE.divide(millionths, _MILLION).quantize(_SMALLEST, context=_WIDE), "f")
