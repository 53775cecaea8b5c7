"""Tokens of runs by their models, from the roll-ups: what cost is made of.

Tables: runglass.model_usage (by hour and day) and runglass.batch_usage (by quarter of an hour), and of
runglass.run_log_deltas what is not folded into them yet. Only runs count whose model and both counts of
tokens are known. Times and ranges are those of `db.usage.rollups`.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from db.postgres.pool import Connection
from db.sql.scope import Scope, SiteStatement
from db.usage.ranges import ranges
from db.usage.rollups import SUM, RollUpStatement, moved


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


_SUM_MODELS = (
    SUM.replace("{table}", "runglass.model_usage")
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
        "period - 1, '', key, sum(calls)::bigint, sum(prompt_tokens), sum(completion_tokens)",
    ),
    of_sites="1",
    of_every_site="3",
)

SUM_MODELS_BY_APP = RollUpStatement(
    _SUM_MODELS.replace("{deltas}", "app_type, calls, prompt_tokens, completion_tokens")
    .replace("{group}", "period, app_type, key")
    .replace(
        "{columns}",
        "period - 1, app_type, key, sum(calls)::bigint, sum(prompt_tokens), sum(completion_tokens)",
    ),
    of_sites="0",
    of_every_site="2",
)

SUM_BATCHES = SiteStatement(
    """
    SELECT batch.id, used.quarter, used.model, sum(used.calls)::bigint, sum(used.prompt_tokens),
        sum(used.completion_tokens)
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
      AND batch.confirmed_at IS NOT NULL
    GROUP BY batch.id, used.quarter, used.model
    HAVING sum(used.calls) IS DISTINCT FROM 0""",
    column="batch.site_id",
)


async def model_usage(
    connection: Connection, *, scope: Scope, bounds: Sequence[datetime], by_app: bool = False
) -> list[ModelUsage]:
    """The usage of each period between `bounds` (ascending, two or more) by model, and by app if wanted."""
    statement = SUM_MODELS_BY_APP if by_app else SUM_MODELS_BY_PERIOD
    values = {**ranges(bounds, scope), **scope.parameters()}
    return await connection.fetch(statement.sql(scope), values, _model_usage)


async def batch_usage(connection: Connection, *, scope: Scope, ids: Sequence[UUID]) -> list[BatchUsage]:
    """The usage of the runs of these batches' jobs, in no order; a row without a quarter where none has run.

    Nothing of batches that were never confirmed.
    """
    values = {"ids": list(ids), "names": [str(batch_id) for batch_id in ids], **scope.parameters()}
    return await connection.fetch(SUM_BATCHES.sql(scope), values, _batch_usage)


def _model_usage(row: Sequence[Any]) -> ModelUsage:
    # Sums are numeric, so that none can be too large.
    *rest, prompt_tokens, completion_tokens = row
    return ModelUsage._make((*rest, int(prompt_tokens), int(completion_tokens)))


def _batch_usage(row: Sequence[Any]) -> BatchUsage:
    *rest, prompt_tokens, completion_tokens = row
    if prompt_tokens is None:
        return BatchUsage._make(row)
    return BatchUsage._make((*rest, int(prompt_tokens), int(completion_tokens)))
