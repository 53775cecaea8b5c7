"""The comparison of `make bench`: what it asks, how it reads the answers, and what it writes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest

from bench import contenders, statements
from bench.cases import CASES, LIST, AnswersDiffer, check_equal
from bench.contenders import Contender
from bench.load import Figures, HttpLoad, LoadError, Sample, figures_of
from bench.plot import draw
from bench.report import Memory, Run, render
from bench.scheduler import without_autogroups
from bench.store import fill
from tests.conftest import Api

LIST_20, _, DASHBOARD_ONE, _ = CASES


def run_of(**rates: float) -> Run:
    figures = {name: Figures(rate, rate - 1, rate + 1, 1.5, 9.0) for name, rate in rates.items()}
    return Run(
        rows=1_000_000,
        rounds=5,
        seconds=4,
        load="wrk",
        signed_in=True,
        machine={"Processor": "one & only, 2 cores", "Date": "2026-11-24"},
        figures=[(LIST_20, figures), (DASHBOARD_ONE, figures)],
        memory=Memory({20_000: 100_000, 200_000: 111_000}),
        notes=["PostgreSQL itself: there is no pgbench."],
    )


@pytest.fixture
def filled(dsn: str) -> None:
    """Filled before a server starts, whose upkeep may hold the roll-ups locked while its loop stands."""
    fill(dsn, 2_000, lambda _: None)


def test_every_case_is_answered_without_errors(filled: None, api: Api) -> None:
    for case in CASES:
        data = api.data(case.query, case.variables)
        if "runLogs" in data:
            assert len(data["runLogs"]["edges"]) == case.variables["first"]
        else:
            assert all(data["dashboard"][block] for block in ("trend", "appHealth", "budget"))
            assert len(data["dashboard"]["appHealth"]) == 8


def test_the_filled_rows_are_counted_in_the_roll_ups(dsn: str) -> None:
    fill(dsn, 2_000, lambda _: None)
    with psycopg.connect(dsn) as connection:
        counted = connection.execute("SELECT sum(calls) FROM runglass.run_totals").fetchone()
        sites = connection.execute("SELECT count(DISTINCT site_id) FROM biz.ai_run_logs").fetchone()
    assert counted == (2_000,)
    assert sites is not None
    assert 15 <= sites[0] <= 20
    with pytest.raises(SystemExit, match=r"holds 2,000 run logs, not 3,000"):
        fill(dsn, 3_000, lambda _: None)


def test_the_peers_statements_run(dsn: str) -> None:
    fill(dsn, 2_000, lambda _: None)
    peers = statements.peer_statements()
    with psycopg.connect(dsn) as connection:
        rows = connection.execute(peers["list_all"]["text"].replace("{limit}", "21")).fetchall()
        site = {"scope_site": statements.SITE, "own_scope_site": statements.SITE}
        health = connection.execute(peers["latest_runs_one"]["text"], site)
        apps = {row[0] for row in health}
    assert len(rows) == 21
    assert len(rows[0]) == 9
    assert 0 < len(apps) <= 8


@pytest.mark.parametrize("peer", ["mercurius/server.js", "plain_strawberry.py"])
def test_a_peer_names_every_value_of_its_statements(peer: str, repository: Path) -> None:
    source = (repository / "bench" / "peers" / peer).read_text()
    named = set(re.findall(r"\w+", source)) | {"scope_site", "own_scope_site"}
    for statement in statements.peer_statements().values():
        assert set(statement["names"]) <= named


def test_statements_are_numbered_in_the_order_of_their_names() -> None:
    statement = statements.statement_of("SELECT %(b)s, %(a)s, %(b)s::text")
    assert statement.numbered == "SELECT $1, $2, $1::text"
    assert statement.names == ["b", "a"]
    for peer in statements.peer_statements().values():
        assert "%(" not in peer["numbered"]
        assert len(peer["names"]) == len(set(re.findall(r"\$\d+", peer["numbered"])))


@pytest.mark.parametrize("scope", ["one", "all"])
def test_pgbench_has_a_variable_for_every_value(scope: str) -> None:
    script, variables = statements.pgbench_dashboard(scope)
    used = set(re.findall(r"(?<!:):([a-z]\w*)", script))
    assert used <= variables.keys()
    assert script.count(";\n") == 6


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": [1, 2]}, {"a": [1]}),
        ({"endCursor": "x"}, {"endCursor": None}),
        ({"at": "2026-11-24T06:20:39.10+00:00"}, {"at": "2026-11-24T06:20:39.11+00:00"}),
        ({"share": 0.5}, {"share": 0.5001}),
        ({"status": "SUCCESS"}, {"status": None}),
    ],
)
def test_answers_that_differ_stop_the_comparison(mine: Any, other: Any) -> None:
    with pytest.raises(AnswersDiffer):
        check_equal(mine, other)


def test_answers_that_say_the_same_are_equal() -> None:
    mine = {"cursor": "a", "at": "2026-11-24T06:20:39.100000+00:00", "share": 1 / 3, "rows": [1, None]}
    other = {
        "cursor": "b",
        "at": "2026-11-24T06:20:39.1+00:00",
        "share": 0.333333333333333,
        "rows": [1, None],
    }
    assert check_equal(mine, other) is None


def test_figures_are_medians() -> None:
    found = figures_of([Sample(100, 2, 9, 1), Sample(300, 4, 5, 1), Sample(120, 3, 7, 1)])
    assert found == Figures(rate=120, slowest=100, fastest=300, p50=3, p99=7)


def test_the_report_says_what_was_reached_and_what_was_missed() -> None:
    page = render(run_of(runglass=1_000, mercurius=800, plain=250, postgresql=6_000), "results.svg")
    assert "| List, 20 rows: rate of mercurius + jit | ≥ 1.00 × | 1.25 × | reached |" in page
    assert "| List, 20 rows: rate of plain Strawberry | ≥ 5.00 × | 4.00 × | **missed** |" in page
    assert "| List, 20 rows: rate of PostgreSQL itself | ≥ 15% | 17% | reached |" in page
    assert "| Dashboard, one site: p99 of mercurius + jit | ≤ 9.00 ms | 9.00 ms | reached |" in page
    assert "Change +11.0%, wanted at most +10 %: **missed**." in page
    assert "there is no pgbench" in page


def test_the_report_of_runglass_alone_has_no_targets() -> None:
    page = render(run_of(runglass=1_000), "results.svg")
    assert "| Runglass | 1,000 | 999 to 1,001 | 1.50 | 9.00 |  |" in page
    assert "reached |" not in page


def test_the_plot_is_svg_with_a_bar_for_each_server() -> None:
    drawn = draw(run_of(runglass=1_000, mercurius=800, plain=250, postgresql=6_000))
    picture = ElementTree.fromstring(drawn)  # noqa: S314 - our own text
    space = "{http://www.w3.org/2000/svg}"
    bars = [float(bar.attrib["width"]) for bar in picture.iter(f"{space}rect")][1:]
    assert len(bars) == 6
    assert bars[0] == pytest.approx(bars[1] * 1_000 / 800, rel=0.01)
    written = [text.text for text in picture.iter(f"{space}text")]
    assert "PostgreSQL itself, the same statements: 6,000" in written


def test_peers_are_pinned_and_the_lock_names_no_registry(repository: Path) -> None:
    folder = repository / "bench" / "peers" / "mercurius"
    pinned = json.loads((folder / "package.json").read_text())["dependencies"]
    lock = (folder / "package-lock.json").read_text()
    packages = json.loads(lock)["packages"]
    assert all(packages[f"node_modules/{name}"]["version"] == number for name, number in pinned.items())
    assert "://" not in lock


@pytest.mark.skipif(not shutil.which("wrk"), reason="wrk is not installed, and autocannon needs npm")
def test_a_failed_request_ends_the_comparison_and_says_how_it_failed(tmp_path: Path) -> None:
    class Broken(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(503)

        def log_message(self, *_: object) -> None: ...

    log = tmp_path / "broken.log"
    log.write_text("begun\nno database\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        contender = Contender("broken", "Broken", server.server_port, cast(Any, None), log)
        with pytest.raises(LoadError, match=r"Broken, list_20: .* status: [1-9].*ends: begun no database"):
            HttpLoad(tmp_path, None).run(contender, LIST_20, 1)
        server.shutdown()


def test_servers_stand_still_during_the_round_of_another(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    idle = Contender("idle", "Idle", 0, process, tmp_path / "log")
    try:
        with contenders.stopped([idle]):
            assert os.waitid(os.P_PID, process.pid, os.WSTOPPED) is not None
        assert os.waitid(os.P_PID, process.pid, os.WCONTINUED) is not None
        process.communicate(b"\n", timeout=20)
        assert process.returncode == 0
    finally:
        process.kill()


def test_the_kernels_setting_is_put_back_whatever_happens(tmp_path: Path) -> None:
    setting = tmp_path / "sched_autogroup_enabled"
    setting.write_text("1\n")
    with ExitStack() as stack:
        said = stack.enter_context(without_autogroups(setting))
        assert said == "groups by session switched off, as in a container or a service"
        assert setting.read_text() == "0\n"
    assert setting.read_text() == "1\n"
    with without_autogroups(tmp_path) as said:
        assert "only root" in said
    with without_autogroups(tmp_path / "nothing") as said:
        assert said == "no groups by session"


def test_pgbench_runs_the_statement_that_the_product_sends(dsn: str) -> None:
    script, variables = statements.pgbench_list(dsn, LIST, 20)
    assert script.count(";") == 1
    assert script.endswith(" LIMIT 21;\n")
    assert "latency_ms" in script
    for name, value in variables.items():
        script = script.replace(f":{name}", value)
    assert not re.search(r":[A-Za-z]", script.replace("::", ""))
    with psycopg.connect(dsn) as connection:
        assert connection.execute(script).fetchall() == []  # type: ignore[call-overload]
