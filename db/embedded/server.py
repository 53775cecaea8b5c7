"""A PostgreSQL server of our own, from a wheel's binaries, shared by the processes of one data directory.

The data directory holds `cluster` (PostgreSQL's own files), `server.log` and its predecessors, and three lock
files. The locks are the kernel's (flock), so whatever way a process ends, its locks end with it:

- `start.lock` is held exclusively while a process starts, joins or stops the server;
- `users.lock` is held shared by everyone who uses the server: who can take it exclusively is the last one;
- `server.lock` is held by PostgreSQL itself: while it is taken, a process of the server lives.

Linux and macOS only.
"""

import atexit
import contextlib
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self
from urllib.parse import quote

import psycopg

from db.embedded.log import NAME as LOG_NAME
from db.embedded.log import OLD_LOGS, SESSION_OPTIONS, LogWatch
from db.embedded.place import EmbeddedServerError, find_place
from db.embedded.process import PORT, ROLE, Lock, ServerProcess

__all__ = ["EmbeddedServer", "EmbeddedServerError", "exit_on_termination", "start"]

OUR_NAMES = frozenset(
    {
        "start.lock",
        "users.lock",
        "server.lock",
        LOG_NAME,
        *OLD_LOGS,
        "cluster",
        "cluster.new",
        "lost+found",
    }
)


@dataclass(frozen=True)
class EmbeddedServer:
    """One user's hold on a running server. `data_dir` is where the data really is (see `start`)."""

    data_dir: Path
    socket_dir: Path
    _process: ServerProcess = field(repr=False, compare=False)
    _users: Lock = field(repr=False, compare=False)
    _log_watch: LogWatch = field(repr=False, compare=False)
    _pid: int = field(default_factory=os.getpid, repr=False, compare=False)

    def dsn(self, database: str = "runglass") -> str:
        """Return the libpq URL of a database of this server, over the unix socket, as its superuser."""
        host, options = quote(str(self.socket_dir), safe=""), quote(SESSION_OPTIONS, safe="")
        return f"postgresql://{ROLE}@/{quote(database, safe='')}?host={host}&port={PORT}&options={options}"

    def close(self) -> None:
        """Give the server up; the last user stops it (fast shutdown). Closing twice is harmless.

        A forked child that inherited this object must not stop its parent's server: there it does nothing.
        """
        atexit.unregister(self.close)
        if self._users.closed or self._pid != os.getpid():
            return
        self._log_watch.stop()
        try:
            with self._process.exclusively(time.monotonic() + 30):
                if self._users.try_exclusive():
                    self._process.stop()
        finally:
            self._users.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def start(data_dir: Path, *, durable: bool = True, timeout: float = 30.0) -> EmbeddedServer:
    """Start the server of `data_dir`, or join it where another process has started it; blocks.

    Makes the data directory and the database `runglass` where they are missing. A server left over by a
    killed process is joined, a killed server recovers. The server has a session of its own, so a terminal's
    Ctrl-C does not reach it; it is stopped by its last user's `close`, which also runs at interpreter exit.
    A process that ends by SIGTERM or SIGHUP runs neither, unless it has called `exit_on_termination`.

    As root, where the server's account cannot reach `data_dir`, the data is kept below /var/lib/runglass:
    read `EmbeddedServer.data_dir`. With `durable=False` (tests only) a power failure may destroy the data.
    `timeout`, in seconds, bounds the wait for other processes and for PostgreSQL's answer.

    Raises EmbeddedServerError, whose message is one line.
    """
    deadline = time.monotonic() + timeout
    try:
        process = ServerProcess(find_place(data_dir), durable)
        _refuse_foreign_folder(process.place.folder)
        with process.exclusively(deadline):
            return _join(process, deadline)
    except PermissionError as error:
        raise EmbeddedServerError(
            f"no permission for {error.filename}: start Runglass as the owner of the data directory, "
            "or choose another (DATA_DIR)"
        ) from error
    except (OSError, subprocess.SubprocessError, psycopg.Error) as error:
        reason = " ".join(str(error).split())
        raise EmbeddedServerError(f"cannot start the embedded PostgreSQL in {data_dir}: {reason}") from error


def exit_on_termination() -> None:
    """Make SIGTERM and SIGHUP raise SystemExit(128 + number), so that `with` blocks and exit handlers run.

    Call it first thing in the main thread of a command. A server that handles SIGTERM itself (uvicorn) raises
    the signal again when it is done: without this handler that second signal kills the process on the spot.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, _raise_exit)


def _raise_exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _refuse_foreign_folder(folder: Path) -> None:
    names = set(os.listdir(folder))
    foreign = sorted(names - OUR_NAMES)
    if foreign and "cluster" not in names:
        raise EmbeddedServerError(
            f"{folder} is not empty (it holds {foreign[0]}) and no data directory of Runglass: "
            "choose another (DATA_DIR)"
        )


def _join(process: ServerProcess, deadline: float) -> EmbeddedServer:
    """Become a user of the running server, or of one that we start; nobody else starts or stops meanwhile."""
    users = process.lock("users.lock")
    alone = users.try_exclusive()
    try:
        process.initialise(deadline)
        socket_dir = process.find_running(deadline)
        if socket_dir and process.durable and not process.runs_durably():
            if not alone:
                raise EmbeddedServerError(
                    f"{process.place.folder} is in use by a process that runs it not durable"
                )
            process.stop()
            socket_dir = None
        socket_dir = socket_dir or process.launch(deadline)
        watch = LogWatch(process.limit_log)
        server = EmbeddedServer(process.place.folder, socket_dir, process, users, watch)
        _create_database(server)
    except BaseException:
        if alone:
            with contextlib.suppress(EmbeddedServerError, OSError):
                process.stop()
        users.release()
        raise
    users.share()
    atexit.register(server.close)
    return server


def _create_database(server: EmbeddedServer) -> None:
    with psycopg.connect(server.dsn("postgres"), autocommit=True, connect_timeout=10) as connection:
        if not connection.execute("SELECT 1 FROM pg_database WHERE datname = 'runglass'").fetchone():
            connection.execute("CREATE DATABASE runglass")
