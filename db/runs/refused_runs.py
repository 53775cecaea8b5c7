"""Which of many reported runs the run log does not take, and which of its values. Table: biz.ai_run_logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString, NamedTuple

from psycopg.types.json import Jsonb

from db.postgres.errors import InvalidValue, RefusedByTable, translated
from db.postgres.pool import Connection
from db.runs.run_logs import KnownRunRow, record_runs
from db.sql.scope import Scope

# The value takes the type of its column.
TRY_VALUE: LiteralString = "SELECT count(*) FROM jsonb_populate_record(NULL::biz.ai_run_logs, %(run)s)"


class RefusedRun(NamedTuple):
    """A run by its place among others, and what the table says. `column` is None where nobody tells."""

    place: int
    column: str | None
    reason: str


async def find_refused(
    connection: Connection,
    *,
    scope: Scope,
    runs: Sequence[dict[str, Any]],
    known: Sequence[KnownRunRow],
) -> RefusedRun | None:
    """The first run that the table does not take after those before it; None where it takes all now.

    It writes the others, so the caller must roll its transaction back. The arguments are those of
    `record_runs`.
    """
    low, high = 0, len(runs)
    while high - low > 1:
        middle = (low + high) // 2
        if await _refusal(connection, scope, runs[low:middle], known) is None:
            low = middle
        else:
            high = middle
    error = await _refusal(connection, scope, runs[low:high], known)
    if error is None:
        return None
    if isinstance(error, RefusedByTable):
        return RefusedRun(low, error.column, str(error))
    return RefusedRun(low, await _refused_column(connection, runs[low]), str(error))


async def _refusal(
    connection: Connection, scope: Scope, runs: Sequence[dict[str, Any]], known: Sequence[KnownRunRow]
) -> InvalidValue | RefusedByTable | None:
    try:
        with translated(changing=True):
            async with connection.transaction():
                await record_runs(connection, scope=scope, runs=runs, known=known)
    except (InvalidValue, RefusedByTable) as error:
        return error
    return None


async def _refused_column(connection: Connection, run: dict[str, Any]) -> str | None:
    # Where not even a row without values is one, no value is to blame.
    for column, value in [(None, None), *run.items()]:
        try:
            with translated():
                async with connection.transaction():
                    await connection.execute(TRY_VALUE, {"run": Jsonb({column: value} if column else {})})
        except InvalidValue:
            return column
    # Each of them fits, so it is the one that is made of others.
    parts = (run["prompt_tokens"], run["completion_tokens"])
    return "tokens_used" if run["tokens_used"] is None and parts != (None, None) else None
