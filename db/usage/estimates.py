"""What the newest calls of apps took, from which those of a batch are estimated.

Tables: biz.ai_run_logs, runglass.model_prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from db.postgres.pool import Connection, fetch_all
from db.sql.scope import Scope, SiteStatement


class RecentCalls(NamedTuple):
    """An app's newest calls that count, the oldest of them first; None where there are none.

    `costs` are of those whose cost is known, in millionths, and `cost_sum` is their exact sum.
    """

    app_type: str
    tokens: list[float] | None
    costs: list[float] | None
    cost_sum: Decimal | None


# The newest of each app by the index of (site, app), whatever they are; only then those that count. The outer
# limit ends the scan where enough are found, the inner one where few of very many count.
RECENT_CALLS = SiteStatement(
    """
    SELECT app.type, recent.* FROM unnest(%(app_types)s::text[]) AS app(type) CROSS JOIN LATERAL (
        SELECT array_agg(called.tokens ORDER BY called.created_at, called.id),
            array_agg(priced.cost::float8 ORDER BY called.created_at, called.id)
                FILTER (WHERE priced.cost IS NOT NULL),
            sum(priced.cost)
        FROM (
            SELECT * FROM (
                SELECT id, created_at, status, runglass.whole_number(tokens_used)::float8 AS tokens,
                    model, prompt_tokens, completion_tokens,
                    date_bin('15 minutes', created_at::timestamptz, '0001-01-01Z'::timestamptz) AS quarter
                FROM biz.ai_run_logs
                WHERE app_type = app.type AND created_at >= %(since)s AND {scope}
                ORDER BY created_at DESC, id DESC LIMIT %(looked_at)s
            ) AS newest
            WHERE newest.status = ANY(%(statuses)s) AND newest.tokens BETWEEN 0 AND %(max_tokens)s
            LIMIT %(sample)s
        ) AS called
        LEFT JOIN LATERAL (
            SELECT called.prompt_tokens * prompt_price + called.completion_tokens * completion_price AS cost
            FROM runglass.model_prices
            WHERE model = called.model AND valid_from <= called.quarter
              AND (valid_until IS NULL OR called.quarter < valid_until)
            ORDER BY valid_from DESC LIMIT 1
        ) AS priced ON TRUE
    ) AS recent"""
)


async def recent_calls(
    connection: Connection,
    *,
    scope: Scope,
    app_types: Sequence[str],
    since: datetime,
    statuses: Sequence[str],
    max_tokens: int,
    sample: int,
    looked_at: int,
) -> dict[str, RecentCalls]:
    """Each app's `sample` newest runs since then that count, by app, among its newest `looked_at`.

    Those count that have one of the statuses and known tokens, up to `max_tokens`.
    """
    values = {
        "app_types": list(app_types),
        "since": since,
        "statuses": list(statuses),
        "max_tokens": max_tokens,
        "sample": sample,
        "looked_at": looked_at,
    }
    rows = await fetch_all(connection, RecentCalls, RECENT_CALLS, scope, values)
    return {row.app_type: row for row in rows}
