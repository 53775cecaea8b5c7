"""The log under a flood: how many lines one cause may write in a time is bounded, whoever writes them."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

ALLOWED = 20
SECONDS = 10.0
REMEMBERED = 1_000
_NUMBERS = re.compile(r"0x[0-9a-f]+|\d+")


class FloodFilter(logging.Filter):
    """Lets `ALLOWED` lines of one cause through in `SECONDS`, the first of them with its traceback.

    A cause is a place in the code: the logger, the words before values are put into them, and the type of an
    exception. The first line after its seconds says how many were left out.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        # Of each cause, when its seconds began, and how many of its lines have come since.
        self._seen: dict[object, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is written; it may be shortened for that."""
        cause, now = _cause(record), self._clock()
        began, count = self._seen.get(cause, (now, 0))
        left_out = 0
        if now - began >= SECONDS:
            began, left_out, count = now, max(0, count - ALLOWED), 0
        if cause not in self._seen and len(self._seen) >= REMEMBERED:
            self._seen.clear()
        self._seen[cause] = began, count + 1
        if count >= ALLOWED:
            return False
        if left_out or (count and record.exc_info):
            _shorten(record, left_out, with_trace=not count)
        return True


def _cause(record: logging.LogRecord) -> object:
    # The loop's own handler puts the task into the words, which differs each time.
    words = _NUMBERS.sub("#", str(record.msg).partition("\n")[0])
    error = record.exc_info[0] if isinstance(record.exc_info, tuple) else None
    return record.name, record.levelno, words, error


def _shorten(record: logging.LogRecord, left_out: int, *, with_trace: bool) -> None:
    words = record.getMessage().rstrip()
    record.msg = words + (f" (and {left_out:,} such lines before)" if left_out else "")
    record.args = None
    if not with_trace:
        record.exc_info = record.exc_text = None
