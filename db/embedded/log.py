"""The embedded server's log: what PostgreSQL writes there, and how large it may become.

Callers' values belong to the tenants, so no statement and no value is logged. What goes wrong with a
statement is an error of the process that sent it, which logs it in its own words. So PostgreSQL does not log
it again for connections of ours (`SESSION_OPTIONS`), for the first line of such an error may repeat a value.
Of everything else, such as its own background processes, the first line is logged alone: the lines below it
(DETAIL, CONTEXT, QUERY, STATEMENT) are where rows, keys and statements stand.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Generator
from itertools import pairwise
from pathlib import Path

from db.embedded.place import Account, give

NAME = "server.log"
LIMIT_BYTES = 10_000_000
OLD_LOGS = (f"{NAME}.1", f"{NAME}.2")
"""Where the log goes when it has reached its limit, newest first; what falls out at the end is gone."""

LOOK_SECONDS = 5.0

SETTINGS = {
    "logging_collector": "off",
    "log_timezone": "UTC",
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_duration": "off",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_lock_waits": "off",
    "log_temp_files": "-1",
    "debug_print_plan": "off",
}
SESSION_OPTIONS = "-c log_min_messages=log"
"""LOG stands above ERROR there: the server's own news and fatal ends are logged, errors of statements not."""


def turn_over(folder: Path, account: Account) -> None:
    """Where the log has reached its limit, begin it anew and keep the end of what it held.

    Nobody else may do so at the same time. PostgreSQL goes on writing to the same file, which it appends to;
    a line that it writes in this very moment may be lost.
    """
    with contextlib.suppress(FileNotFoundError), _opened(folder / NAME, os.O_RDWR) as log:
        size = os.fstat(log).st_size
        if size < LIMIT_BYTES:
            return
        for younger, elder in reversed(list(pairwise(OLD_LOGS))):
            with contextlib.suppress(FileNotFoundError):
                (folder / younger).replace(folder / elder)
        newest = folder / OLD_LOGS[0]
        _copy_end(log, size, newest)
        give(newest, account)
        os.ftruncate(log, 0)


def _copy_end(log: int, size: int, target: Path) -> None:
    target.unlink(missing_ok=True)
    os.lseek(log, max(0, size - LIMIT_BYTES), os.SEEK_SET)
    with _opened(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL) as copy:
        left = LIMIT_BYTES
        while left > 0 and (chunk := os.read(log, min(left, 1_000_000))):
            os.write(copy, chunk)
            left -= len(chunk)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Generator[int]:
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class LogWatch:
    """Looks at the log's size from time to time, in a thread of its own, until it is stopped."""

    def __init__(self, look: Callable[[], None]) -> None:
        self._look = look
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="embedded-log", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            # A full disk or a folder that was removed must not end the watch.
            with contextlib.suppress(OSError):
                self._look()
