"""Run logs: list them, and take the reports of other services."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from db.postgres.errors import InvalidValue, RefusedByTable
from db.postgres.pool import Connection, Database
from db.runs import run_logs as store
from db.runs.refused_runs import find_refused
from db.runs.run_logs import KnownRunRow, RunLogFilter, RunLogRow
from db.sql.keyset import Page, PageRequest
from db.sql.scope import Scope
from resolvers.access.callers import Caller, audit, change_by
from resolvers.errors import InvalidInput
from resolvers.names import (
    canonical,
    check_length,
    check_name,
    check_storable,
    check_trimmed,
    own_site,
)
from resolvers.runs.run_bounds import (
    LATENCY_TEXT,
    TIME_TEXT,
    TOKENS_TEXT,
    is_latency,
    is_run_time,
    is_token_count,
)

MAX_RUNS = 1000
_NAMES = {
    "app_type": "appType",
    "trigger_type": "triggerType",
    "member_id": "memberId",
    "session_id": "sessionId",
    "external_id": "externalId",
    "model": "model",
}
FINISHED = ("success", "failed", "timeout", "circuit_open")
_TEXTS = {
    "site_id": "siteId",
    **_NAMES,
    "request_prompt": "requestPrompt",
    "response_text": "responseText",
    "error_message": "errorMessage",
}
_TOKENS = {
    "tokens_used": "tokensUsed",
    "prompt_tokens": "promptTokens",
    "completion_tokens": "completionTokens",
    "cached_tokens": "cachedTokens",
}
_TIMES = {"created_at": "createdAt", "finished_at": "finishedAt"}
_FIELDS = {**_TEXTS, **_TOKENS, **_TIMES, "latency_ms": "latencyMs", "status": "status"}
# Where the clock of a service is so much behind ours, its runs end before we heard that they began.
_CLOCK_DIFFERENCE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class RunReport:
    """What another service says of one run. Tokens are counts, latency is in milliseconds.

    The same `external_id` of the same site names the same run: a later report changes it, and what the
    report leaves out keeps its value. A report of an earlier state than the run's (pending, running, then
    finished) came late: it adds what is missing. `clears_error` takes the error message away.
    """

    site_id: str
    app_type: str
    status: str
    external_id: str | None = None
    trigger_type: str | None = None
    member_id: str | None = None
    session_id: str | None = None
    model: str | None = None
    request_prompt: str | None = None
    response_text: str | None = None
    tokens_used: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    latency_ms: int | None = None
    error_message: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None
    clears_error: bool = False


async def list_run_logs(
    database: Database, scope: Scope, filters: RunLogFilter, page: PageRequest
) -> Page[RunLogRow]:
    """One page of the runs that match."""
    async with database.connection() as connection:
        return await store.list_run_logs(connection, scope=scope, filters=filters, page=page)


async def count_run_logs(
    database: Database, scope: Scope, filters: RunLogFilter, limit: int, *, dated: bool = True
) -> int:
    """How many runs match, counted no further than `limit`; without `dated` those that no page shows."""
    async with database.connection() as connection:
        return await store.count_run_logs(connection, scope=scope, filters=filters, limit=limit, dated=dated)


async def record_runs(
    database: Database, caller: Caller, reports: Sequence[RunReport]
) -> tuple[list[int], int]:
    """Add or change runs, all or none; gives their ids in the order of the reports, and how many are new.

    Raises InvalidInput (with the index of the report), or NotFound where a site is not within the scope.
    """
    if not 1 <= len(reports) <= MAX_RUNS:
        raise InvalidInput(f"runs must hold 1 to {MAX_RUNS:,} reports; this holds {len(reports):,}.", "runs")
    reports = [_canonical(index, report, caller.scope) for index, report in enumerate(reports)]
    _check_external_ids(reports)
    now = datetime.now(UTC)
    reports = [_checked(index, report, now) for index, report in enumerate(reports)]
    try:
        return await _record(database, caller, reports)
    except (InvalidValue, RefusedByTable):
        await _refuse(database, caller, reports)
        raise


async def _record(database: Database, caller: Caller, reports: Sequence[RunReport]) -> tuple[list[int], int]:
    change = change_by(caller, "recordRuns", "site")
    with suppress(store.KnownMeanwhile):
        async with database.statement() as connection:
            runs = [_columns(report) for report in reports]
            if ids := await store.add_runs(connection, scope=caller.scope, runs=runs, change=change):
                return ids, len(ids)
    async with database.transaction() as transaction:
        runs, known = await _claimed(transaction, caller, reports)
        ids, added = await store.record_runs(transaction, scope=caller.scope, runs=runs, known=known)
        for site_id in sorted({report.site_id for report in reports}):
            count = sum(report.site_id == site_id for report in reports)
            await audit(
                transaction, caller, "recordRuns", ("site", site_id), site_id=site_id, after={"runs": count}
            )
    return ids, added


async def _claimed(
    transaction: Connection, caller: Caller, reports: Sequence[RunReport]
) -> tuple[list[dict[str, Any]], list[KnownRunRow]]:
    """What the reports write, by columns, and the runs that they change."""
    runs = [_columns(report) for report in reports]
    known = await store.claim_external_ids(transaction, scope=caller.scope, runs=runs)
    of_key = {(row.site_id, row.external_id): row for row in known}
    for index, report in enumerate(reports):
        if row := of_key.get((report.site_id, report.external_id or "")):
            runs[index] = _change(index, report, row)
    return runs, known


async def _refuse(database: Database, caller: Caller, reports: Sequence[RunReport]) -> None:
    """Raise InvalidInput for the report that the table has not taken; do nothing where it takes all now."""
    with suppress(_Accepted):
        async with database.transaction() as transaction:
            runs, known = await _claimed(transaction, caller, reports)
            refused = await find_refused(transaction, scope=caller.scope, runs=runs, known=known)
            if refused is None:
                raise _Accepted
            field = _FIELDS.get(refused.column or "")
            where = f"runs[{refused.place}]" + (f".{field}" if field else "")
            raise InvalidInput(f"{where} cannot be stored here: {refused.reason}.", field)


class _Accepted(Exception):
    """Undoes what was written to try it."""


def _canonical(index: int, report: RunReport, scope: Scope) -> RunReport:
    """The report with its ids as their columns print them. Raises InvalidInput for what is no text."""
    where = f"runs[{index}]."
    for column, field in _TEXTS.items():
        check_storable(getattr(report, column), field, where)
    changes = {"site_id": own_site(scope, report.site_id, where=where)}
    for column, field in _NAMES.items():
        value: str | None = getattr(report, column)
        if value is not None:
            changes[column] = canonical(value, scope.forms.of("ai_run_logs", column), field, where)
    return replace(report, **changes)


def _check_external_ids(reports: Sequence[RunReport]) -> None:
    seen: dict[tuple[str, str], int] = {}
    for index, report in enumerate(reports):
        if report.external_id is None:
            continue
        key = (report.site_id, report.external_id)
        if key in seen:
            raise InvalidInput(f"runs[{seen[key]}] and runs[{index}] have the same externalId.", "externalId")
        seen[key] = index


def _checked(index: int, report: RunReport, now: datetime) -> RunReport:
    """The report, with the time of its creation where that follows from the rest. Raises InvalidInput."""
    where = f"runs[{index}]."
    check_name(report.app_type, "appType", where)
    check_trimmed(report.model, "model", where)
    for column, field in _NAMES.items():
        check_length(getattr(report, column), field, where)
    for column, field in _TOKENS.items():
        number: int | None = getattr(report, column)
        if number is not None and not is_token_count(number):
            raise InvalidInput(f"{where}{field} must be {TOKENS_TEXT}.", field)
    if None not in (report.cached_tokens, report.prompt_tokens) and (report.cached_tokens or 0) > (
        report.prompt_tokens or 0
    ):
        raise InvalidInput(
            f"{where}cachedTokens is a part of promptTokens, and more than it.", "cachedTokens"
        )
    if report.latency_ms is not None and not is_latency(report.latency_ms):
        raise InvalidInput(f"{where}latencyMs must be {LATENCY_TEXT}.", "latencyMs")
    for column, field in _TIMES.items():
        instant: datetime | None = getattr(report, column)
        if instant is not None and not is_run_time(instant, now):
            raise InvalidInput(f"{where}{field} must lie {TIME_TEXT}.", field)
    if report.created_at is not None:
        _check_order(where, report.created_at, report.finished_at)
    return report


def _check_order(where: str, created_at: datetime, finished_at: datetime | None, stored: str = "") -> None:
    if finished_at is not None and finished_at < created_at:
        raise InvalidInput(f"{where}finishedAt lies before createdAt{stored}.", "finishedAt")


def _columns(report: RunReport) -> dict[str, Any]:
    """A run that is new, by the columns of its table."""
    created_at = report.created_at
    if created_at is None and report.finished_at is not None:
        took = timedelta(milliseconds=report.latency_ms or 0)
        created_at = min(report.finished_at - took, datetime.now(UTC))
    values = {field.name: getattr(report, field.name) for field in fields(report)}
    return values | {
        "created_at": created_at.isoformat() if created_at else None,
        "finished_at": report.finished_at.isoformat() if report.finished_at else None,
        "is_earlier": False,
    }


def _change(index: int, report: RunReport, run: KnownRunRow) -> dict[str, Any]:
    """What a report changes of a run that is known. Raises InvalidInput where the times do not fit."""
    where, created_at = f"runs[{index}].", report.created_at
    is_earlier = _progress(report.status) < _progress(run.status)
    if is_earlier:
        created_at = run.created_at
        if run.finished_at is None:
            _check_order(where, created_at, report.finished_at, " as it is stored")
    else:
        finished_at = report.finished_at or run.finished_at
        if report.created_at is not None:
            _check_order(
                where, report.created_at, finished_at, "" if report.finished_at else ": it is stored so"
            )
        elif finished_at is not None and finished_at < run.created_at:
            if finished_at < run.created_at - _CLOCK_DIFFERENCE:
                _check_order(where, run.created_at, finished_at, " as it is stored; send createdAt with it")
            created_at = finished_at
    columns = _columns(replace(report, created_at=created_at or run.created_at))
    return columns | {"is_earlier": is_earlier, "created_at": (created_at or run.created_at).isoformat()}


def _progress(status: str) -> int:
    """How far a state is on the way of a run; words of others are before ours."""
    return 2 if status in FINISHED else int(status == "running")
