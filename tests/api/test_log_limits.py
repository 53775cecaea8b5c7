"""A flood of one cause leaves few lines in the log, and says how many there were."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from io import StringIO

import pytest

from graph.processes.log_limits import ALLOWED, SECONDS, FloodFilter


class Log:
    """A logger whose lines are kept; `now` is what its filter takes for the time."""

    def __init__(self) -> None:
        self.now = 0.0
        self.logger = logging.getLogger("tests.flood")
        self.logger.propagate = False
        self._text = StringIO()
        self.handler = logging.StreamHandler(self._text)
        self.handler.addFilter(FloodFilter(lambda: self.now))
        self.logger.addHandler(self.handler)
        self.logger.setLevel("INFO")

    @property
    def lines(self) -> list[str]:
        return self._text.getvalue().splitlines()

    def fail(self, number: int) -> None:
        try:
            raise RuntimeError(number)
        except RuntimeError:
            self.logger.exception("request %d failed\nin <Task 0x%x>", number, number)


@pytest.fixture
def log() -> Iterator[Log]:
    log = Log()
    yield log
    log.logger.removeHandler(log.handler)


def test_lines_of_one_cause_are_bounded_and_counted(log: Log) -> None:
    for number in range(1_000):
        log.logger.info("refused %d", number)
    log.logger.info("something else")
    assert log.lines == [*(f"refused {number}" for number in range(ALLOWED)), "something else"]
    log.now = SECONDS
    log.logger.info("refused %d", 1_000)
    log.logger.info("refused %d", 1_001)
    assert log.lines[-2:] == [f"refused 1000 (and {1_000 - ALLOWED} such lines before)", "refused 1001"]


def test_one_traceback_is_enough(log: Log) -> None:
    for number in range(1_000):
        log.fail(number)
    assert sum(line.startswith("Traceback") for line in log.lines) == 1
    assert sum(line.startswith("request") for line in log.lines) == ALLOWED


def test_words_that_differ_by_numbers_are_one_cause(log: Log) -> None:
    for number in range(1_000):
        log.logger.error(f"Task {number} <0x7f{number}> was destroyed")
    assert len(log.lines) == ALLOWED


def test_causes_without_end_take_no_memory_without_end(log: Log) -> None:
    (filter,) = log.handler.filters
    assert isinstance(filter, FloodFilter)
    for number in range(3_000):
        log.logger.info("word " + "x" * number)
    assert len(filter._seen) <= 1_000
    assert len(log.lines) == 3_000
