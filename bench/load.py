"""Load: 8 keep-alive connections that each send the next request when the last is answered."""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from psycopg.conninfo import conninfo_to_dict

from bench.cases import Case
from bench.contenders import MERCURIUS, Contender, request_headers
from db.embedded.place import find_binaries

CONNECTIONS = 8
# What a load generator may take beyond the seconds it is told.
GRACE_SECONDS = 30

WRK_SCRIPT = """
wrk.method = "POST"
for name, value in pairs({ HEADERS }) do wrk.headers[name] = value end
local file = io.open("BODY", "rb")
wrk.body = file:read("*a")
file:close()
function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('{"requests":%d,"seconds":%f,"p50":%f,"p99":%f,'
    .. '"failed":{"connect":%d,"read":%d,"write":%d,"status":%d,"longer than 2 s":%d}}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect, e.read, e.write, e.status, e.timeout))
end
"""


class LoadError(Exception):
    """A load generator failed, or a request did; the message is one line."""


class Sample(NamedTuple):
    """One round: requests a second, latencies in milliseconds, and how many requests there were."""

    rate: float
    p50: float
    p99: float
    requests: int


class Figures(NamedTuple):
    """Medians over rounds, and the slowest and fastest of them."""

    rate: float
    slowest: float
    fastest: float
    p50: float
    p99: float


def figures_of(samples: Sequence[Sample]) -> Figures:
    """Medians of one or more rounds."""
    rates = [sample.rate for sample in samples]
    return Figures(
        rate=statistics.median(rates),
        slowest=min(rates),
        fastest=max(rates),
        p50=statistics.median(sample.p50 for sample in samples),
        p99=statistics.median(sample.p99 for sample in samples),
    )


class HttpLoad:
    """Sends a case to a contender with wrk, or with autocannon where there is no wrk but Node.js."""

    def __init__(self, folder: Path, node: str | None) -> None:
        self._folder = folder
        self._wrk = shutil.which("wrk")
        self._node = node
        if not self._wrk and not node:
            raise LoadError("no load generator: install wrk or Node.js")

    @property
    def name(self) -> str:
        """The load generator's name."""
        return "wrk" if self._wrk else "autocannon"

    def run(self, contender: Contender, case: Case, seconds: float) -> Sample:
        """One round. Raises LoadError where a request failed."""
        run = self._run_wrk if self._wrk else self._run_autocannon
        sample, failed = run(f"http://127.0.0.1:{contender.port}/graphql", contender, case, seconds)
        kinds = ", ".join(f"{kind}: {count}" for kind, count in failed.items() if count)
        if kinds or not sample.requests:
            raise LoadError(
                f"{contender.title}, {case.name}: of {sample.requests} requests failed {kinds or 'all'};"
                f" its log ends: {contender.last_words()}"
            )
        return sample

    def _run_wrk(
        self, url: str, contender: Contender, case: Case, seconds: float
    ) -> tuple[Sample, dict[str, int]]:
        body = self._folder / f"{case.name}.json"
        body.write_bytes(case.body)
        script = self._folder / f"{contender.name}-{case.name}.lua"
        headers = ", ".join(
            f'["{name}"] = "{value}"' for name, value in request_headers(contender.headers).items()
        )
        script.write_text(WRK_SCRIPT.replace("HEADERS", headers).replace("BODY", str(body)))
        command = [self._wrk or "wrk", "-t", "1", "-c", str(CONNECTIONS), "-d", f"{max(1, round(seconds))}s"]
        shown = json.loads(run_load([*command, "-s", str(script), url], seconds).splitlines()[-1])
        sample = Sample(shown["requests"] / shown["seconds"], shown["p50"], shown["p99"], shown["requests"])
        return sample, shown["failed"]

    def _run_autocannon(
        self, url: str, contender: Contender, case: Case, seconds: float
    ) -> tuple[Sample, dict[str, int]]:
        program = MERCURIUS / "node_modules" / "autocannon" / "autocannon.js"
        command = [self._node or "node", str(program), "--json", "-n", "-m", "POST", "-c", str(CONNECTIONS)]
        for name, value in request_headers(contender.headers).items():
            command += ["-H", f"{name}={value}"]
        command += ["-d", str(max(1, round(seconds))), "-b", case.body.decode(), url]
        shown: dict[str, Any] = json.loads(run_load(command, seconds))
        requests = int(shown["requests"]["total"])
        latency = shown["latency"]
        sample = Sample(requests / shown["duration"], latency["p50"], latency["p99"], requests)
        return sample, {"connection": int(shown["errors"]), "status": int(shown["non2xx"])}


def find_pgbench() -> str | None:
    """The pgbench of the embedded PostgreSQL, or one on PATH."""
    bundled = find_binaries() / "pgbench"
    return str(bundled) if bundled.is_file() else shutil.which("pgbench")


def run_pgbench(
    program: str, dsn: str, folder: Path, script: str, variables: Mapping[str, str], seconds: float
) -> Sample:
    """One round of a script with prepared statements: what PostgreSQL itself gives 8 clients."""
    file = folder / "pgbench.sql"
    file.write_text(script)
    for old in folder.glob("pgbench_log.*"):
        old.unlink()
    parts = conninfo_to_dict(dsn)
    command = [program, "-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "2", "-f", str(file)]
    command += ["-T", str(max(1, round(seconds))), "--log", f"--log-prefix={folder / 'pgbench_log'}"]
    command += ["--sampling-rate=0.2"]
    for name, value in variables.items():
        command += ["-D", f"{name}={value}"]
    command += ["-h", str(parts["host"]), "-p", str(parts["port"]), "-U", str(parts["user"])]
    output = run_load([*command, str(parts["dbname"])], seconds)
    rate = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    done = re.search(r"^number of transactions actually processed: ([0-9]+)", output, re.MULTILINE)
    if not rate or not done:
        raise LoadError(f"pgbench says nothing of its rate: {output[-200:]}")
    taken = sorted(
        int(line.split()[2]) / 1000
        for log in folder.glob("pgbench_log.*")
        for line in log.read_text().splitlines()
    ) or [0.0]
    return Sample(float(rate[1]), taken[len(taken) // 2], taken[len(taken) * 99 // 100], int(done[1]))


def run_load(command: list[str], seconds: float) -> str:
    """The output of a load generator. Raises LoadError where it fails or does not end."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + GRACE_SECONDS,
            env=os.environ | {"PGTZ": "UTC"},
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"{Path(command[0]).name}: {type(error).__name__}") from error
    if done.returncode:
        raise LoadError(f"{Path(command[0]).name} failed: {' '.join(done.stderr.split())[-300:]}")
    return done.stdout
