"""The scripts of docs/examples do what they say, as processes of their own against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import Api, signed_in
from tests.support.serving import serving
from tests.support.store import Store

ESTIMATE = """
mutation { estimateBatch(input: {siteId: "berlin", appTypes: ["chat"], memberIds: ["m1", "m2"]}) {
  ... on Batch { id }
} }
"""


class Scripts:
    """Runs them against one server, with one key."""

    def __init__(self, folder: Path, url: str, key: str) -> None:
        self._folder = folder
        self._settings = {"RUNGLASS_URL": url, "RUNGLASS_KEY": key, "SECONDS_BETWEEN": "0.1"}

    def start(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(self._folder / name), *arguments],
            env={**os.environ, **self._settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str, *arguments: str) -> tuple[int, str, str]:
        """The exit code, and what it printed to both."""
        process = self.start(name, *arguments)
        output, errors = process.communicate(timeout=60)
        return process.returncode, output, errors


@pytest.fixture
def scripts(dsn: str, repository: Path) -> Iterator[Scripts]:
    key = signed_in(dsn, name="script", role="operator")["authorization"].removeprefix("Bearer ")
    with serving(dsn) as server:
        yield Scripts(repository / "docs/examples", f"{server.address}/graphql", key)


def test_failed_jobs_are_run_again_once_it_is_said_so(scripts: Scripts, store: Store) -> None:
    job = store.job(created_at="2026-11-24T09:00:00Z", status="failed")
    store.job(created_at="2026-11-23T09:00:00Z", status="failed")
    arguments = ("retry_failed_jobs.py", "berlin", "2026-11-24T08:00:00Z", "the provider was down")

    dry = scripts.run(*arguments)
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs") == 2
    done = scripts.run(*arguments, "--yes")

    assert dry == (0, "1 of 1 jobs would run again\n", "")
    assert done == (0, "1 of 1 jobs run again\n", "")
    assert store.value("SELECT count(*) FROM biz.ai_trigger_jobs WHERE retry_of_id = %s", (job,)) == 1
    assert "the provider was down" in str(store.value("SELECT after FROM runglass.audit_log"))


def test_a_retry_that_is_refused_says_why(scripts: Scripts, store: Store) -> None:
    store.job(created_at="2026-11-24T09:00:00Z", status="failed")
    arguments = ("retry_failed_jobs.py", "berlin", "2026-11-24T08:00:00Z")
    code, output, errors = scripts.run(*arguments, "r", "--go-on", "--yes")
    assert (code, output) == (1, "0 of 1 jobs run again\n")
    assert errors.startswith("job_1: ")
    code, _, errors = scripts.run(*arguments, " ")
    assert (code, errors) == (1, "INVALID_INPUT: reason must hold 1 to 500 characters.\n")


def test_all_alerts_of_an_app_are_acknowledged(scripts: Scripts, store: Store) -> None:
    store.rows(
        "INSERT INTO biz.ai_run_logs (site_id, app_type, status)"
        " SELECT 'berlin', 'mail', 'failed' FROM generate_series(1, 201)"
    )
    store.run(status="failed")
    assert scripts.run("acknowledge_alerts.py", "mail", "r") == (0, "201 alerts acknowledged\n", "")
    left = "SELECT app_type FROM biz.ai_run_logs WHERE alert_status IS NULL"
    assert store.rows(left) == [{"app_type": "chat"}]
    assert scripts.run("acknowledge_alerts.py", "mail", "r") == (0, "0 alerts acknowledged\n", "")


@pytest.mark.parametrize(("status", "code"), [("completed", 0), ("completed_with_failures", 1)])
def test_a_batch_is_waited_for_until_it_has_ended(
    api: Api, scripts: Scripts, store: Store, status: str, code: int
) -> None:
    batch = api.data(ESTIMATE)["estimateBatch"]["id"]
    api.data(f'mutation {{ confirmBatch(input: {{batchId: "{batch}"}}) {{ __typename }} }}')
    process = scripts.start("wait_for_batch.py", batch)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("CONFIRMED: ")
        store.rows("UPDATE biz.ai_trigger_jobs SET status = 'success', finished_at = now()")
        store.rows("UPDATE runglass.batches SET status = %s, finished_at = now()", (status,))
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (code, "")
    assert output.splitlines()[-1].startswith(f"{status.upper()}: ")


def test_a_batch_that_is_not_there_ends_the_wait(scripts: Scripts) -> None:
    assert scripts.run("wait_for_batch.py", "batch_" + "0" * 32) == (1, "", "there is no such batch\n")
