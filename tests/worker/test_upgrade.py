"""A store in which the former release was working is migrated, and the work goes on where it was."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import psycopg
import pytest

from db.migrations import runner as migrate
from db.migrations.runner import apply_migrations
from tests.db.adopted import VARIANTS
from tests.support.api import Api
from tests.support.store import Store
from tests.support.workers import AppServer, Workers, eventually
from tests.worker.test_batch_actions import BATCH, RETRY_BATCH
from tests.worker.test_batches import finished

HALF_DONE = """
INSERT INTO runglass.batches (id, site_id, app_types, member_ids, status, estimated_calls, estimated_tokens,
    app_estimates, created_by, expires_at, confirmed_by, confirmed_at, started_at)
VALUES ('00000000-0000-0000-0000-00000000000a', '2', '{chat}', '{10,11,12,13}', 'running', 4, 40,
    '[{"app_type": "chat", "calls": 4, "mean_tokens": 10, "sample_size": 5}]', 'tests', now(), 'tests', now(),
    now());
INSERT INTO biz.ai_trigger_jobs (site_id, event_type, member_id, app_chain, status, batch_id, tokens_used,
    reserved_tokens, attempt, created_at)
SELECT runglass.as_site_id('2'), 'batch', runglass.as_member_id((9 + n)::text),
    runglass.app_chain(ARRAY['chat']), (ARRAY['success', 'failed', 'pending', 'pending'])[n],
    '00000000-0000-0000-0000-00000000000a', CASE WHEN n < 3 THEN 10 END, '{"chat": 10}', 1, now()
FROM generate_series(1, 4) AS n ORDER BY n;
UPDATE runglass.batches SET queued_to = (
    SELECT id FROM biz.ai_trigger_jobs WHERE batch_id IS NOT NULL ORDER BY id OFFSET 2 LIMIT 1
);
INSERT INTO runglass.job_queue (job_id, site_id, app_types, rank, batch_id)
SELECT queued_to, '2', '{chat}', 1, id FROM runglass.batches
"""


@pytest.mark.parametrize("variant", [None, *VARIANTS])
def test_a_batch_that_was_under_way_is_completed_and_retried(
    variant: str | None, empty_dsn: str, tmp_path: Path, apps: AppServer
) -> None:
    former = tmp_path / "former"
    former.mkdir()
    for file in Path(migrate.__file__).parent.glob("*.sql"):
        if file.name < "0010":
            shutil.copy(file, former)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(VARIANTS[variant].sql() if variant else "SELECT")
    asyncio.run(apply_migrations(empty_dsn, folder=former))
    with psycopg.connect(empty_dsn) as connection:
        connection.execute(HALF_DONE)

    asyncio.run(apply_migrations(empty_dsn))

    store, api, workers = Store(empty_dsn), Api(empty_dsn), Workers(empty_dsn, tmp_path, apps)
    try:
        workers.start()
        eventually(lambda: finished(store), "the batch is completed")
        batch = "batch_0000000000000000000000000000000a"
        shown = api.data(BATCH, {"id": batch})["batch"]
        progress = {"total": 4, "succeeded": 3, "failed": 1}
        assert shown == {"status": "COMPLETED_WITH_FAILURES", "progress": progress}
        assert {call.body["member"] for call in apps.calls()} == {"12", "13"}

        retry = api.data(RETRY_BATCH, {"id": batch})["retryBatch"]
        assert (retry["__typename"], retry["estimatedCalls"]) == ("Batch", 1)
        eventually(lambda: finished(store), "the retry is completed")
        assert [call.body["member"] for call in apps.calls()][2:] == ["11"]
    finally:
        workers.close()
        api.close()
        store.connection.close()
