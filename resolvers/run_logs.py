"""Run logs: list them, and take the reports of other services."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from db import run_logs as store
from db.keyset import Page, PageRequest
from db.pool import Database
from db.run_logs import RunLogFilter, RunLogRow
from db.scope import Scope
from resolvers.callers import Caller, audit
from resolvers.errors import InvalidInput
from resolvers.names import canonical, check_length, check_name, check_trimmed, own_site

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
# Beyond these PostgreSQL stores times that Python cannot read, and one such row would break every list.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class RunReport:
    """What another service says of one run. Tokens are counts, latency is in milliseconds.

    The same `external_id` of the same site names the same run: a later report changes it, and what the
    report leaves out keeps its value.
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
    latency_ms: int | None = None
    error_message: str | None = None
    created_at: datetime | None = None
    finished_at: datetime | None = None


async def list_run_logs(
    database: Database, scope: Scope, wanted: RunLogFilter, page: PageRequest
) -> Page[RunLogRow]:
    """One page of the runs that match."""
    async with database.connection() as connection:
        return await store.list_run_logs(connection, scope=scope, wanted=wanted, page=page)


async def count_run_logs(
    database: Database, scope: Scope, wanted: RunLogFilter, most: int, *, dated: bool = True
) -> int:
    """How many runs match, counted no further than `most`; without `dated` those that no page shows."""
    async with database.connection() as connection:
        return await store.count_run_logs(connection, scope=scope, wanted=wanted, most=most, dated=dated)


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
    runs = [_checked(index, report) for index, report in enumerate(reports)]
    async with database.transaction() as transaction:
        ids, added = await store.record_runs(transaction, scope=caller.scope, runs=runs)
        for site_id in sorted({report.site_id for report in reports}):
            count = sum(report.site_id == site_id for report in reports)
            await audit(
                transaction, caller, "recordRuns", ("site", site_id), site_id=site_id, after={"runs": count}
            )
    return ids, added


def _canonical(index: int, report: RunReport, scope: Scope) -> RunReport:
    """The report with its ids as their columns print them."""
    where = f"runs[{index}]."
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


def _checked(index: int, report: RunReport) -> dict[str, Any]:
    where = f"runs[{index}]"
    check_name(report.app_type, "appType", f"{where}.")
    check_trimmed(report.model, "model", f"{where}.")
    for column, field in _NAMES.items():
        check_length(getattr(report, column), field, f"{where}.")
    numbers = {
        "tokensUsed": report.tokens_used,
        "promptTokens": report.prompt_tokens,
        "completionTokens": report.completion_tokens,
        "latencyMs": report.latency_ms,
    }
    for field, number in numbers.items():
        if number is not None and not 0 <= number < 2**31:
            raise InvalidInput(f"{where}.{field} must be between 0 and 2147483647.", field)
    for field, instant in (("createdAt", report.created_at), ("finishedAt", report.finished_at)):
        if instant and not EARLIEST <= instant < LATEST:
            raise InvalidInput(f"{where}.{field} must lie in the years 1970 to 9998.", field)
    if report.finished_at and report.created_at and report.finished_at < report.created_at:
        raise InvalidInput(f"{where}.finishedAt lies before createdAt.", "finishedAt")
    return {
        "site_id": report.site_id,
        "app_type": report.app_type,
        "status": report.status,
        "external_id": report.external_id,
        "trigger_type": report.trigger_type,
        "member_id": report.member_id,
        "session_id": report.session_id,
        "model": report.model,
        "request_prompt": report.request_prompt,
        "response_text": report.response_text,
        "tokens_used": report.tokens_used,
        "prompt_tokens": report.prompt_tokens,
        "completion_tokens": report.completion_tokens,
        "latency_ms": report.latency_ms,
        "error_message": report.error_message,
        "created_at": report.created_at.isoformat() if report.created_at else None,
        "finished_at": report.finished_at.isoformat() if report.finished_at else None,
    }
