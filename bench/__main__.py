"""Compare Runglass with other servers on one machine, and write results.md and results.svg beside this file.

    python -m bench [--rows N] [--seconds S] [--rounds R] [--only NAME]… [--memory] [--data-dir DIR]

Starts an embedded PostgreSQL below /var/tmp, fills it, starts each contender as one process on loopback and
sends each case to each of them in turn, round after round. Everything it starts has ended when it ends, and
the one setting of the kernel that it changes as root (`bench/scheduler.py`) is as it was.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from bench import contenders
from bench.cases import CASES, AnswersDiffer, Case, check_equal
from bench.contenders import Contender, ContenderError
from bench.load import Figures, HttpLoad, LoadError, Sample, figures_of, find_pgbench, run_pgbench
from bench.plot import draw
from bench.report import TITLES, Memory, Run, describe_machine, render
from bench.scheduler import without_autogroups
from bench.statements import pgbench_dashboard, pgbench_list
from bench.store import filled_store, server_version
from db.embedded.server import EmbeddedServerError, exit_on_termination
from web.build import BuildFailed, find_node

HERE = Path(__file__).resolve().parent
WARM_SECONDS = 2.0
ROUND_WARM_SECONDS = 1.0
MEMORY_AFTER = (20_000, 200_000)
MEMORY_SECONDS = 1_800

Measure = Callable[[Case, float], Sample]
"""Sends a case for some seconds."""

_started = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 when it is done, 1 with one line when it cannot be."""
    options = _options(arguments)
    exit_on_termination()
    try:
        run = compare(options)
    except (AnswersDiffer, ContenderError, LoadError, EmbeddedServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.svg").write_text(draw(run))
    (options.out / "results.md").write_text(render(run, "results.svg"))
    say(f"written: {options.out / 'results.md'}, {options.out / 'results.svg'}")
    return 0


def compare(options: argparse.Namespace) -> Run:
    """Start everything, measure, stop everything."""
    notes: list[str] = []
    tools = _node(options.only, notes)
    with ExitStack() as stack:
        scheduler = stack.enter_context(without_autogroups())
        say(f"the kernel's scheduler: {scheduler}")
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runglass-bench-")))
        dsn = stack.enter_context(filled_store(options.data_dir, options.rows, say))
        load = HttpLoad(folder, tools[0] if tools else None)
        servers = _start(stack, dsn, folder, options.only, tools)
        measures: dict[str, Measure] = {
            server.name: lambda case, seconds, s=server: load.run(s, case, seconds) for server in servers
        }
        if "postgresql" in options.only and (program := find_pgbench()):
            measures["postgresql"] = _pgbench(program, dsn, folder)
        elif "postgresql" in options.only:
            notes.append("PostgreSQL itself: there is no pgbench.")
        figures = [(case, _measure(case, servers, load, measures, options)) for case in options.cases]
        memory = _memory(servers[0], load) if options.memory else None
        machine = describe_machine(server_version(dsn), tools[0] if tools else None, scheduler)
        signed_in = bool(servers[0].headers)
    return Run(
        rows=options.rows,
        rounds=options.rounds,
        seconds=options.seconds,
        load=load.name,
        signed_in=signed_in,
        machine=machine,
        figures=figures,
        memory=memory,
        notes=notes,
    )


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"{time.monotonic() - _started:6.0f} s  {text}", file=sys.stderr, flush=True)


def _node(only: Sequence[str], notes: list[str]) -> tuple[str, list[str]] | None:
    if "mercurius" not in only:
        return None
    try:
        node, npm = find_node()
        command = [node, npm] if npm.endswith(".js") else [npm]
        contenders.install_mercurius(node, command)
    except (BuildFailed, ContenderError) as error:
        notes.append(f"{TITLES['mercurius']}: {error}.")
        say(f"without mercurius: {error}")
        return None
    return node, command


def _start(
    stack: ExitStack, dsn: str, folder: Path, only: Sequence[str], tools: tuple[str, list[str]] | None
) -> list[Contender]:
    servers = [stack.enter_context(contenders.runglass(dsn, folder))]
    if tools:
        servers.append(stack.enter_context(contenders.mercurius(dsn, folder, tools[0])))
    if "plain" in only:
        servers.append(stack.enter_context(contenders.plain_strawberry(dsn, folder)))
    return servers


def _pgbench(program: str, dsn: str, folder: Path) -> Measure:
    def measure(case: Case, seconds: float) -> Sample:
        if "first" in case.variables:
            script, variables = pgbench_list(dsn, case.query, case.variables["first"])
        else:
            scope = "one" if case.variables["site"] else "all"
            script, variables = pgbench_dashboard(scope)
        return run_pgbench(program, dsn, folder, script, variables, seconds)

    return measure


def _measure(
    case: Case,
    servers: Sequence[Contender],
    load: HttpLoad,
    measures: dict[str, Measure],
    options: argparse.Namespace,
) -> dict[str, Figures]:
    for server in servers:
        load.run(server, case, WARM_SECONDS)
    answers = [server.ask(case) for server in servers]
    for answer in answers[1:]:
        check_equal(answers[0], answer)
    samples: dict[str, list[Sample]] = {name: [] for name in measures}
    for number in range(options.rounds):
        # Forwards and backwards, so that nobody always comes after the same one.
        for name, measure in list(measures.items())[:: -1 if number % 2 else 1]:
            with contenders.stopped([server for server in servers if server.name != name]):
                # Its processes slept during the others' rounds; the kernel lets some wait before it knows
                # them.
                measure(case, ROUND_WARM_SECONDS)
                samples[name].append(measure(case, options.seconds))
    figures = {name: figures_of(found) for name, found in samples.items()}
    rates = ", ".join(f"{TITLES[name]} {found.rate:,.0f}/s" for name, found in figures.items())
    say(f"{case.title}: {rates}")
    return figures


def _memory(runglass: Contender, load: HttpLoad) -> Memory:
    """The process's memory after these many requests and more, each a list of 20 rows."""
    resident: dict[int, int] = {}
    sent = 0
    deadline = time.monotonic() + MEMORY_SECONDS
    for wanted in MEMORY_AFTER:
        while sent < wanted:
            if time.monotonic() > deadline:
                raise LoadError(f"only {sent:,} requests in {MEMORY_SECONDS} s")
            sent += load.run(runglass, CASES[0], 3).requests
        resident[wanted] = runglass.resident_kib()
        say(f"after {sent:,} requests: {resident[wanted] / 1024:.1f} MiB")
    return Memory(resident)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="run logs in the database")
    parser.add_argument("--seconds", type=float, default=4.0, help="seconds of a round")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender and case")
    parser.add_argument("--only", action="append", choices=list(TITLES), help="contenders beside Runglass")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="cases to run")
    parser.add_argument("--memory", action="store_true", help="also watch the memory over 200,000 requests")
    parser.add_argument("--data-dir", type=Path, help="keep the database here, to use it again")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for results.md and results.svg")
    options = parser.parse_args(arguments)
    if options.rows < 1_000 or options.rounds < 1 or options.seconds < 1:
        parser.error("at least 1000 rows, 1 round and 1 second")
    options.only = options.only or list(TITLES)
    options.cases = [case for case in CASES if not options.case or case.name in options.case]
    return options


if __name__ == "__main__":
    sys.exit(main())
