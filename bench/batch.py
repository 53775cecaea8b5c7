"""How long batches of very many calls take over HTTP: estimate, confirm, budgets, cancel, retry.

    PYTHONPATH=. python bench/batch.py [--calls 100000] [--rounds 3]

Starts PostgreSQL and a server of its own on this machine, both as durable as in production. Beside the time
that the client waits stands the processor time of PostgreSQL, which says more where a machine is shared. No
worker runs: what is measured is the request alone.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from db.embedded import server as embedded
from db.jobs.batches import settle_batches
from db.migrations.runner import apply_migrations
from db.postgres.pool import Database
from db.sql.scope import EVERY_SITE
from resolvers.access.api_keys import KeyRequest, create_api_key
from resolvers.access.callers import Caller, Role
from tests.support.serving import serving

CALLER = Caller("bench", EVERY_SITE, Role.ADMIN)
TICKS = os.sysconf("SC_CLK_TCK")

MUTATIONS = {
    "estimate": "estimateBatch(input: {siteId: $site, appTypes: $apps, memberIds: $members})",
    "confirm": "confirmBatch(input: {batchId: $id})",
    "cancel": "cancelBatch(input: {batchId: $id})",
    "retry": "retryBatch(input: {batchId: $id})",
}
VARIABLES = {"site": "ID!", "apps": "[String!]!", "members": "[ID!]!", "id": "ID!"}
ANSWER = "{ __typename ... on Batch { id status estimatedCalls } ... on Refusal { code message } }"
BUDGETS = "{ budgets { edges { node { status { used reserved state } } } } }"
SET_BUDGET = """
mutation ($site: ID) {
  setBudget(input: {siteId: $site, period: DAILY, hardLimit: 9000000000, timeZone: "UTC"}) { __typename }
}"""


class Bench:
    """Sends operations and prints what they cost."""

    def __init__(self, url: str, key: str, cluster: Path) -> None:
        self._url = url
        self._key = key
        self._postmaster = (cluster / "postmaster.pid").read_text().split()[0]

    def send(self, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer."""
        body = {"query": query, "variables": variables}
        headers = {"Authorization": f"Bearer {self._key}"}
        read = httpx.post(f"{self._url}/graphql", json=body, headers=headers, timeout=60).json()
        assert "errors" not in read, read["errors"]
        return read["data"]

    def measured(self, name: str, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer, of which a line is printed."""
        before, start = self._processor_seconds(), time.perf_counter()
        data = self.send(query, **variables)
        took = time.perf_counter() - start
        print(f"{name:24} {took:7.2f} s {self._processor_seconds() - before:7.2f} s", flush=True)
        return data

    def mutate(self, name: str, **variables: Any) -> str:
        """Run a mutation, and give the id of its batch."""
        declared = ", ".join(f"${key}: {VARIABLES[key]}" for key in variables)
        query = f"mutation ({declared}) {{ batch: {MUTATIONS[name]} {ANSWER} }}"
        data = self.measured(name, query, **variables)
        assert data["batch"]["__typename"] == "Batch", data
        return data["batch"]["id"]

    def _processor_seconds(self) -> float:
        """What PostgreSQL's processes that live now have used."""
        total = 0
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(") ")[2].split()
                except OSError:
                    continue
                if self._postmaster in (entry.name, fields[1]):
                    total += int(fields[11]) + int(fields[12])
        return total / TICKS


def run(bench: Bench, dsn: str, calls: int, rounds: int) -> None:
    """Measure every step, so many times."""
    members = [f"member-{number}" for number in range(calls)]
    for site in ("big", None):
        bench.send(SET_BUDGET, site=site)
    print("                          waited   PostgreSQL's processor")
    for _ in range(rounds):
        batch = bench.mutate("estimate", site="big", apps=["chat"], members=members)
        bench.mutate("confirm", id=batch)
        bench.measured("budgets, all reserved", BUDGETS)
        bench.mutate("cancel", id=batch)
        asyncio.run(settle(dsn))
        retry = bench.mutate("retry", id=batch)
        bench.mutate("cancel", id=retry)
        asyncio.run(settle(dsn))


async def settle(dsn: str) -> None:
    """Do what a worker does when a batch has ended."""
    database = Database(dsn)
    await database.open()
    async with database.connection() as connection:
        await settle_batches(connection)
    await database.close()


async def key_of(dsn: str) -> str:
    """A key of an admin."""
    database = Database(dsn)
    await database.open()
    wanted = KeyRequest("bench", Role.ADMIN, None, reads_texts=False)
    _, secret = await create_api_key(database, CALLER, wanted)
    await database.close()
    return secret


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # As root, another account runs the server.
        Path(folder).chmod(0o755)
        measure(Path(folder), wanted)


def measure(folder: Path, wanted: argparse.Namespace) -> None:
    """Measure on a server whose data lies in this folder."""
    with embedded.start(folder / "data") as server:
        dsn = server.dsn()
        asyncio.run(apply_migrations(dsn))
        with serving(dsn) as url:
            bench = Bench(url, asyncio.run(key_of(dsn)), server.data_dir / "cluster")
            run(bench, dsn, wanted.calls, wanted.rounds)


if __name__ == "__main__":
    main()
