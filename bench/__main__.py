"""Compare Runglass with other servers on one machine, over requests as clients send them.

    python -m bench [--only NAME,…] [--peers NAME,…] [--tree PATH] [--rounds R] [--seconds S] [--rows N]
        [--data-dir DIR]

Starts an embedded PostgreSQL below /var/tmp, fills it, starts each contender as one process on loopback and
sends each case to each of them in turn, round after round. Everything it starts has ended when it ends. The
whole mix with all peers is written to results.md beside this file and to README; anything less is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import psycopg

from bench import contenders, load
from bench.cases import CASES, AnswersDiffer, Case, check_equal
from bench.contenders import TITLES, Contender, ContenderError
from bench.load import LoadError, Sample
from bench.report import Run, describe_machine, digest, render
from bench.store import ROOT, adopt, filled_server
from db.embedded.server import EmbeddedServerError, exit_on_termination
from web.build import BuildFailed

HERE = Path(__file__).resolve().parent
README = ROOT / "README.md"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"
PEERS = ("mercurius", "bun", "plain")
WARM_SECONDS = 2.0
ROUND_WARM_SECONDS = 0.5
ALERTS = 1_000
ALERTS_OF = (
    "SELECT id FROM biz.ai_run_logs WHERE status IN ('failed', 'timeout', 'circuit_open') ORDER BY id DESC"
)

_started = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 when it is done, 1 with one line when it cannot be."""
    options = _options(arguments)
    exit_on_termination()
    try:
        run = compare(options)
    except (AnswersDiffer, BuildFailed, ContenderError, LoadError, EmbeddedServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"bench: {error.cmd} failed: {error.stderr.decode()[-300:]}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(page := render(run))
    if options.cases == list(CASES) and not options.tree and set(PEERS) == set(options.peers):
        (HERE / "results.md").write_text(page)
        before, _, rest = README.read_text().partition(BEGIN)
        README.write_text(f"{before}{BEGIN}\n\n{digest(run)}\n\n{END}{rest.partition(END)[2]}")
        say("written: results.md, and its table in README.md")
    return 0


def compare(options: argparse.Namespace) -> Run:
    """Start everything, measure, stop everything."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="runglass-bench-")))
        server = stack.enter_context(filled_server(options.data_dir, options.rows, say))
        dsn = adopt(server, "bench_this", ROOT, say)
        headers = contenders.sign_in({"DATABASE_URL": dsn})
        if {"mercurius", "bun"} & set(options.peers):
            contenders.install_peers()
        running = [
            stack.enter_context(contenders.running(name, dsn, headers, folder))
            for name in ("runglass", *options.peers)
        ]
        if options.tree:
            other = adopt(server, "bench_tree", options.tree, say)
            headers = contenders.sign_in({"DATABASE_URL": other}, options.tree)
            running.append(
                stack.enter_context(contenders.running("tree", other, headers, folder, options.tree))
            )
        samples = [(case, _measure(case, running, options)) for case in options.cases]
        with psycopg.connect(dsn) as connection:
            version = connection.info.parameter_status("server_version") or "unknown"
        return Run(
            rows=options.rows,
            rounds=options.rounds,
            seconds=options.seconds,
            machine=describe_machine(version, options.peers),
            samples=samples,
            resident={contender.name: contender.resident_mib() for contender in running},
        )


def say(text: str) -> None:
    """One line of progress, with the seconds since the start."""
    print(f"{time.monotonic() - _started:6.0f} s  {text}", file=sys.stderr, flush=True)


def _measure(
    case: Case, running: Sequence[Contender], options: argparse.Namespace
) -> dict[str, list[Sample]]:
    mine, *others = running
    _round(case, mine, 0.0, WARM_SECONDS)
    for other in others:
        _round(case, other, 0.0, WARM_SECONDS)
        if not case.writes:
            body = case.bodies("", ())[0]
            try:
                check_equal(mine.ask(body), other.ask(body))
            except AnswersDiffer as error:
                raise AnswersDiffer(f"{case.name}, {TITLES[other.name]}: {error}") from error
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in running}
    for number in range(options.rounds):
        # Forwards and backwards, so that nobody always comes after the same one.
        for contender in running[:: -1 if number % 2 else 1]:
            samples[contender.name].append(_round(case, contender, ROUND_WARM_SECONDS, options.seconds))
    rates = (f"{TITLES[name]} {max(one.rate for one in found):,.0f}/s" for name, found in samples.items())
    say(f"{case.title}: at best {', '.join(rates)}")
    return samples


def _round(case: Case, contender: Contender, warm: float, seconds: float) -> Sample:
    alerts = _pending_alerts(contender.dsn) if case.writes else []
    bodies = case.bodies(uuid.uuid4().hex, alerts)
    before = contender.processor_seconds()
    try:
        sample = load.run(contender.port, contender.headers, bodies, case.expected, warm, seconds)
    except LoadError as error:
        raise LoadError(f"{TITLES[contender.name]}, {case.name}: {error}") from error
    spent = zip(before, contender.processor_seconds(), strict=True)
    server, database = ((after - earlier) * 1e6 / sample.requests for earlier, after in spent)
    return sample._replace(server=server, database=database)


def _pending_alerts(dsn: str) -> list[int]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        alerts = [row[0] for row in connection.execute(f"{ALERTS_OF} LIMIT {ALERTS}")]
        connection.execute("UPDATE biz.ai_run_logs SET alert_status = NULL WHERE id = ANY(%s)", (alerts,))
    return alerts


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    names = [case.name for case in CASES]
    parser.add_argument("--only", help=f"cases to run, with commas between: {', '.join(names)}")
    parser.add_argument("--peers", default=",".join(PEERS), help="contenders beside Runglass; empty for none")
    parser.add_argument(
        "--tree", type=Path, help="another checkout of Runglass (with its .venv) to compare with"
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each contender and case")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of a round")
    parser.add_argument("--rows", type=int, default=1_000_000, help="run logs in the database")
    parser.add_argument("--data-dir", type=Path, help="keep the database here, to use it again")
    options = parser.parse_args(arguments)
    if options.rows < 10_000 or options.rounds < 1 or options.seconds < 1:
        parser.error("at least 10000 rows, 1 round and 1 second")
    chosen = options.only.split(",") if options.only else names
    options.peers = [name for name in options.peers.split(",") if name]
    if unknown := (set(chosen) - set(names)) | (set(options.peers) - set(PEERS)):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    options.cases = [case for case in CASES if case.name in chosen]
    options.tree = options.tree and options.tree.resolve()
    return options


if __name__ == "__main__":
    sys.exit(main())
