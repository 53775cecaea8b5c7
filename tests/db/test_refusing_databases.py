"""A database that refuses: one coded error that fits the cause, one line of the log, and nothing changed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict

from db.postgres.pool import Database
from db.postgres.repeats import Repeats
from resolvers.worker.maintenance import run_upkeep
from tests.api.mutations.test_retry_job import RETRY_JOB
from tests.db.test_pool import iter_answers
from tests.support.api import Api
from tests.support.store import Store

REFUSALS = {
    "25006": ("READ_ONLY", "The database takes no changes now"),
    "25P04": ("SERVICE_UNAVAILABLE", "The database ended a session"),
    "40P01": ("SERVICE_UNAVAILABLE", "Another change was in the way"),
    "42501": ("SERVICE_UNAVAILABLE", "The server's role has no right"),
    "53100": ("SERVICE_UNAVAILABLE", "The database has no space left"),
    "53200": ("SERVICE_UNAVAILABLE", "The database has no memory left"),
    "53300": ("SERVICE_UNAVAILABLE", "The database has no connection left"),
    "54000": ("BAD_USER_INPUT", "A value does not fit"),
    "55P03": ("SERVICE_UNAVAILABLE", "Another change was in the way"),
    "57014": ("EXECUTION_TIMEOUT", "The change took too long"),
    "57P01": ("SERVICE_UNAVAILABLE", "The database is stopping"),
    "58030": ("SERVICE_UNAVAILABLE", "The database has a fault of its own"),
}


@pytest.mark.parametrize("state", REFUSALS)
def test_a_change_that_the_database_refuses_is_a_coded_error_that_fits(
    api: Api, store: Store, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    job = store.job()
    store.rows(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'hunter2' USING ERRCODE = '{state}'; END $$"
    )
    store.rows(
        "CREATE TRIGGER refuse BEFORE INSERT ON biz.ai_trigger_jobs FOR EACH ROW EXECUTE FUNCTION refuse()"
    )
    before = store.snapshot()

    errors = [api.error(RETRY_JOB, {"id": f"job_{job}"}) for _ in range(3)]

    code, message = REFUSALS[state]
    assert {error["code"] for error in errors} == {code}
    assert all(error["message"].startswith(message) for error in errors), errors
    assert "hunter2" not in str(errors)
    assert store.snapshot() == before
    assert not [record for record in caplog.records if record.exc_info]


def test_equal_lines_are_written_once_for_many(caplog: pytest.LogCaptureFixture) -> None:
    clock = [100.0]
    repeats = Repeats(30.0, lambda: clock[0])
    log = logging.getLogger("tests.repeats")
    for _ in range(5):
        repeats.tell(log, logging.WARNING, "full")
    repeats.tell(log, logging.WARNING, "gone")
    clock[0] += 31
    repeats.tell(log, logging.WARNING, "full")
    assert repeats.forget()
    assert not repeats.forget()
    repeats.tell(log, logging.WARNING, "full")
    for number in range(1000):
        repeats.tell(log, logging.DEBUG, str(number))
    assert len(repeats._lines) <= 100  # pyright: ignore[reportPrivateUsage]
    assert caplog.messages == ["full", "gone", "full (and 4 times since the last such line)", "full"]


@pytest.fixture
def api_of_read_only(dsn: str, store: Store) -> Iterator[Api]:
    """An app whose database takes no changes any more, as after a failover; `store` still writes."""
    api = Api(dsn, rate_limit="60/hour")
    store.rows(f'ALTER DATABASE "{conninfo_to_dict(dsn)["dbname"]}" SET default_transaction_read_only = on')
    store.rows(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    *_, last = iter_answers(api)
    assert "errors" not in last
    yield api
    api.close()


def test_a_read_only_database_is_read_and_each_change_refused(api_of_read_only: Api, store: Store) -> None:
    api = api_of_read_only
    store.run()
    job = store.job()
    for _ in range(2):
        assert api.data("{ runLogs { totalCount { count } } }")["runLogs"]["totalCount"]["count"] == 1
        assert api.data("{ dashboard { today { calls } } }")["dashboard"]["today"]["calls"] == 1
    before = store.snapshot()
    error = api.error(RETRY_JOB, {"id": f"job_{job}"})
    assert error["code"] == "READ_ONLY"
    assert store.snapshot() == before
    ready = api.runner.run(api.client.get("/readyz"))
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    assert ready.json()["changes"].startswith("refused")


def test_each_process_counts_a_limited_caller_where_nothing_can_be_written(api_of_read_only: Api) -> None:
    codes = [
        error["extensions"]["code"]
        for _ in range(100)
        for error in api_of_read_only.execute("{ viewer { name } }").get("errors", [])
    ]
    assert set(codes) == {"RATE_LIMITED"}
    assert len(codes) >= 40


class Said(logging.Handler):
    """Remembers lines and tells when one comes."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self.came = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        self.came.set()


def test_upkeep_of_a_read_only_database_is_one_line(dsn: str, store: Store) -> None:
    store.rows(f'ALTER DATABASE "{conninfo_to_dict(dsn)["dbname"]}" SET default_transaction_read_only = on')

    async def keep_up_until_told() -> list[logging.LogRecord]:
        said = Said()
        logging.getLogger("resolvers.worker.maintenance").addHandler(said)
        database = Database(dsn)
        await database.open()
        task = asyncio.create_task(run_upkeep(database))
        await asyncio.wait_for(said.came.wait(), 30)
        task.cancel()
        await asyncio.wait({task})
        await database.close()
        logging.getLogger("resolvers.worker.maintenance").removeHandler(said)
        return said.records

    (record,) = asyncio.run(keep_up_until_told())
    assert record.exc_info is None
    assert "upkeep waits: the database takes no changes now" in record.getMessage()
