"""bench/results.md: the whole mix, its mean and its worst line, and the machine, in Markdown."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import geometric_mean, median

from bench.cases import Case
from bench.contenders import PEERS, POOL_SIZE, TITLES
from bench.load import CONNECTIONS, Sample
from web.build import find_node

PYTHON_PACKAGES = ("strawberry-graphql", "graphql-core", "starlette", "uvicorn", "psycopg")


@dataclass(frozen=True)
class Run:
    """What one comparison found: rounds by contender for each case, and MiB by contender at the end."""

    rows: int
    rounds: int
    seconds: float
    machine: Mapping[str, str]
    samples: Sequence[tuple[Case, Mapping[str, Sequence[Sample]]]]
    resident: Mapping[str, float]

    @property
    def others(self) -> list[str]:
        """The contenders beside Runglass."""
        return [name for name in self.resident if name != "runglass"]

    def ratio(self, samples: Mapping[str, Sequence[Sample]], other: str, value: str = "rate") -> float:
        """Ours over another's: the median of the rounds, each with the other's beside it."""
        pairs = zip(samples["runglass"], samples[other], strict=True)
        return median(getattr(mine, value) / getattr(its, value) for mine, its in pairs)

    def ratios(self, other: str, value: str = "rate", writes: bool | None = None) -> dict[str, float]:
        """These ratios by the case's title; of cases that write, that read, or of all."""
        return {
            case.title: self.ratio(samples, other, value)
            for case, samples in self.samples
            if writes is None or case.writes is writes
        }


def describe_machine(postgresql: str, peers: Iterable[str]) -> dict[str, str]:
    """What the figures depend on."""
    described = {
        "Date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "Processor": f"{_processor()}, {os.cpu_count()} cores, load {os.getloadavg()[2]:.1f}",
        "System": platform.platform(),
        "PostgreSQL": f"{postgresql}, embedded, durable, over a unix socket",
        "Python": f"{platform.python_version()}; "
        + ", ".join(f"{name} {version(name)}" for name in PYTHON_PACKAGES),
    }
    if {"mercurius", "bun"} & set(peers):
        shown = subprocess.run([find_node()[0], "--version"], capture_output=True, text=True, check=True)
        pinned = json.loads((PEERS / "package.json").read_text())["dependencies"]
        packages = ", ".join(f"{name} {number}" for name, number in pinned.items())
        described["JavaScript"] = f"Node.js {shown.stdout.strip().removeprefix('v')}; {packages}"
    return described


def render(run: Run) -> str:
    """The whole page."""
    parts = ["# How fast is it?", "Written by `make bench`.", digest(run), _preamble(run)]
    if "mercurius" in run.others:
        parts += ["## Targets", _targets(run)]
    parts += ["## Rates and latencies", _rates(run), "## Where", _where(run)]
    return "\n\n".join(parts) + "\n"


def digest(run: Run) -> str:
    """The part that README shows as well: mean and worst line, and the whole mix."""
    return f"{_summary(run)}\n\n{_table(run)}"


def _summary(run: Run) -> str:
    lines: list[str] = []
    for other in run.others:
        ratios = run.ratios(other)
        worst = min(ratios, key=lambda title: ratios[title])
        lines.append(
            f"- **{geometric_mean(ratios.values()):.2f}** of {TITLES[other]} in the geometric mean of"
            f" {len(ratios)} shapes; worst **{ratios[worst]:.2f}**: {worst[0].lower()}{worst[1:]}."
            f" A request takes {geometric_mean(run.ratios(other, 'processor').values()):.2f} times its"
            " processor time."
        )
    return "\n".join(lines)


def _table(run: Run) -> str:
    heads = ["", "Runglass/s"]
    heads += [f"{TITLES[other]}/s" for other in run.others[:1]]
    heads += [f"of {TITLES[other]}" for other in run.others] + ["p99 ms"]
    heads += [f"of {TITLES[other]}" for other in run.others[:1]]
    lines = [_row(heads), _row(["---"] + ["---:"] * (len(heads) - 1))]
    for case, samples in run.samples:
        cells = [case.title, f"{_median(samples['runglass'], 'rate'):,.0f}"]
        cells += [f"{_median(samples[other], 'rate'):,.0f}" for other in run.others[:1]]
        cells += [f"{run.ratio(samples, other):.2f}" for other in run.others]
        cells += [f"{_median(samples['runglass'], 'p99'):.1f}"]
        cells += [f"{run.ratio(samples, other, 'p99'):.2f}" for other in run.others[:1]]
        lines.append(_row(cells))
    means = [f"{geometric_mean(run.ratios(other).values()):.2f}" for other in run.others]
    p99s = [f"{geometric_mean(run.ratios(other, 'p99').values()):.2f}" for other in run.others[:1]]
    lines.append(_row(["Geometric mean", "", *[""] * len(p99s), *means, "", *p99s]))
    return "\n".join(lines)


def _preamble(run: Run) -> str:
    shares = [sample.load for _, samples in run.samples for rounds in samples.values() for sample in rounds]
    memory = ", ".join(f"{TITLES[name]} {mib:.0f}" for name, mib in run.resident.items())
    return (
        "Requests a second of one process each, on the same PostgreSQL and rows, signed in by the same key,"
        f" with {CONNECTIONS} keep-alive connections and {POOL_SIZE} to the database; filters are variables."
        " A ratio is ours over the other's of the same turn, the median of alternating rounds. mercurius and"
        " Bun run the same resolvers, written by hand for this mix, under graphql-jit; plain Strawberry is"
        " Runglass with RUNGLASS_FAST_PATHS=off. Runglass runs as in production: it audits each write, keeps"
        " idempotency and checks more of a report; the others insert the same runs and change the same alert."
        " Before measuring, the answers of reads are checked to be equal but for a cursor's text."
        f" The load comes from a process beside them, which takes {median(shares):.0%} of a core (at most"
        f" {max(shares):.0%}). Nothing of the kernel is switched. Memory at the end, in MiB: {memory}."
    )


def _targets(run: Run) -> str:
    reads, writes = run.ratios("mercurius", writes=False), run.ratios("mercurius", writes=True)
    p99s = run.ratios("mercurius", "p99")
    wanted = [("geometric mean over mercurius", 1.0, geometric_mean(run.ratios("mercurius").values()))]
    wanted += [("slowest read over mercurius", 0.7, min(reads.values()))] if reads else []
    wanted += [("slowest write over mercurius (stretch)", 0.5, min(writes.values()))] if writes else []
    if "bun" in run.others:
        wanted.append(("geometric mean over Bun (stretch)", 1.0, geometric_mean(run.ratios("bun").values())))
    lines = ["| target | wanted | measured | |", "| --- | ---: | ---: | --- |"]
    lines += [_target(what, f"≥ {least:.1f}", found, found >= least) for what, least, found in wanted]
    worst = max(p99s.values())
    lines.append(_target("largest p99 over mercurius", "≤ 1.5", worst, worst <= 1.5))
    return "\n".join(lines)


def _target(what: str, wanted: str, measured: float, reached: bool) -> str:
    return f"| {what} | {wanted} | {measured:.2f} | {'reached' if reached else '**missed**'} |"


def _rates(run: Run) -> str:
    heads = [
        "",
        "server",
        "requests/s",
        "slowest to fastest",
        "p50 ms",
        "p99 ms",
        "µs of server",
        "of PostgreSQL",
    ]
    lines = [_row(heads), _row(["---", "---"] + ["---:"] * (len(heads) - 2))]
    show: Callable[[float], str] = "{:,.0f}".format
    for case, samples in run.samples:
        for name, rounds in samples.items():
            rates = [sample.rate for sample in rounds]
            span = f"{show(min(rates))} to {show(max(rates))}"
            times = [f"{_median(rounds, value):.2f}" for value in ("p50", "p99")]
            spent = [show(_median(rounds, value)) for value in ("server", "database")]
            lines.append(_row([case.title, TITLES[name], show(median(rates)), span, *times, *spent]))
    return "\n".join(lines)


def _where(run: Run) -> str:
    facts = {
        **run.machine,
        "Rows": f"{run.rows:,} adopted run logs, {run.rows // 10:,} jobs, 20 sites, 8 apps, 90 days",
        "Rounds": f"{run.rounds} of {run.seconds:g} s, each after an uncounted half second",
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in facts.items())])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _median(rounds: Sequence[Sample], value: str) -> float:
    return median(getattr(sample, value) for sample in rounds)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
