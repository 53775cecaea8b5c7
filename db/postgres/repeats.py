"""Lines of the log that would come with every request are written once for many."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

_REMEMBERED = 100


class Repeats:
    """Lets the first of equal lines through, and then one in `seconds`, with how many were left out."""

    def __init__(self, seconds: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        # When each was written last, and how often it has come since.
        self._lines: dict[str, tuple[float, int]] = {}

    def tell(self, log: logging.Logger, level: int, line: str) -> None:
        """Log a line, unless the same one was written just now."""
        left_out = self.is_due(line)
        if left_out is not None:
            more = f" (and {left_out} times since the last such line)" if left_out else ""
            log.log(level, "%s%s", line, more)

    def is_due(self, line: str) -> int | None:
        """Whether to write a line: how many like it were left out since the last one; None where not."""
        now = self._clock()
        written, left_out = self._lines.get(line, (None, 0))
        if written is not None and now - written < self._seconds:
            self._lines[line] = (written, left_out + 1)
            return None
        if len(self._lines) >= _REMEMBERED:
            self._lines.clear()
        self._lines[line] = (now, 0)
        return left_out

    def forget(self) -> bool:
        """The trouble is over: let the next line of each kind through. Gives whether there was any."""
        told = bool(self._lines)
        self._lines.clear()
        return told
