"""bench/results.md: the figures, the targets and the machine, in Markdown."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench.cases import Case
from bench.contenders import MERCURIUS
from bench.load import Figures

TITLES = {
    "runglass": "Runglass",
    "mercurius": "mercurius + jit",
    "plain": "plain Strawberry",
    "postgresql": "PostgreSQL itself",
}
PYTHON_PACKAGES = ("strawberry-graphql", "graphql-core", "starlette", "uvicorn", "psycopg", "orjson")


@dataclass(frozen=True)
class Memory:
    """RSS of Runglass in KiB after some requests, by their number."""

    resident: Mapping[int, int]


@dataclass(frozen=True)
class Run:
    """What one comparison found.

    `figures` is by contender for each case; `notes` say what could not be measured.
    """

    rows: int
    rounds: int
    seconds: float
    load: str
    signed_in: bool
    machine: Mapping[str, str]
    figures: Sequence[tuple[Case, Mapping[str, Figures]]]
    memory: Memory | None = None
    notes: Sequence[str] = ()


def describe_machine(postgresql: str, node: str | None, scheduler: str) -> dict[str, str]:
    """What the figures depend on."""
    described = {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Processor": f"{_processor()}, {os.cpu_count()} cores",
        "Memory": _memory(),
        "System": platform.platform(),
        "Scheduler": scheduler,
        "PostgreSQL": f"{postgresql}, durable, over a unix socket",
        "Python": f"{platform.python_version()}; "
        + ", ".join(f"{name} {version(name)}" for name in PYTHON_PACKAGES),
    }
    if node:
        shown = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=60, check=True)
        pinned = json.loads((MERCURIUS / "package.json").read_text())["dependencies"]
        packages = ", ".join(f"{name} {number}" for name, number in pinned.items())
        described["Node.js"] = f"{shown.stdout.strip().removeprefix('v')}; {packages}"
    return described


def render(run: Run, plot: str) -> str:
    """The whole page; `plot` is the file name of the picture."""
    parts = [
        "# How fast is it?",
        _preamble(run),
        f"![Requests a second]({plot})",
        *(_case(case, figures) for case, figures in run.figures),
        "## Targets",
        _targets(run),
        "## Memory",
        _memory_section(run.memory),
        "## Where",
        _where(run),
    ]
    if run.notes:
        parts += ["## Not measured", "\n".join(f"- {note}" for note in run.notes)]
    return "\n\n".join(parts) + "\n"


def _preamble(run: Run) -> str:
    signed_in = "authentication by a key, " if run.signed_in else ""
    return (
        "Written by `make bench`. Requests a second and latencies in milliseconds of the same request: one"
        " process a server, the same PostgreSQL and rows, 8 keep-alive connections, a pool of 10 database"
        " connections each. Medians of alternating rounds, with the slowest and fastest round beside them."
        " Runglass runs"
        f" as in production, with {signed_in}scope, cost limit, masking and loaders; no answer is cached."
        " Before measuring, the answers are checked to say the same."
    )


def _case(case: Case, figures: Mapping[str, Figures]) -> str:
    lines = [
        f"## {case.title}",
        "",
        "| server | requests/s | slowest to fastest round | p50 ms | p99 ms | Runglass is |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    mine = figures.get("runglass")
    for name, found in figures.items():
        ratio = f"{mine.rate / found.rate:.2f} ×" if mine and name != "runglass" else ""
        lines.append(
            f"| {TITLES[name]} | {found.rate:,.0f} | {found.slowest:,.0f} to {found.fastest:,.0f}"
            f" | {found.p50:.2f} | {found.p99:.2f} | {ratio} |"
        )
    return "\n".join(lines)


def _targets(run: Run) -> str:
    lines = ["| target | wanted | measured | |", "| --- | ---: | ---: | --- |"]
    for case, figures in run.figures:
        mine = figures.get("runglass")
        if mine:
            lines += _targets_of(case, mine, figures)
    return "\n".join(lines)


def _targets_of(case: Case, mine: Figures, figures: Mapping[str, Figures]) -> list[str]:
    wanted = {
        "mercurius": case.least_mercurius,
        "plain": case.least_plain,
        "postgresql": case.least_postgresql,
    }
    as_percent: Callable[[float], str] = "{:.0%}".format
    as_times: Callable[[float], str] = "{:.2f} ×".format
    lines: list[str] = []
    for name, least in wanted.items():
        if least is None or name not in figures:
            continue
        ratio = mine.rate / figures[name].rate
        show = as_percent if name == "postgresql" else as_times
        lines.append(
            _target(f"{case.title}: rate of {TITLES[name]}", f"≥ {show(least)}", show(ratio), ratio >= least)
        )
    if other := figures.get("mercurius"):
        limit, shown = f"≤ {other.p99:.2f} ms", f"{mine.p99:.2f} ms"
        lines.append(
            _target(f"{case.title}: p99 of {TITLES['mercurius']}", limit, shown, mine.p99 <= other.p99)
        )
    return lines


def _target(what: str, wanted: str, measured: str, reached: bool) -> str:
    return f"| {what} | {wanted} | {measured} | {'reached' if reached else '**missed**'} |"


def _memory_section(memory: Memory | None) -> str:
    if memory is None:
        return "Not measured in this run; `python -m bench --memory` does."
    lines = ["| requests | RSS of Runglass, MiB |", "| ---: | ---: |"]
    lines += [f"| {requests:,} | {kib / 1024:.1f} |" for requests, kib in memory.resident.items()]
    first, *_, last = memory.resident.values()
    change = last / first - 1
    verdict = "reached" if change <= 0.10 else "**missed**"
    return "\n".join(lines) + f"\n\nChange {change:+.1%}, wanted at most +10 %: {verdict}."


def _where(run: Run) -> str:
    facts = {
        **run.machine,
        "Rows": f"{run.rows:,} run logs, 20 sites, 8 apps, 90 days",
        "Load": f"{run.load}, {run.rounds} rounds of {run.seconds:g} s, each after an uncounted second,"
        " while the other servers are stopped",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts.items())])


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{size / 2**30:.0f} GiB"
