"""The database that everybody is measured on: an embedded PostgreSQL with an adopted log."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from db.embedded import server as embedded

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = Path("/var/tmp")  # noqa: S108 - on a disk, where /tmp may be memory; the folder's name is random
ADOPTED, BEING_ADOPTED = "bench_adopted", "bench_being_adopted"
SITE, APP, MEMBER = "site_07", "draft_reply", "member_77"
BATCH_ID = "b" * 32
DAYS = 90
MIGRATE_SECONDS = 1_800

TABLES = """
CREATE SCHEMA biz;
CREATE TABLE biz.ai_run_logs (id bigserial PRIMARY KEY, site_id text NOT NULL, app_type text NOT NULL,
    trigger_type text, member_id text, session_id text, model text, request_prompt text, response_text text,
    tokens_used bigint NOT NULL DEFAULT 0, prompt_tokens bigint, completion_tokens bigint, latency_ms integer,
    status text NOT NULL DEFAULT 'running', error_message text, alert_status text, trigger_job_id bigint,
    created_at timestamptz NOT NULL DEFAULT now(), finished_at timestamptz);
CREATE TABLE biz.ai_trigger_jobs (id bigserial PRIMARY KEY, site_id text NOT NULL, event_type text NOT NULL,
    connector_type text, member_id text, payload jsonb, app_chain text[], is_forced boolean NOT NULL
    DEFAULT false, status text NOT NULL DEFAULT 'pending', error_message text, started_at timestamptz,
    finished_at timestamptz, created_at timestamptz NOT NULL DEFAULT now());
"""

# Every value is hashed from the row's number, so that each run of the same size has the same rows. Time is
# spread evenly over 90 days up to now. Ten runs in a row have one site and member; three of them have a job.
_DRAWN = """
LATERAL (SELECT hashint8extended((i - 1) / 10, 7) & 9223372036854775807 AS j) AS of_job,
LATERAL (SELECT
    'site_' || lpad((1 + (j & 65535) * (j & 65535) / 65536 * 20 / 65536)::text, 2, '0') AS site,
    'member_' || (j >> 22 & 8191) AS member) AS owner,
LATERAL (SELECT hashint8extended(i, 7) & 9223372036854775807 AS h) AS hash,
LATERAL (SELECT (h >> 43 & 65535) / 65536.0::float8 AS u) AS uniform,
LATERAL (SELECT %(now)s::timestamptz - make_interval(secs => (i - 0.5 + u / 2) * %(gap)s) AS moment) AS time
"""
ADD_RUNS = f"""
INSERT INTO biz.ai_run_logs (
    site_id, app_type, trigger_type, member_id, session_id, model, request_prompt, response_text,
    tokens_used, prompt_tokens, completion_tokens, latency_ms, status, error_message, alert_status,
    trigger_job_id, created_at, finished_at)
SELECT
    site, (ARRAY['answer_question', 'classify_ticket', 'draft_reply', 'extract_order', 'moderate_review',
        'recommend_product', 'summarise_thread', 'translate_text'])[1 + (h >> 16 & 7)],
    CASE WHEN i %% 10 < 3 THEN 'event' WHEN h >> 19 & 7 = 0 THEN 'manual' ELSE 'api' END,
    member, 'session_' || (h >> 22 & 1048575), 'model-' || (h >> 20 & 3),
    'Summarise the open orders of ' || member || ' and say which of them are late.',
    'There are ' || (h & 15) || ' open orders; the oldest was placed on Monday and will be sent tomorrow.',
    prompt + completion, prompt, completion,
    CASE WHEN status <> 'circuit_open' THEN round(120 * exp(3.2 * u))::integer END,
    status, CASE WHEN status <> 'success' THEN 'the provider did not answer in time' END,
    CASE WHEN status <> 'success' AND h >> 40 & 15 < 12 THEN 'acknowledged' END,
    CASE WHEN i %% 10 < 3 THEN (%(rows)s - i) / 10 + 1 END,
    moment, moment + make_interval(secs => 0.12 * exp(3.2 * u))
FROM generate_series(%(rows)s::bigint, 1, -1) AS i, {_DRAWN},
    LATERAL (SELECT
        (200 + 1800 * u)::integer AS prompt, (50 + (h >> 50 & 511))::integer AS completion,
        CASE h >> 30 & 127 WHEN 0 THEN 'circuit_open' WHEN 1 THEN 'timeout' WHEN 2 THEN 'timeout'
            WHEN 3 THEN 'failed' WHEN 4 THEN 'failed' WHEN 5 THEN 'failed' ELSE 'success' END AS status
    ) AS outcome
"""
ADD_JOBS = f"""
INSERT INTO biz.ai_trigger_jobs (site_id, event_type, connector_type, member_id, payload, app_chain, status,
    error_message, started_at, finished_at, created_at)
SELECT site, (ARRAY['order_placed', 'ticket_opened', 'review_written'])[1 + h %% 3], 'webhook', member,
    jsonb_build_object('order', h & 65535), ARRAY['classify_ticket', 'extract_order', 'draft_reply'],
    CASE WHEN h & 31 = 0 THEN 'failed' ELSE 'success' END,
    CASE WHEN h & 31 = 0 THEN 'the last app of its chain failed' END, moment, moment + interval '9 s', moment
FROM generate_series(%(rows)s::bigint - 9, 1, -10) AS i, {_DRAWN}
"""
# What only we write comes once the tables are adopted. It is a month old, so as not to lead the list of jobs.
ADD_BATCH = f"""
WITH batch AS (
    INSERT INTO runglass.batches (id, site_id, app_types, member_ids, status, estimated_calls,
        estimated_tokens, app_estimates, created_by, created_at, expires_at, confirmed_by, confirmed_at,
        started_at, finished_at, is_queued, jobs_succeeded, jobs_failed, tokens_used)
    SELECT '{BATCH_ID}', '{SITE}', ARRAY['{APP}'], ARRAY(SELECT 'member_' || generate_series(1, 1000)),
        'completed', 1000, 900000,
        '[{{"app_type": "{APP}", "calls": 1000, "mean_tokens": 900, "sample_size": 1000}}]', 'console', at,
        at + interval '1 hour', 'console', at, at, at + interval '1 hour', true, 1000, 0, 871000
    FROM (SELECT max(created_at) - interval '30 days' AS at FROM biz.ai_trigger_jobs) AS newest
    RETURNING *
)
INSERT INTO biz.ai_trigger_jobs (site_id, event_type, connector_type, member_id, payload, app_chain, status,
    started_at, finished_at, created_at, batch_id, attempt, tokens_used)
SELECT site_id, 'batch', 'batch', member, '{{}}', app_types, 'success', created_at, finished_at, created_at,
    id, 1, 871
FROM batch CROSS JOIN unnest(member_ids) AS member
"""


@contextmanager
def filled_server(data_dir: Path | None, rows: int, say: Callable[[str], None]) -> Iterator[str]:
    """The address of a server with the log of others; without a data directory it is gone afterwards."""
    folder = data_dir or Path(tempfile.mkdtemp(prefix="runglass-bench-", dir=SCRATCH))
    if data_dir is None:
        folder.chmod(0o711)  # as root, another account runs PostgreSQL and has to reach its folder
    try:
        with embedded.start(folder / "store") as server:
            fill(server.dsn(), rows, say)
            yield server.dsn()
    finally:
        if data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def fill(dsn: str, rows: int, say: Callable[[str], None]) -> None:
    """Make the database that each checkout adopts a copy of, unless it holds these rows of today."""
    now = datetime.now(UTC)
    with psycopg.connect(dsn, autocommit=True) as connection:
        made = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", (ADOPTED,)
        ).fetchone()
        described = f"{rows} {now.date()}"
        if made == (described,):
            return
        for (name,) in connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE 'bench_%'"
        ).fetchall():
            connection.execute(f"DROP DATABASE {name}")
        connection.execute(f"CREATE DATABASE {ADOPTED}")
        with psycopg.connect(make_conninfo(dsn, dbname=ADOPTED)) as filling:
            add_rows(filling, rows, now)
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(ADOPTED), sql.Literal(described))
        )
    say(f"{rows:,} run logs added")


def add_rows(connection: psycopg.Connection, rows: int, now: datetime) -> None:
    """Make the tables of others, with so many run logs up to now and a job for each ten of them."""
    values = {"now": now, "gap": DAYS * 86_400 / rows, "rows": rows}
    connection.execute(TABLES)
    connection.execute(ADD_RUNS, values)
    connection.execute(ADD_JOBS, values)


def adopt(dsn: str, name: str, tree: Path, say: Callable[[str], None]) -> str:
    """The address of a fresh database of that name, with the rows as the code of a checkout has adopted them.

    Adopting takes a minute, so what it made is kept beside for the next run of the same migrations. Raises
    CalledProcessError where these fail.
    """
    parts = [path.read_bytes() for path in sorted(tree.glob("db/**/*.sql"))]
    kept = f"{ADOPTED}_{hashlib.sha256(b''.join(parts)).hexdigest()[:12]}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", (kept,)).fetchone() is None:
            connection.execute(f"DROP DATABASE IF EXISTS {BEING_ADOPTED} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {BEING_ADOPTED} TEMPLATE {ADOPTED} STRATEGY FILE_COPY")
            _migrate(make_conninfo(dsn, dbname=BEING_ADOPTED), tree)
            connection.execute(f"ALTER DATABASE {BEING_ADOPTED} RENAME TO {kept}")
            say(f"adopted by {tree}")
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {kept} STRATEGY FILE_COPY")
        connection.execute("CHECKPOINT")
    return make_conninfo(dsn, dbname=name)


def python_of(tree: Path) -> str:
    """The Python that runs a checkout: this one its own, another one that of its environment."""
    return sys.executable if tree == ROOT else str(tree / ".venv" / "bin" / "python")


def _migrate(dsn: str, tree: Path) -> None:
    subprocess.run(
        [python_of(tree), "-m", "graph", "migrate"],
        cwd=tree,
        env=os.environ | {"DATABASE_URL": dsn},
        check=True,
        capture_output=True,
        timeout=MIGRATE_SECONDS,
    )
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(ADD_BATCH)
        connection.execute("VACUUM (ANALYZE)")
