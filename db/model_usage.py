"""Tokens of runs by their models, from the roll-ups: what cost is made of.

Tables: runglass.model_usage (by hour and day) and runglass.batch_usage (by quarter of an hour), and of
runglass.run_log_deltas what is not folded into them yet. Only runs count whose model and both counts of
tokens are known. Times and ranges are those of `db.rollups`. What was written before models were counted, and
is not counted yet (runglass.model_usage_start), is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple
from uuid import UUID

from db.pool import Connection, fetch_all
from db.ranges import ranges
from db.rollups import SUM, RollUpStatement, moved
from db.scope import Scope, SiteStatement


class ModelUsage(NamedTuple):
    """Runs of one model within [bounds[period], bounds[period + 1]); `app_type` is '' for all."""

    period: int
    app_type: str
    model: str
    calls: int
    prompt_tokens: int
    completion_tokens: int


class BatchUsage(NamedTuple):
    """Runs of one model of a batch's jobs in one quarter of an hour.

    `model` is '' for runs whose model or tokens are unknown. The last four are None where there were no runs.
    """

    batch_id: UUID
    quarter: datetime | None
    model: str | None
    calls: int | None
    prompt_tokens: int | None
    completion_tokens: int | None


_COUNTED_FROM: LiteralString = "(SELECT counted_from FROM runglass.model_usage_start)"

_SUM_MODELS = (
    SUM.replace("(SELECT %(first_day)s::timestamptz)", "greatest(%(first_day)s, " + _COUNTED_FROM + ")")
    .replace("= edge.hour", "= edge.hour AND edge.hour >= " + _COUNTED_FROM)
    .replace("%(first)s", "greatest(%(first)s, " + _COUNTED_FROM + ")")
    .replace("{table}", "runglass.model_usage")
    .replace("{key}", "model")
    .replace("{measures}", "app_type, calls, prompt_tokens, completion_tokens")
    .replace(
        "{moved}",
        ", ".join(("app_type", moved("calls"), moved("prompt_tokens"), moved("completion_tokens"))),
    )
)

SUM_MODELS_BY_PERIOD = RollUpStatement(
    _SUM_MODELS.replace("{deltas}", "'', calls, prompt_tokens, completion_tokens")
    .replace("{group}", "period, key")
    .replace(
        "{columns}",
        "period - 1, '', key, sum(calls)::bigint, sum(prompt_tokens)::bigint, sum(completion_tokens)::bigint",
    ),
    of_sites="1",
    of_every_site="3",
)

SUM_MODELS_BY_APP = RollUpStatement(
    _SUM_MODELS.replace("{deltas}", "app_type, calls, prompt_tokens, completion_tokens")
    .replace("{group}", "period, app_type, key")
    .replace(
        "{columns}",
        "period - 1, app_type, key, sum(calls)::bigint, sum(prompt_tokens)::bigint,"
        " sum(completion_tokens)::bigint",
    ),
    of_sites="0",
    of_every_site="2",
)

# Of a batch that was confirmed before everything was counted, nothing is said.
SUM_BATCHES = SiteStatement(
    """
    SELECT batch.id, used.quarter, used.model, sum(used.calls)::bigint, sum(used.prompt_tokens)::bigint,
        sum(used.completion_tokens)::bigint
    FROM runglass.batches AS batch
    LEFT JOIN (
        SELECT batch_id, quarter, model, calls, prompt_tokens, completion_tokens
        FROM runglass.batch_usage WHERE batch_id = ANY(%(names)s)
        UNION ALL
        SELECT batch_id, quarter, coalesce(model, ''), calls, coalesce(prompt_tokens, 0),
            coalesce(completion_tokens, 0)
        FROM runglass.run_log_deltas WHERE batch_id = ANY(%(names)s)
    ) AS used ON used.batch_id = batch.id::text
    WHERE batch.id = ANY(%(ids)s) AND {scope}
      AND batch.confirmed_at >= (SELECT counted_from FROM runglass.model_usage_start)
    GROUP BY batch.id, used.quarter, used.model
    HAVING sum(used.calls) IS DISTINCT FROM 0""",
    column="batch.site_id",
)


async def model_usage(
    connection: Connection, *, scope: Scope, bounds: Sequence[datetime], by_app: bool = False
) -> list[ModelUsage]:
    """The usage of each period between `bounds` (ascending, two or more) by model, and by app if wanted."""
    statement = SUM_MODELS_BY_APP if by_app else SUM_MODELS_BY_PERIOD
    return await fetch_all(connection, ModelUsage, statement, scope, ranges(bounds, scope))


async def batch_usage(connection: Connection, *, scope: Scope, ids: Sequence[UUID]) -> list[BatchUsage]:
    """The usage of the runs of these batches' jobs, in no order; a row without a quarter where none has run.

    Nothing of batches that were never confirmed.
    """
    values = {"ids": list(ids), "names": [str(batch_id) for batch_id in ids]}
    return await fetch_all(connection, BatchUsage, SUM_BATCHES, scope, values)
