"""What the newest calls of apps took, from which those of a batch are estimated.

Tables: biz.ai_run_logs, runglass.model_prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from db.pool import Connection, fetch_all
from db.scope import Scope, SiteStatement


class RecentCalls(NamedTuple):
    """An app's newest calls that have ended. `tokens_deviation` is of the sample, None of fewer than two.

    `priced_calls` of them have a known cost, `cost_sum` together, with the sample's `cost_deviation`, both in
    millionths.
    """

    app_type: str
    calls: int
    p10_tokens: float | None
    p90_tokens: float | None
    tokens_deviation: float | None
    priced_calls: int
    cost_sum: Decimal | None
    cost_deviation: Decimal | None


# The newest of each app by the index of (site, app), whatever they are; only then those that count. A limit
# behind a condition would read on and on where few fulfil it.
RECENT_CALLS = SiteStatement(
    """
    SELECT app.type, recent.* FROM unnest(%(app_types)s::text[]) AS app(type) CROSS JOIN LATERAL (
        SELECT count(*),
            percentile_cont(0.1) WITHIN GROUP (ORDER BY newest.tokens),
            percentile_cont(0.9) WITHIN GROUP (ORDER BY newest.tokens),
            stddev_samp(newest.tokens), count(priced.cost), sum(priced.cost), stddev_samp(priced.cost)
        FROM (
            SELECT status, coalesce(tokens_used, 0)::float8 AS tokens,
                model, prompt_tokens, completion_tokens,
                date_bin('15 minutes', created_at::timestamptz, '2000-01-01Z'::timestamptz) AS quarter
            FROM biz.ai_run_logs
            WHERE app_type = app.type AND created_at >= %(since)s AND {scope}
            ORDER BY created_at DESC, id DESC LIMIT %(most)s
        ) AS newest
        LEFT JOIN LATERAL (
            SELECT newest.prompt_tokens * prompt_price + newest.completion_tokens * completion_price AS cost
            FROM runglass.model_prices
            WHERE model = newest.model AND valid_from <= newest.quarter
              AND (valid_until IS NULL OR newest.quarter < valid_until)
            ORDER BY valid_from DESC LIMIT 1
        ) AS priced ON TRUE
        WHERE newest.status = ANY(%(ended)s)
    ) AS recent"""
)


async def recent_calls(
    connection: Connection,
    *,
    scope: Scope,
    app_types: Sequence[str],
    since: datetime,
    ended: Sequence[str],
    most: int,
) -> dict[str, RecentCalls]:
    """Of each app's `most` newest runs since then those with one of the statuses `ended`, by app."""
    values = {"app_types": list(app_types), "since": since, "ended": list(ended), "most": most}
    rows = await fetch_all(connection, RecentCalls, RECENT_CALLS, scope, values)
    return {row.app_type: row for row in rows}
