"""Clients that go away amid their requests, again and again, take nothing of the server with them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.http.test_cancel_in_postgres import send, wait_until_waiting
from tests.support.api import Api
from tests.support.serving import serving
from tests.support.store import Store

POOL = 4
CLIENTS = 4
SECONDS = 4.0
LONGEST_PATIENCE = 0.012
BLOCKS = "{ today { calls latency { p50 } } trend { calls } appHealth { appType } recentAlerts { id } }"
DASHBOARDS = f"""{{
  la: dashboard(timeZone: "America/Los_Angeles") {BLOCKS}
  nepal: dashboard(timeZone: "Asia/Kathmandu") {BLOCKS}
  berlin: dashboard(timeZone: "Europe/Berlin") {BLOCKS}
}}"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def address(dsn: str, log: Path) -> Iterator[str]:
    settings = {"POOL_MIN_SIZE": str(POOL), "POOL_MAX_SIZE": str(POOL), "STATEMENT_TIMEOUT": "600"}
    # One caller takes all connections here.
    settings["CALLER_SHARE"] = "1"
    with serving(dsn, log=log, **{f"RUNGLASS_{name}": value for name, value in settings.items()}) as server:
        yield server.address


def abort_again_and_again(address: str, headers: dict[str, str], seed: int) -> int:
    """Send and go; gives how often."""
    patience = random.Random(seed)
    end = time.monotonic() + SECONDS
    aborts = 0
    while time.monotonic() < end:
        with closing(send(address, DASHBOARDS, headers)):
            time.sleep(patience.uniform(0, LONGEST_PATIENCE))
        aborts += 1
    return aborts


@pytest.mark.timeout(90)
def test_after_a_flood_of_aborts_the_whole_pool_is_there(
    api: Api, store: Store, dsn: str, address: str, log: Path
) -> None:
    for site in range(20):
        store.run(site_id=f"site{site}", status="failed")
    with ThreadPoolExecutor(CLIENTS) as clients:
        flood = [clients.submit(abort_again_and_again, address, api.headers, seed) for seed in range(CLIENTS)]
        assert sum(each.result() for each in flood) > 100

    assert httpx.get(f"{address}/readyz", timeout=20).status_code == 200
    # As many requests as the pool has connections get one each: all of them reach the lock.
    with psycopg.connect(dsn) as other, ExitStack() as waiting:
        other.execute("LOCK TABLE biz.ai_run_logs IN ACCESS EXCLUSIVE MODE")
        for _ in range(POOL):
            waiting.enter_context(
                closing(send(address, "{ runLogs { edges { node { id } } } }", api.headers))
            )
        wait_until_waiting(store, POOL)
        other.rollback()
    assert "Traceback" not in log.read_text()
    assert len(log.read_text().splitlines()) < 40
