"""The comparison of `make bench`: what it asks, how it reads the answers, and what it writes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest

from bench import load, statements, store
from bench.__main__ import BEGIN, END
from bench.cases import CASES, COUNTER, AnswersDiffer, check_equal
from bench.load import LoadError, Sample
from bench.report import Run, render
from db.migrations.runner import apply_migrations
from tests.support.api import Api

ROWS = 20_000
CASE = {case.name: case for case in CASES}
ANSWER = '{"data":{"runLogs":1}}'


@pytest.fixture(scope="module")
def adopted(server_dsn: Callable[[str], str]) -> Iterator[str]:
    """The address of a small database of the benchmark, which the tests share."""
    name = f"test_bench_{os.getpid()}"
    with psycopg.connect(server_dsn("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        dsn = server_dsn(name)
        with psycopg.connect(dsn) as filling:
            store.add_rows(filling, ROWS, datetime.now(UTC))
        asyncio.run(apply_migrations(dsn))
        with psycopg.connect(dsn) as adding:
            adding.execute(store.ADD_BATCH)
        yield dsn
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module")
def asked(adopted: str) -> Iterator[Api]:
    api = Api(adopted)
    yield api
    api.close()


def sent(name: str, unique: str = "", alerts: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [json.loads(body) for body in CASE[name].bodies(unique, alerts)]


def edges(found: Any) -> Iterator[int]:
    """How many rows each connection in an answer has."""
    if isinstance(found, dict):
        if "edges" in found:
            yield len(found["edges"])
        found = list(found.values())
    for part in found if isinstance(found, list) else ():
        yield from edges(part)


@pytest.mark.parametrize("case", [case for case in CASES if not case.writes], ids=lambda case: case.name)
def test_every_read_finds_rows(case: Any, asked: Api) -> None:
    (body,) = sent(case.name)
    data = asked.data(body["query"], body["variables"])
    assert all(data.values())
    found = list(edges(data))
    # Few of so few rows are one member's, or the failures of one app.
    if found and case.name not in ("list_member", "list_status"):
        assert found[0] == body["variables"].get("first")
    if case.name == "jobs_runs":
        assert sorted(found[1:])[0] == 3


def test_every_write_writes(asked: Api, adopted: str) -> None:
    (body,) = sent("record", unique="one")
    assert asked.data(body["query"], body["variables"])["recordRuns"]["added"] == 10
    with psycopg.connect(adopted) as connection:
        rows = connection.execute(
            "SELECT id FROM biz.ai_run_logs WHERE status = 'failed' AND alert_status IS NULL"
        )
        alerts = tuple(row[0] for row in rows.fetchmany(2))
    said = [asked.data(body["query"], body["variables"]) for body in sent("ack_alert", alerts=alerts) * 2]
    words = [answer["alertStatus"] for each in said for answer in each.values()]
    assert words == ["ACKNOWLEDGED", "ACKNOWLEDGED", "PENDING", "PENDING"] * 2


def test_the_peers_statements_run(adopted: str) -> None:
    values = {"scope_site": store.SITE, "own_scope_site": store.SITE}
    statement = statements.peer_statements()["latest_runs_one"]
    with psycopg.connect(adopted) as connection:
        cursor = psycopg.RawCursor(connection)
        rows = cursor.execute(statement["text"], [values[name] for name in statement["names"]]).fetchall()
    assert len({row[0] for row in rows}) == 8


def test_statements_are_numbered_in_the_order_of_their_names(repository: Path) -> None:
    assert statements.numbered("SELECT %(b)s, %(a)s, %(b)s::text") == {
        "text": "SELECT $1, $2, $1::text",
        "names": ["b", "a"],
    }
    known = set(re.findall(r"\w+", (repository / "bench" / "peers" / "dashboard.js").read_text()))
    for peer in statements.peer_statements().values():
        assert set(peer["names"]) <= known | {"own_scope_site"}


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"b": 1}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
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


def run_of(**rates: tuple[float, ...]) -> Run:
    """The same rates for a read, and for a write that takes mercurius ten times as long."""
    read = {
        name: [Sample(rate, 1.5, 9_000 / rate, 0.2, 9, 300 / rate, 600 / rate) for rate in found]
        for name, found in rates.items()
    }
    slow = [sample._replace(rate=sample.rate / 10) for sample in read.get("mercurius", [])]
    return Run(
        rows=1_000_000,
        rounds=3,
        seconds=3,
        machine={"Processor": "one, 2 cores"},
        samples=[(CASE["list_site"], read), (CASE["record"], read | {"mercurius": slow} if slow else read)],
        resident=dict.fromkeys(rates, 70.0),
    )


def test_the_report_begins_with_the_mean_and_the_worst_line() -> None:
    # The median of the rounds' ratios (0.4, 0.9, 3), not the ratio of the medians.
    page = render(run_of(runglass=(400, 900, 300), mercurius=(1_000, 1_000, 100)))
    first = page.index(
        "- **2.85** of mercurius in the geometric mean of 2 shapes; worst **0.90**: runs of one site"
    )
    assert first < page.index("| Runs of one site, 20 | 400 | 1,000 | 0.90 |")
    assert "A request takes 1.11 times its processor time." in page
    assert "| slowest read over mercurius | ≥ 0.7 | 0.90 | reached |" in page
    assert "| slowest write over mercurius (stretch) | ≥ 0.5 | 9.00 | reached |" in page
    assert "| largest p99 over mercurius | ≤ 1.5 | 1.11 | reached |" in page


def test_a_missed_target_is_said_so() -> None:
    page = render(run_of(runglass=(400,), mercurius=(1_000,), bun=(2_000,)))
    assert "| slowest read over mercurius | ≥ 0.7 | 0.40 | **missed** |" in page
    assert "| geometric mean over Bun (stretch) | ≥ 1.0 | 0.20 | **missed** |" in page


def test_the_report_of_runglass_alone_compares_nothing() -> None:
    page = render(run_of(runglass=(1_000,)))
    assert "| Runs of one site, 20 | 1,000 | 9.0 |" in page
    assert "Targets" not in page


def test_peers_are_pinned_and_the_lock_names_no_registry(repository: Path) -> None:
    folder = repository / "bench" / "peers"
    pinned = json.loads((folder / "package.json").read_text())["dependencies"]
    lock = (folder / "package-lock.json").read_text()
    packages = json.loads(lock)["packages"]
    assert all(packages[f"node_modules/{name}"]["version"] == number for name, number in pinned.items())
    assert "://" not in re.sub(r'"(url|funding)": "[^"]*"', "", lock)


@contextmanager
def server(*answers: tuple[int, str]) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives these answers over and over; its port, and the bodies that it got."""
    bodies: list[bytes] = []

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["content-length"])))
            status, text = answers[len(bodies) % len(answers)]
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            # In pieces, as a large answer arrives.
            for place in range(0, len(text), 5):
                self.wfile.write(text[place : place + 5].encode())
                self.wfile.flush()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_port, bodies
        listening.shutdown()


def test_the_load_counts_what_is_answered_and_numbers_its_requests() -> None:
    with server((200, ANSWER)) as (port, bodies):
        sample = load.run(port, {"x": "y"}, ["a" + COUNTER, "b" + COUNTER], '{"data":{', 0.2, 0.5)
    assert 0 < sample.rate * 0.5 <= sample.requests <= len(bodies)
    assert 0 < sample.p50 <= sample.p99
    assert len(set(bodies)) == len(bodies)
    assert {body[:1] for body in bodies} == {b"a", b"b"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((503, ANSWER), "HTTP/1.1 503"),
        ((200, '{"data":{"runLogs":1},"errors":[]}'), '"errors"'),
        ((200, '{"data":null}'), '"data":null'),
    ],
)
def test_a_failed_request_ends_the_comparison_and_says_how(answer: tuple[int, str], said: str) -> None:
    with server((200, ANSWER), answer) as (port, _), pytest.raises(LoadError, match=re.escape(said)):
        load.run(port, {}, ["{}"], '{"data":{', 0.0, 20)


def test_the_readme_shows_the_whole_mix_of_the_last_run(repository: Path) -> None:
    shown = (repository / "README.md").read_text().partition(BEGIN)[2].partition(END)[0].strip()
    assert shown in (repository / "bench" / "results.md").read_text()
    assert all(f"| {case.title} |" in shown for case in CASES)
