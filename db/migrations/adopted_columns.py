"""What adopted tables hold: columns of types that cannot be served, and rows that cannot be shown whole."""

from __future__ import annotations

from typing import Any, LiteralString, NamedTuple

from psycopg import AsyncConnection

from db.sql.conditions import UNDATED

_TEXTS = ("text", "varchar", "bpchar")
_INTEGERS = ("int2", "int4", "int8")
_NUMBERS = (*_INTEGERS, "numeric", "decimal", "float4", "float8")
_IDS = (*_INTEGERS, "numeric", "uuid", *_TEXTS)
_TIMES = ("timestamptz", "timestamp")
_JSON = ("json", "jsonb", *_TEXTS)

_SERVED: dict[str, dict[str, tuple[str, ...]]] = {
    "ai_run_logs": {
        "id": _INTEGERS,
        "site_id": _IDS,
        "member_id": _IDS,
        "session_id": _IDS,
        "app_type": _TEXTS,
        "trigger_type": _TEXTS,
        "status": _TEXTS,
        "alert_status": _TEXTS,
        "error_message": _TEXTS,
        "request_prompt": _JSON,
        "response_text": _JSON,
        "tokens_used": _NUMBERS,
        "latency_ms": _NUMBERS,
        "prompt_tokens": _INTEGERS,
        "completion_tokens": _INTEGERS,
        "model": _TEXTS,
        "created_at": _TIMES,
        "finished_at": _TIMES,
    },
    "ai_trigger_jobs": {
        "id": _INTEGERS,
        "site_id": _IDS,
        "member_id": _IDS,
        "event_type": _TEXTS,
        "connector_type": _TEXTS,
        "status": _TEXTS,
        "error_message": _TEXTS,
        "is_forced": ("bool",),
        "payload": _JSON,
        "app_chain": (*_JSON, "_text", "_varchar"),
        "started_at": _TIMES,
        "finished_at": _TIMES,
        "created_at": _TIMES,
    },
    "ai_cache": {
        "id": _INTEGERS,
        "site_id": _IDS,
        "cache_type": _TEXTS,
        "target_id": _IDS,
        "status": _TEXTS,
        "result": _JSON,
        "created_at": _TIMES,
        "expires_at": _TIMES,
    },
}
# Without these there is nothing to adopt a table by.
_NEEDED = {
    "ai_run_logs": ("id", "site_id", "app_type", "status", "created_at"),
    "ai_trigger_jobs": ("id", "site_id", "event_type", "status", "created_at"),
    "ai_cache": ("site_id", "cache_type", "status"),
}

COLUMN_TYPES: LiteralString = """
SELECT relname, attname,
    -- Of a numeric column with decimals, which prints the id 7 as 7.00.
    CASE WHEN base.typname = 'numeric' AND modifier >= 4 AND (modifier - 4) & 2047 <> 0
        THEN 'decimal' ELSE base.typname END,
    format_type(atttypid, atttypmod)
FROM pg_attribute
JOIN pg_class ON pg_class.oid = attrelid AND relkind IN ('r', 'p', 'v', 'f', 'm')
JOIN pg_type AS own ON own.oid = atttypid
JOIN pg_type AS base ON base.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END
CROSS JOIN LATERAL (SELECT greatest(atttypmod, own.typtypmod)) AS declared(modifier)
WHERE relnamespace = to_regnamespace('biz') AND relname IN ('ai_run_logs', 'ai_trigger_jobs', 'ai_cache')
  AND attnum > 0 AND NOT attisdropped
ORDER BY relname, attnum
"""

_ODD_ROWS: LiteralString = f"""
SELECT
    (SELECT count(*) FROM (SELECT FROM biz.ai_run_logs WHERE {UNDATED} LIMIT 100001) AS r),
    (SELECT count(*) FROM (SELECT FROM biz.ai_trigger_jobs WHERE {UNDATED} LIMIT 100001) AS j),
    (SELECT count(*) FROM (SELECT FROM biz.ai_cache WHERE {UNDATED} LIMIT 100001) AS c)
"""


# Along the index of external ids, of which there may be millions.
_ODD_SITES: LiteralString = """
WITH RECURSIVE known AS (
    (SELECT site_id FROM runglass.run_external_ids ORDER BY site_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT site_id FROM runglass.run_external_ids WHERE site_id > known.site_id ORDER BY site_id LIMIT 1
    ) FROM known WHERE known.site_id IS NOT NULL
)
SELECT DISTINCT own.name, own.site_id FROM (
    SELECT 'external ids' AS name, site_id FROM known
    UNION ALL SELECT 'budgets', site_id FROM runglass.budgets
    UNION ALL SELECT 'batches', site_id FROM runglass.batches
    UNION ALL SELECT 'waiting jobs', site_id FROM runglass.job_queue
    UNION ALL SELECT 'keys', unnest(sites) FROM runglass.api_keys
) AS own, runglass.type_of_sites() AS type
WHERE type IS NOT NULL AND own.site_id IS DISTINCT FROM runglass.spelled_site(own.site_id, type)
  AND own.site_id IS NOT NULL
ORDER BY 1, 2 LIMIT 21
"""


class OddRows(NamedTuple):
    """How many rows no list can show, for want of a usable time of creation; counted up to 100,001 each."""

    runs: int
    jobs: int
    cached_answers: int


async def columns_in_the_way(connection: AsyncConnection[Any]) -> list[str]:
    """Why the tables that are there cannot be adopted, a phrase a column; none where they can be."""
    cursor = await connection.execute(COLUMN_TYPES)
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for table, column, kind, shown in await cursor.fetchall():
        found.setdefault(table, {})[column] = (kind, shown)
    problems: list[str] = []
    for table, columns in found.items():
        problems += [f"biz.{table} has no {name}" for name in _NEEDED[table] if name not in columns]
        for name, served in _SERVED[table].items():
            kind, shown = columns.get(name, ("", ""))
            if kind and kind not in served:
                problems.append(f"biz.{table}.{name} is of type {shown}")
    return problems


async def count_odd_rows(connection: AsyncConnection[Any]) -> OddRows:
    """How many rows of the three tables are left out of lists and sums."""
    cursor = await connection.execute(_ODD_ROWS)
    row = await cursor.fetchone()
    return OddRows(*row) if row else OddRows(0, 0, 0)


async def list_odd_sites(connection: AsyncConnection[Any]) -> list[tuple[str, str]]:
    """Where in our own tables, and which, are sites that the column of the runs' cannot hold; 21 at most."""
    cursor = await connection.execute(_ODD_SITES)
    return [(name, site) for name, site in await cursor.fetchall()]
