"""Run logs: one row per call of an app. Tables: biz.ai_run_logs, runglass.run_external_ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, NamedTuple
from zoneinfo import ZoneInfo

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from db.postgres.errors import InvalidValue
from db.postgres.pool import ChildCount, Connection, fetch_all, fetch_by_ids, fetch_count, fetch_unscoped
from db.runs.number_ranges import FEW, RANGE_CONDITIONS, is_one_range, runs_in_range
from db.sql.audit_entries import Change, insert_audit_entry
from db.sql.conditions import (
    CREATED_RANGE,
    DATED,
    conditions_of,
    containing,
    equal,
    has_place,
    status_among,
)
from db.sql.keyset import Page, PageRequest, keyset, page_of, within
from db.sql.long_texts import cut, is_cut, name
from db.sql.scope import Scope, SiteStatement
from db.sql.token_counts import TOKENS_OF_RUN


class RunLogRow(NamedTuple):
    """A run without its prompt and response, which lists never read."""

    id: int
    site_id: str
    app_type: str
    trigger_type: str | None
    member_id: str | None
    session_id: str | None
    model: str | None
    tokens_used: int
    prompt_tokens: int | None
    completion_tokens: int | None
    cached_tokens: int | None
    latency_ms: int | None
    status: str
    error_message: str | None
    alert_status: str | None
    alert_changed_by: str | None
    alert_changed_at: datetime | None
    trigger_job_id: int | None
    external_id: str | None
    created_at: datetime
    finished_at: datetime | None
    error_message_truncated: bool


class RunTextRow(NamedTuple):
    """The long texts of a run."""

    id: int
    request_prompt: str | None
    request_prompt_truncated: bool
    response_text: str | None
    response_text_truncated: bool


class KnownRunRow(NamedTuple):
    """A run that was recorded under an external id before."""

    id: int
    site_id: str
    external_id: str
    status: str
    created_at: datetime
    finished_at: datetime | None


class KnownMeanwhile(Exception):
    """Another report of the same run came first. Nothing was changed."""


class IdRow(NamedTuple):
    """The id of a run."""

    id: int


class RecordedRow(NamedTuple):
    """The id that a recorded run got or already had."""

    id: int
    site_id: str
    external_id: str | None


@dataclass(frozen=True, slots=True)
class RunLogFilter:
    """Conditions on runs, all of which must hold. Times are half-open: from <= created_at < to."""

    app_type: str | None = None
    statuses: tuple[str, ...] | None = None
    trigger_type: str | None = None
    member_id: str | None = None
    session_id: str | None = None
    model: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    latency_min: int | None = None
    latency_max: int | None = None
    tokens_min: int | None = None
    tokens_max: int | None = None
    error_contains: str | None = None


EVERY_RUN = RunLogFilter()

RUN_LOG_COLUMNS: LiteralString = f"""
    id, coalesce({name("site_id")}, ''), coalesce({name("app_type")}, ''), {name("trigger_type")},
    {name("member_id")}, {name("session_id")}, {name("model")},
    coalesce(runglass.whole_number(tokens_used), 0), prompt_tokens, completion_tokens,
    runglass.whole_number(cached_tokens),
    runglass.small_number(runglass.whole_number(latency_ms)),
    coalesce({name("status")}, ''), {cut("error_message::text")}, {name("alert_status")}, alert_changed_by,
    alert_changed_at, trigger_job_id, {name("external_id")}, created_at, runglass.readable_time(finished_at),
    {is_cut("error_message::text")}"""

GET_RUN_LOGS = SiteStatement(
    f"SELECT {RUN_LOG_COLUMNS} FROM biz.ai_run_logs WHERE id = ANY(%(ids)s) AND {DATED} AND {{scope}}"
)

GET_RUN_TEXTS = SiteStatement(
    f"""
    SELECT id, {cut("request_prompt::text")}, {is_cut("request_prompt::text")},
        {cut("response_text::text")}, {is_cut("response_text::text")}
    FROM biz.ai_run_logs WHERE id = ANY(%(ids)s) AND {{scope}}"""
)

COUNT_RUNS_OF_JOBS = SiteStatement(
    f"""
    SELECT job.id, (
        SELECT count(*) FROM (
            SELECT FROM biz.ai_run_logs WHERE trigger_job_id = job.id AND {DATED} AND {{scope}}
            LIMIT %(limit)s
        ) AS run
    )
    FROM unnest(%(parents)s::bigint[]) AS job(id)"""
)

CLAIM_EXTERNAL_IDS: LiteralString = """
INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
SELECT site_id, external_id, 0, now()
FROM jsonb_to_recordset(%(runs)s) AS run(site_id text, external_id text)
WHERE external_id IS NOT NULL
ORDER BY site_id, external_id
ON CONFLICT DO NOTHING
RETURNING 0, site_id, external_id
"""

# The runs' values come in a JSON document and take the types of the table's own columns.
_INSERT: LiteralString = """
    INSERT INTO biz.ai_run_logs (
        site_id, app_type, trigger_type, member_id, session_id, request_prompt, response_text, tokens_used,
        prompt_tokens, completion_tokens, cached_tokens, latency_ms, status, error_message, model,
        external_id, created_at, finished_at
    )
    SELECT
        (run).site_id, (run).app_type, (run).trigger_type, (run).member_id, (run).session_id,
        (run).request_prompt, (run).response_text, {tokens}, (run).prompt_tokens, (run).completion_tokens,
        (run).cached_tokens, (run).latency_ms, (run).status, (run).error_message, (run).model,
        (run).external_id,
        coalesce((run).created_at, now()), (run).finished_at""".replace(
    "{tokens}",
    TOKENS_OF_RUN.format(
        tokens_used="(run).tokens_used",
        prompt_tokens="(run).prompt_tokens",
        completion_tokens="(run).completion_tokens",
    ),
)

INSERT_RUNS = SiteStatement(
    f"""
WITH added AS ({_INSERT}
    FROM jsonb_populate_recordset(NULL::biz.ai_run_logs, %(runs)s) AS run
    WHERE {{scope}}
    RETURNING id, site_id::text AS site_id, external_id, created_at
), claimed AS (
    UPDATE runglass.run_external_ids AS ids SET run_id = added.id, created_at = added.created_at
    FROM added WHERE ids.site_id = added.site_id AND ids.external_id = added.external_id
)
SELECT id, site_id, external_id FROM added""",
    column="run.site_id",
)

# All or none: where one is known, or its site's column would print another id, nothing is added. Of two at
# once with the same external id, the second waits for the first and then fails. Each id is looked up by
# itself (LATERAL, LIMIT): a plan that is kept from when no id was known would read the whole table.
ADD_RUNS = SiteStatement(
    f"""
WITH given AS MATERIALIZED (
    SELECT place, report ->> 'site_id' AS named_site, run
    FROM jsonb_array_elements(%(runs)s) WITH ORDINALITY AS reports(report, place)
    CROSS JOIN LATERAL jsonb_populate_record(NULL::biz.ai_run_logs, report) AS run
), added AS ({_INSERT}
    FROM given
    WHERE (SELECT bool_and({{scope}} AND (run).site_id::text = named_site) FROM given)
      AND NOT EXISTS (
        SELECT FROM given CROSS JOIN LATERAL (
            SELECT FROM runglass.run_external_ids AS ids
            WHERE ids.site_id = named_site AND ids.external_id = (run).external_id LIMIT 1
        ) AS known
      )
    ORDER BY place
    RETURNING id, site_id::text AS site, external_id, created_at
), claimed AS (
    INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
    SELECT site, external_id, id, created_at FROM added WHERE external_id IS NOT NULL
    ORDER BY site, external_id
), audited AS ({
        insert_audit_entry(
            site_id="site",
            target_id="site",
            after="jsonb_build_object('runs', runs)",
            source="FROM (SELECT site, count(*) AS runs FROM added GROUP BY site ORDER BY site) AS sites",
        )
    })
SELECT id FROM added""",
    column="(run).site_id",
)

LOCK_EXTERNAL_IDS: LiteralString = """
SELECT ids.run_id, ids.site_id, ids.external_id
FROM runglass.run_external_ids AS ids
JOIN jsonb_to_recordset(%(runs)s) AS run(site_id text, external_id text) USING (site_id, external_id)
ORDER BY ids.site_id, ids.external_id
FOR UPDATE OF ids
"""

# Asked for once the ids are locked: what another report has just changed is seen.
GET_KNOWN_RUNS = SiteStatement(
    """
    SELECT run.id, ids.site_id, ids.external_id, coalesce(run.status, ''), run.created_at, run.finished_at
    FROM runglass.run_external_ids AS ids
    JOIN jsonb_to_recordset(%(runs)s) AS named(site_id text, external_id text) USING (site_id, external_id)
    JOIN biz.ai_run_logs AS run ON run.id = ids.run_id AND run.created_at = ids.created_at
    WHERE {scope}""",
    column="run.site_id",
)


def _merged(column: LiteralString) -> LiteralString:
    """What is known of a column once a report is in: the newer word, or of an earlier state the older one."""
    return (
        "CASE WHEN is_earlier THEN coalesce(run.{0}, report.{0}) ELSE coalesce(report.{0}, run.{0}) END"
    ).replace("{0}", column)


_MERGED_COLUMNS: tuple[LiteralString, ...] = (
    "trigger_type",
    "member_id",
    "session_id",
    "request_prompt",
    "response_text",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "latency_ms",
    "model",
    "finished_at",
)

# What a report leaves out keeps its value, so that a run may be reported in pieces; one of an earlier state
# adds what is missing. Tokens that were the sum of their parts so far stay so; tokens that a service charged
# stay until it says otherwise. A corrected created_at moves the row to its partition.
UPDATE_RUNS = SiteStatement(
    """
WITH changed AS (
    UPDATE biz.ai_run_logs AS run SET
        app_type = CASE WHEN is_earlier THEN run.app_type ELSE report.app_type END,
        status = CASE WHEN is_earlier THEN run.status ELSE report.status END,
        created_at = CASE WHEN is_earlier THEN run.created_at
            ELSE coalesce(report.created_at, run.created_at) END,
        error_message = CASE WHEN clears_error AND NOT is_earlier THEN NULL ELSE {error_message} END,
        tokens_used = CASE
            WHEN report.tokens_used IS NOT NULL AND (NOT is_earlier OR (
                coalesce(run.tokens_used, 0) = 0
                AND run.prompt_tokens IS NULL AND run.completion_tokens IS NULL
            )) THEN report.tokens_used
            WHEN coalesce({prompt_tokens}, {completion_tokens}) IS NOT NULL
                AND coalesce(run.tokens_used, 0)
                    = coalesce(run.prompt_tokens, 0) + coalesce(run.completion_tokens, 0)
            THEN coalesce({prompt_tokens}, 0) + coalesce({completion_tokens}, 0)
            ELSE run.tokens_used
        END,
        {merged}
    FROM jsonb_array_elements(%(runs)s) AS given
    CROSS JOIN jsonb_populate_record(NULL::biz.ai_run_logs, given) AS report
    CROSS JOIN jsonb_to_record(given) AS manner(is_earlier boolean, clears_error boolean)
    JOIN runglass.run_external_ids AS ids
        ON ids.site_id = report.site_id::text AND ids.external_id = report.external_id
    WHERE run.id = ids.run_id AND run.created_at = ids.created_at AND {scope}
    RETURNING run.id, run.created_at
)
UPDATE runglass.run_external_ids AS ids SET created_at = changed.created_at
FROM changed WHERE ids.run_id = changed.id AND ids.created_at <> changed.created_at""".replace(
        "{error_message}", _merged("error_message")
    )
    .replace("{prompt_tokens}", _merged("prompt_tokens"))
    .replace("{completion_tokens}", _merged("completion_tokens"))
    .replace("{merged}", ", ".join([column + " = " + _merged(column) for column in _MERGED_COLUMNS])),
    column="run.site_id",
)

_STATUS_WORDS: dict[str, LiteralString] = {
    "pending": "'pending'",
    "running": "'running'",
    "success": "'success'",
    "failed": "'failed'",
    "timeout": "'timeout'",
    "circuit_open": "'circuit_open'",
}


_FRAGMENTS: dict[str, LiteralString] = {
    "app_type": equal("app_type", "app_type"),
    "trigger_type": equal("trigger_type", "trigger_type"),
    "member_id": equal("member_id", "member_id"),
    "session_id": equal("session_id", "session_id"),
    "model": equal("model", "model"),
    **CREATED_RANGE,
    **RANGE_CONDITIONS,
    "error_contains": 'error_message IS NOT NULL AND error_message::text COLLATE "C" ~ %(error_contains)s',
}


class _Search(NamedTuple):
    """How the runs that match are found. `few` is where they are looked for, if not in the whole log.

    Where all that is asked for is a range, it is `counted` by now, no further than FEW + 1.
    """

    conditions: LiteralString = ""
    values: dict[str, Any] = {}
    few: LiteralString | None = None
    custom_plan: bool = False
    counted: int | None = None


_EVERYWHERE = _Search()


async def _search(connection: Connection, scope: Scope, filters: RunLogFilter) -> _Search:
    sql, values = conditions_of(filters, _FRAGMENTS)
    if filters.error_contains is not None:
        values["error_contains"] = containing(filters.error_contains)
    conditions = status_among(filters.statuses, _STATUS_WORDS) + sql
    found = await runs_in_range(connection, scope, values)
    few = found.source if found else None
    return _Search(
        conditions,
        values,
        few,
        custom_plan=few is None and _has_rival_indexes(scope, filters),
        counted=found.counted if found and filters.statuses is None and is_one_range(values) else None,
    )


def _has_rival_indexes(scope: Scope, filters: RunLogFilter) -> bool:
    """Whether the values decide which of several indexes has the fewest rows to read."""
    if filters.member_id is not None or filters.session_id is not None:
        # There are so many of either that theirs is the best one, whatever else is given.
        return False
    named = (filters.trigger_type is not None) + (filters.model is not None)
    # Site and app together have an index of their own, and so have the alerts of either.
    others = (scope.sites is not None or filters.app_type is not None) + (filters.statuses is not None)
    return named > 0 and named + others > 1


async def list_run_logs(
    connection: Connection, *, scope: Scope, filters: RunLogFilter, page: PageRequest
) -> Page[RunLogRow]:
    """One page of the runs that match."""
    scope, filters = scope.matching("ai_run_logs", filters)
    ends, filters = within(page, filters)
    search = _EVERYWHERE if filters is EVERY_RUN else await _search(connection, scope, filters)
    keys, order, key_values = keyset(ends, of_adopted=True)
    statement = SiteStatement(
        f"SELECT {RUN_LOG_COLUMNS} FROM {search.few or 'biz.ai_run_logs'}"
        f" WHERE {{scope}}{search.conditions}{keys}{order}"
    )
    values = search.values | key_values
    rows = await fetch_all(connection, RunLogRow, statement, scope, values, custom_plan=search.custom_plan)
    return page_of(page, rows)


async def count_run_logs(
    connection: Connection, *, scope: Scope, filters: RunLogFilter, limit: int, dated: bool = True
) -> int:
    """How many runs match, counted no further than `limit`; without `dated` those that no page shows."""
    scope, filters = scope.matching("ai_run_logs", filters)
    search = _EVERYWHERE if filters is EVERY_RUN else await _search(connection, scope, filters)
    if dated and search.counted is not None and limit <= FEW + 1:
        return min(search.counted, limit)
    statement = SiteStatement(
        f"SELECT count(*) FROM (SELECT FROM {search.few or 'biz.ai_run_logs'}"
        f" WHERE {has_place(dated)} AND {{scope}}{search.conditions} LIMIT %(limit)s) AS r"
    )
    values = search.values | {"limit": limit}
    return await fetch_count(connection, statement, scope, values, custom_plan=search.custom_plan)


async def get_run_logs(
    connection: Connection, *, scope: Scope, ids: Sequence[int], whole: bool = False
) -> list[RunLogRow]:
    """The runs with these ids that lie in the scope, in no order; with `whole`, their texts are not cut."""
    return await fetch_by_ids(connection, RunLogRow, GET_RUN_LOGS, scope, ids, whole)


async def get_run_texts(
    connection: Connection, *, scope: Scope, ids: Sequence[int], whole: bool = False
) -> list[RunTextRow]:
    """Prompts and responses of these runs, in no order."""
    return await fetch_by_ids(connection, RunTextRow, GET_RUN_TEXTS, scope, ids, whole)


async def list_runs_of_jobs(
    connection: Connection, *, scope: Scope, job_ids: Sequence[int], page: PageRequest
) -> dict[int, Page[RunLogRow]]:
    """For each job, one page of the runs it started."""
    keys, order, values = keyset(page, of_adopted=True)
    statement = SiteStatement(
        f"""
        SELECT run.* FROM unnest(%(job_ids)s::bigint[]) AS job(id) CROSS JOIN LATERAL (
            SELECT {RUN_LOG_COLUMNS} FROM biz.ai_run_logs
            WHERE trigger_job_id = job.id AND {{scope}}{keys}{order}
        ) AS run"""
    )
    rows = await fetch_all(connection, RunLogRow, statement, scope, values | {"job_ids": list(job_ids)})
    return {
        job_id: page_of(page, [row for row in rows if row.trigger_job_id == job_id]) for job_id in job_ids
    }


async def count_runs_of_jobs(
    connection: Connection, *, scope: Scope, job_ids: Sequence[int], limit: int
) -> dict[int, int]:
    """For each job, how many runs it started, counted no further than `limit`."""
    values = {"parents": list(job_ids), "limit": limit}
    rows = await fetch_all(connection, ChildCount, COUNT_RUNS_OF_JOBS, scope, values)
    return {row.parent: row.children for row in rows}


async def add_runs(
    connection: Connection, *, scope: Scope, runs: Sequence[dict[str, Any]], change: Change
) -> list[int]:
    """Add runs that are new, all or none, in one statement that writes its entries of the audit log too.

    `runs` are as `record_runs` takes them. Gives their ids in this order; none where one of them is not new.
    Raises KnownMeanwhile where another report has just added one, and InvalidValue as `record_runs` does.
    """
    values = {"runs": Jsonb(_in_stored_zone(runs, scope)), **change._asdict()}
    try:
        rows = await fetch_all(connection, IdRow, ADD_RUNS, scope, values)
    except UniqueViolation as error:
        if error.diag.table_name != "run_external_ids":
            raise
        raise KnownMeanwhile from error
    return [row.id for row in rows]


async def claim_external_ids(
    connection: Connection, *, scope: Scope, runs: Sequence[dict[str, Any]]
) -> list[KnownRunRow]:
    """Take the external ids of these runs until the transaction ends; gives the runs that have one already.

    `runs` are as `record_runs` takes them.
    """
    values = {"runs": Jsonb([run for run in runs if run["external_id"] is not None])}
    claimed = await fetch_unscoped(connection, RecordedRow, CLAIM_EXTERNAL_IDS, values)
    if len(claimed) == len(values["runs"].obj):
        return []
    await fetch_unscoped(connection, RecordedRow, LOCK_EXTERNAL_IDS, values)
    return await fetch_all(connection, KnownRunRow, GET_KNOWN_RUNS, scope, values)


async def record_runs(
    connection: Connection,
    *,
    scope: Scope,
    runs: Sequence[dict[str, Any]],
    known: Sequence[KnownRunRow],
) -> tuple[list[int], int]:
    """Add runs, or change those that are known; within the transaction that claimed their external ids.

    `runs` have the table's column names; tokens_used is None for the sum of the parts, and those that are
    known have `is_earlier` and `clears_error`. The caller has checked that each site is within its scope and
    that no external id stands twice. Gives the ids in the order of `runs`, and how many were added. Raises
    InvalidValue where a value does not fit its column.
    """
    runs = _in_stored_zone(runs, scope)
    ids = {(row.site_id, row.external_id): row.id for row in known}
    changed = [run for run in runs if (run["site_id"], run["external_id"]) in ids]
    fresh = [run for run in runs if (run["site_id"], run["external_id"]) not in ids]
    if changed:
        values = {"runs": Jsonb(changed), **scope.parameters()}
        await connection.execute(UPDATE_RUNS.sql(scope), values)
    added: list[RecordedRow] = []
    if fresh:
        added = await fetch_all(connection, RecordedRow, INSERT_RUNS, scope, {"runs": Jsonb(fresh)})
    ids |= {(row.site_id, row.external_id): row.id for row in added if row.external_id is not None}
    if any(
        run["external_id"] is not None and (run["site_id"], run["external_id"]) not in ids for run in runs
    ):
        raise InvalidValue("a site id is not written as its column writes it (007 for 7)")
    # Rows without an external id come back in the order in which they went in.
    unnamed = iter([row.id for row in added if row.external_id is None])
    keys = [(run["site_id"], run["external_id"]) for run in runs]
    return [ids[key] if key in ids else next(unnamed) for key in keys], len(fresh)


def _in_stored_zone(runs: Sequence[dict[str, Any]], scope: Scope) -> list[dict[str, Any]]:
    zone = scope.forms.zone
    return list(runs) if zone.key == "UTC" else [_in_zone(run, zone) for run in runs]


def _in_zone(run: dict[str, Any], zone: ZoneInfo) -> dict[str, Any]:
    # A column of times without a zone takes the digits as they are, whatever offset follows them.
    times = {
        name: datetime.fromisoformat(run[name]).astimezone(zone).isoformat()
        for name in ("created_at", "finished_at")
        if run[name] is not None
    }
    return run | times
