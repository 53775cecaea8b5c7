"""The database that everybody is measured on: an embedded PostgreSQL, durable, filled by set-based SQL."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from db.embedded import server as embedded
from db.migrations.runner import apply_migrations
from db.usage import rollups

SCRATCH = Path("/var/tmp")  # noqa: S108 - on a disk, where /tmp may be memory; the folder's name is random
DAYS = 90
SLICE = 100_000

# Every value is hashed from the row's number, so that each run of the same size has the same rows. Time is
# spread evenly over 90 days up to now.
ADD_RUNS = """
INSERT INTO biz.ai_run_logs (
    site_id, app_type, trigger_type, member_id, session_id, model, request_prompt, response_text,
    tokens_used, prompt_tokens, completion_tokens, latency_ms, status, error_message, alert_status,
    created_at, finished_at)
SELECT
    'site_' || lpad((1 + (h & 65535) * (h & 65535) / 65536 * 20 / 65536)::text, 2, '0'),
    (ARRAY['answer_question', 'classify_ticket', 'draft_reply', 'extract_order', 'moderate_review',
        'recommend_product', 'summarise_thread', 'translate_text'])[1 + (h >> 16 & 7)],
    CASE WHEN h >> 19 & 7 = 0 THEN 'manual' ELSE 'event' END,
    'member_' || (h >> 22 & 8191), 'session_' || (h >> 22 & 1048575), 'model-' || (h >> 20 & 3),
    'Summarise the open orders of member ' || (h >> 22 & 8191) || ' and say which of them are late.',
    'There are ' || (h & 15) || ' open orders; the oldest was placed on Monday and will be sent tomorrow.',
    prompt + completion, prompt, completion,
    CASE WHEN status = 'circuit_open' THEN NULL ELSE round(120 * exp(3.2 * u))::integer END,
    status, CASE WHEN status <> 'success' THEN 'the provider did not answer in time' END,
    CASE WHEN status <> 'success' AND h >> 40 & 15 < 12 THEN 'acknowledged' END,
    moment, moment + make_interval(secs => 0.12 * exp(3.2 * u))
FROM (
    SELECT h, u, (200 + 1800 * u)::integer AS prompt, (50 + (h >> 50 & 511))::integer AS completion,
        %(now)s - make_interval(secs => (i - 0.5 + u / 2) * %(gap)s) AS moment,
        CASE h >> 30 & 127 WHEN 0 THEN 'circuit_open' WHEN 1 THEN 'timeout' WHEN 2 THEN 'timeout'
            WHEN 3 THEN 'failed' WHEN 4 THEN 'failed' WHEN 5 THEN 'failed' ELSE 'success' END AS status
    FROM generate_series(%(last)s::bigint, %(first)s, -1) AS i,
        LATERAL (SELECT hashint8extended(i, 7) & 9223372036854775807 AS h) AS hash,
        LATERAL (SELECT (h >> 43 & 65535) / 65536.0::float8 AS u) AS uniform
) AS drawn
"""


@contextmanager
def filled_store(data_dir: Path | None, rows: int, say: Callable[[str], None]) -> Iterator[str]:
    """The address of a database with this many run logs; without a data directory it is gone afterwards."""
    folder = data_dir or Path(tempfile.mkdtemp(prefix="runglass-bench-", dir=SCRATCH))
    if data_dir is None:
        folder.chmod(0o711)  # as root, another account runs PostgreSQL and has to reach its folder
    cluster = folder / "store"
    try:
        with embedded.start(cluster) as server:
            fill(server.dsn(), rows, say)
            yield server.dsn()
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def fill(dsn: str, rows: int, say: Callable[[str], None]) -> None:
    """Migrate, and add run logs unless this many are there; the roll-ups come along by their triggers."""
    asyncio.run(apply_migrations(dsn))
    with psycopg.connect(dsn, autocommit=True) as connection:
        present = count(connection)
        if present == rows:
            say(f"{rows:,} run logs are there")
            return
        if present:
            raise SystemExit(f"the data directory holds {present:,} run logs, not {rows:,}: choose another")
        now = datetime.now(UTC)
        connection.execute(
            "SELECT runglass.ensure_run_log_partitions(%s::date - %s::integer, %s::date)", (now, DAYS, now)
        )
        connection.execute("SET synchronous_commit = off")
        for last in range(rows, 0, -SLICE):
            first = max(1, last - SLICE + 1)
            values = {"now": now, "gap": DAYS * 86_400 / rows, "first": first, "last": last}
            connection.execute(ADD_RUNS, values)
            say(f"{rows - first + 1:,} of {rows:,} run logs added")
    asyncio.run(_fold(dsn))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    say("roll-ups folded, tables analysed")


def count(connection: psycopg.Connection) -> int:
    """How many run logs there are."""
    row = connection.execute("SELECT count(*) FROM biz.ai_run_logs").fetchone()
    return int(row[0]) if row else 0


def server_version(dsn: str) -> str:
    """The version of PostgreSQL, such as 18.4."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]) if row else "unknown"


async def _fold(dsn: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await rollups.fold(connection, wait=True)
