"""Writers and readers go on while the log's partitions are converted, made and dropped."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random
from threading import Event

from db.postgres.connection import Connection
from db.runs.partitions import make_partitions_ahead
from tests.db.recount import add_run, check, connect
from tests.db.timeline import MOMENTS, YEARS, assert_whole, make, rows


class Writers:
    """Threads that add, change and remove runs of any date, one transaction each, by prepared statements."""

    def __init__(self, dsn: str, threads: int = 4) -> None:
        self._dsn = dsn
        self._stop = Event()
        self._busy = [Event() for _ in range(threads)]
        self._pool = ThreadPoolExecutor(threads)

    def __enter__(self) -> Writers:
        self._futures = [self._pool.submit(self._write, number) for number in range(len(self._busy))]
        self.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        self.added = sum(future.result() for future in self._futures)

    def wait(self) -> None:
        """Until each has written something more."""
        for busy in self._busy:
            busy.clear()
        for busy, future in zip(self._busy, self._futures, strict=True):
            while not busy.wait(0.05) and not future.done():
                pass

    def _write(self, number: int) -> int:
        random, added = Random(number), 0
        with connect(self._dsn) as connection:
            connection.prepare_threshold = 0
            while not self._stop.is_set():
                moment = random.choice(MOMENTS[2:-2]) + random.randint(0, 9) * timedelta(hours=1)
                identity = number * 1_000_000 + added
                add_run(connection, id=identity, created_at=moment, tokens_used=added, site_id="north")
                added += 1
                change = "UPDATE biz.ai_run_logs SET created_at = %s, tokens_used = 1 WHERE id = %s"
                connection.execute(change, (random.choice(MOMENTS[2:-2]), identity - random.randint(0, 5)))
                page = "SELECT id FROM biz.ai_run_logs ORDER BY created_at DESC, id DESC LIMIT 21"
                assert connection.execute(page).fetchall()
                self._busy[number].set()
        return added


def test_writers_go_on_while_months_are_made_and_dropped_by_two_servers(database: str) -> None:
    def run_upkeep(offset: int) -> int:
        with connect(database) as connection:
            made = 0
            for year in range(2024, 2028):
                made += make(connection, f"{year}-0{1 + offset}-01", f"{year}-0{4 + offset}-01")
                connection.execute("SELECT runglass.drop_run_log_partition(%s)", (f"{year}-08-01",))
                writers.wait()
        return made

    with Writers(database) as writers, ThreadPoolExecutor(2) as servers:
        made = sum(servers.map(run_upkeep, (0, 1)))
    with connect(database) as connection:
        # Of the months of 2027 that are asked for, the template may have some already.
        assert made >= 15
        assert rows(connection, "SELECT count(*) FROM biz.ai_run_logs") == [(writers.added,)]
        assert_whole(connection)
    asyncio.run(check(database, YEARS))


def test_the_upkeep_does_not_queue_behind_who_holds_the_log(database: str) -> None:
    async def ahead() -> bool:
        async with await Connection.connect(database, autocommit=True) as connection:
            return await make_partitions_ahead(connection)

    with connect(database) as other:
        for (month,) in rows(
            other, "SELECT lower(period)::date FROM runglass.run_log_parts() WHERE NOT is_stretch"
        ):
            other.execute("SELECT runglass.drop_run_log_partition(%s)", (month,))
        with other.transaction():
            add_run(other, created_at=datetime.now(UTC))
            assert asyncio.run(ahead()) is False
        assert asyncio.run(ahead()) is True
        months = rows(other, "SELECT lower(period) FROM runglass.run_log_parts() WHERE NOT is_stretch")
        assert len(months) == 4
        assert rows(other, "SELECT count(*) FROM runglass.run_log_parts() WHERE part IN"
            " (SELECT tableoid FROM biz.ai_run_logs) AND NOT is_stretch") == [(1,)]  # fmt: skip
