"""Loading the demo's rows, once, into an empty store. Tables: biz.ai_run_logs, ai_trigger_jobs, ai_cache,
runglass.model_prices.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, LiteralString, NamedTuple

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from db.postgres.address import connected
from db.postgres.errors import translated

Connection = AsyncConnection[TupleRow]

# Any constant that no other lock of ours has.
_LOCK_KEY = 7_864_511_245_004

STORE_IS_EMPTY: LiteralString = """
SELECT NOT EXISTS (SELECT FROM biz.ai_run_logs)
    AND NOT EXISTS (SELECT FROM biz.ai_trigger_jobs)
    AND NOT EXISTS (SELECT FROM biz.ai_cache)
"""

COPY_DEMO_RUNS: LiteralString = """
COPY biz.ai_run_logs (
    site_id, app_type, trigger_type, member_id, session_id, request_prompt, response_text, model, tokens_used,
    prompt_tokens, completion_tokens, latency_ms, status, error_message, alert_status, alert_changed_by,
    alert_changed_at, trigger_job_id, created_at, finished_at
) FROM STDIN
"""

INSERT_DEMO_JOBS: LiteralString = """
INSERT INTO biz.ai_trigger_jobs (
    id, site_id, event_type, connector_type, member_id, payload, app_chain, is_forced, status, error_message,
    retry_of_id, attempt, created_at, started_at, finished_at
) OVERRIDING SYSTEM VALUE
SELECT
    id, site_id, event_type, connector_type, member_id, payload, runglass.app_chain(app_chain), is_forced,
    status, error_message, retry_of_id, attempt, created_at, started_at, finished_at
FROM jsonb_to_recordset(%s) AS job(
    id bigint, site_id text, event_type text, connector_type text, member_id text, payload jsonb,
    app_chain text[], is_forced boolean, status text, error_message text, retry_of_id bigint, attempt integer,
    created_at timestamptz, started_at timestamptz, finished_at timestamptz
)
"""

ADVANCE_JOB_IDS: LiteralString = """
SELECT setval(pg_get_serial_sequence('biz.ai_trigger_jobs', 'id'), max(id)) FROM biz.ai_trigger_jobs
"""

# A store without rows may have prices already.
INSERT_DEMO_PRICES: LiteralString = """
INSERT INTO runglass.model_prices (
    model, prompt_price, completion_price, valid_from, created_by, updated_by
)
VALUES (%s, %s, %s, %s, 'demo', 'demo') ON CONFLICT DO NOTHING
"""

COPY_DEMO_CACHE: LiteralString = """
COPY biz.ai_cache (site_id, cache_type, target_id, status, result, created_at, expires_at) FROM STDIN
"""


class DemoRun(NamedTuple):
    """A run to load; the fields are the columns of COPY_DEMO_RUNS."""

    site_id: str
    app_type: str
    trigger_type: str
    member_id: str
    session_id: str
    request_prompt: str
    response_text: str | None
    model: str
    tokens_used: int
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_ms: int | None
    status: str
    error_message: str | None
    alert_status: str | None
    alert_changed_by: str | None
    alert_changed_at: datetime | None
    trigger_job_id: int | None
    created_at: datetime
    finished_at: datetime | None


class DemoJob(NamedTuple):
    """A job to load, with the id that its runs and retries name."""

    id: int
    site_id: str
    event_type: str
    connector_type: str
    member_id: str
    payload: dict[str, Any]
    app_chain: list[str]
    is_forced: bool
    status: str
    error_message: str | None
    retry_of_id: int | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class DemoCacheEntry(NamedTuple):
    """A cached answer to load; the fields are the columns of COPY_DEMO_CACHE."""

    site_id: str
    cache_type: str
    target_id: str
    status: str
    result: dict[str, Any]
    created_at: datetime
    expires_at: datetime


class DemoPrice(NamedTuple):
    """What a million tokens of a model cost; the fields are the values of INSERT_DEMO_PRICES."""

    model: str
    prompt_price: Decimal
    completion_price: Decimal
    valid_from: datetime


@asynccontextmanager
async def demo_transaction(dsn: str) -> AsyncGenerator[Connection, None]:
    """A transaction on a connection of its own, held by one loader of demo data at a time.

    Raises Unavailable where the database cannot be reached.
    """
    with translated():
        async with connected(dsn, seconds=5, purpose="demo") as connection, connection.transaction():
            await connection.execute("SET LOCAL statement_timeout = 0")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK_KEY,))
            yield connection


async def store_is_empty(connection: Connection) -> bool:
    """Whether there is no run, no job and no cache entry."""
    cursor = await connection.execute(STORE_IS_EMPTY)
    return await cursor.fetchone() == (True,)


async def insert_demo(
    connection: Connection,
    *,
    runs: Sequence[DemoRun],
    jobs: Sequence[DemoJob],
    cache: Sequence[DemoCacheEntry],
    prices: Sequence[DemoPrice],
) -> None:
    """Load everything within the caller's transaction; the store must be empty. `runs` go oldest first."""
    await connection.execute(
        "SELECT runglass.ensure_run_log_partitions(%s, %s)",
        (runs[0].created_at.date(), runs[-1].created_at.date()),
    )
    async with connection.cursor() as cursor, cursor.copy(COPY_DEMO_RUNS) as copy:
        for run in runs:
            await copy.write_row(run)
    documents = [job._asdict() for job in jobs]
    await connection.execute(INSERT_DEMO_JOBS, (Jsonb(documents, dumps=_dump_job),))
    await connection.execute(ADVANCE_JOB_IDS)
    async with connection.cursor() as cursor, cursor.copy(COPY_DEMO_CACHE) as copy:
        for entry in cache:
            await copy.write_row(entry._replace(result=Jsonb(entry.result)))  # pyright: ignore[reportArgumentType]
    async with connection.cursor() as cursor:
        await cursor.executemany(INSERT_DEMO_PRICES, prices)
    # Autovacuum never analyses a partitioned table as a whole.
    await connection.execute("ANALYZE biz.ai_run_logs, biz.ai_trigger_jobs, biz.ai_cache")


def _dump_job(documents: Any) -> bytes:
    return orjson.dumps(documents)
