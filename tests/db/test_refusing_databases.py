"""A database that refuses: one coded error that fits the cause, one line of the log, and nothing changed."""

from __future__ import annotations

import logging

import pytest

from db.repeats import Repeats
from tests.conftest import Api, Store
from tests.mutations.test_retry_job import RETRY_JOB

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
