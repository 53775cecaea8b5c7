"""The embedded server's process: making its cluster, starting, finding and stopping it.

`server.lock` is inherited by PostgreSQL and all its children: while it is taken, a process of the server
lives, whatever postmaster.pid says. So a recycled pid, a lost postmaster or an initdb that outlived its
starter cannot be taken for something else.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from db.embedded import log as embedded_log
from db.embedded.place import Account, EmbeddedServerError, Place, give, make_socket_folder

ROLE = "runglass"
PORT = 5432
STOP_STEPS = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0), (signal.SIGKILL, 5.0))
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "random_page_cost": "1.1",
    "jit": "off",
    "timezone": "UTC",
    **embedded_log.SETTINGS,
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Lock:
    """A file whose lock (flock) is this object's until it is released or the process is gone."""

    def __init__(self, path: Path, account: Account) -> None:
        created = not path.exists()
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self.closed = False
        if created:
            give(path, account)

    def try_exclusive(self) -> bool:
        """Take the lock if nobody else has it; a shared hold of our own is lost where that fails."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait_exclusive(self, deadline: float, complaint: str) -> None:
        """Take the lock, or release everything and raise EmbeddedServerError after the deadline."""
        while not self.try_exclusive():
            if time.monotonic() > deadline:
                self.release()
                raise EmbeddedServerError(complaint)
            time.sleep(0.02)

    def share(self) -> None:
        """Hold the lock shared."""
        fcntl.flock(self.fd, fcntl.LOCK_SH)

    def release(self) -> None:
        """Unlock, even where a child forked at this moment still has the descriptor, and close."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.close()

    def close(self) -> None:
        """Close our descriptor; the lock stays with the processes that inherited it."""
        os.close(self.fd)
        self.closed = True


@dataclass(frozen=True)
class ServerProcess:
    """The server process of one folder. All methods but `exclusively` want to be called under that one."""

    place: Place
    durable: bool

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.place.folder / "cluster"

    def lock(self, name: str) -> Lock:
        """Open one of the folder's lock files."""
        return Lock(self.place.folder / name, self.place.account)

    @contextlib.contextmanager
    def exclusively(self, deadline: float) -> Generator[None]:
        """Keep all other processes from starting, joining or stopping this server meanwhile."""
        lock = self.lock("start.lock")
        lock.wait_exclusive(
            deadline, f"another process has been busy starting or stopping the server in {self.place.folder}"
        )
        try:
            yield
        finally:
            lock.release()

    def alive(self) -> bool:
        """Tell whether any process of the server lives, also one that has lost its postmaster."""
        lock = self.lock("server.lock")
        free = lock.try_exclusive()
        lock.release()
        return not free

    def initialise(self, deadline: float) -> None:
        """Make the cluster beside its final name, then rename: a half-made one is never taken for whole."""
        if self.cluster.exists():
            self._check_version()
            return
        fresh = self.place.folder / "cluster.new"
        command = [self._program("initdb"), "-D", str(fresh), "-U", ROLE, "--auth=trust", "-E", "UTF8"]
        command += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-locale"]
        command += [] if self.durable else ["--no-sync"]
        # Closed, not released: what an interrupted initdb leaves running keeps the lock.
        with contextlib.closing(self._server_lock(deadline)) as lock:
            shutil.rmtree(fresh, ignore_errors=True)
            fresh.mkdir(mode=0o700)
            give(fresh, self.place.account)
            made = self._run(command, capture_output=True, pass_fds=(lock.fd,))
        if made.returncode != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            raise EmbeddedServerError(f"initdb failed: {_reason(made.stderr)}")
        fresh.rename(self.cluster)

    def _check_version(self) -> None:
        try:
            stored = (self.cluster / "PG_VERSION").read_text().strip()
        except FileNotFoundError:
            raise EmbeddedServerError(
                f"{self.cluster} is no PostgreSQL data directory: choose another (DATA_DIR)"
            ) from None
        output = self._run([self._program("postgres"), "-V"], capture_output=True, check=True).stdout
        ours = output.split()[-1].split(".")[0]
        if stored != ours:
            raise EmbeddedServerError(
                f"the data in {self.cluster} is of PostgreSQL {stored} and the installed server is {ours}: "
                f"dump it with version {stored} and load it into a new one, or choose another (DATA_DIR)"
            )

    def find_running(self, deadline: float) -> Path | None:
        """Return the socket folder of a server that answers, or None when no process of a server lives.

        A server that cannot be reached (its socket was deleted, or it is frozen) is stopped.
        """
        if not self.alive():
            return None
        _, socket_dir = self._pid_file()
        patience = time.monotonic() + max(0.0, deadline - time.monotonic()) / 2
        if socket_dir and self._answers(socket_dir, patience):
            return socket_dir
        self.stop()
        return None

    def runs_durably(self) -> bool:
        """Read PostgreSQL's own record of the running server's command line."""
        return "fsync=off" not in (self.cluster / "postmaster.opts").read_text(errors="replace")

    def launch(self, deadline: float) -> Path:
        """Start PostgreSQL, wait until it answers and return its socket folder."""
        with contextlib.closing(self._server_lock(deadline)) as lock, self._open_log() as log:
            stale_pid, stale_socket_dir = self._pid_file()
            if stale_pid and self._is_postgres(stale_pid):
                raise EmbeddedServerError(
                    f"a PostgreSQL that Runglass did not start (pid {stale_pid}) uses {self.cluster}: stop it"
                )
            self._remove_socket_folder(stale_socket_dir)
            socket_dir = make_socket_folder(self.place.account)
            log_start = log.tell()
            self._spawn(socket_dir, stale_pid, log.fileno(), lock.fd)
        if self._answers(socket_dir, deadline):
            self._wait_its_turn()
            return socket_dir
        reason = "it did not answer in time" if self.alive() else self._logged_since(log_start)
        self.stop()
        self._remove_socket_folder(socket_dir)
        raise EmbeddedServerError(
            f"PostgreSQL did not start: {reason} (log: {self.place.folder / embedded_log.NAME})"
        )

    def stop(self) -> None:
        """Stop the server if it lives: fast, then immediate, then by force; committed rows survive each."""
        pid, socket_dir = self._pid_file()
        for step, patience in STOP_STEPS:
            if not self.alive():
                break
            if pid and self._is_postgres(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, step)
                    os.kill(pid, signal.SIGCONT)
            self._await_end(time.monotonic() + patience)
        if self.alive():
            raise EmbeddedServerError(f"the server in {self.place.folder} cannot be stopped (pid {pid})")
        self._remove_socket_folder(socket_dir)

    def _await_end(self, deadline: float) -> None:
        while self.alive() and time.monotonic() < deadline:
            time.sleep(0.01)

    def _spawn(self, socket_dir: Path, stale_pid: int | None, log: int, lock: int) -> None:
        """Start PostgreSQL through a shell that ends at once: no child is left that we would have to reap."""
        command = [self._program("postgres"), "-D", str(self.cluster), "-k", str(socket_dir)]
        for name, value in (SETTINGS | ({} if self.durable else NOT_DURABLE)).items():
            command += ["-c", f"{name}={value}"]
        self._run(
            ["/bin/sh", "-c", '"$@" &', "sh", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(lock,),
            start_new_session=True,
            check=True,
            # PostgreSQL takes a pid file that names its grandparent for stale; else any live process of that
            # number blocks the start.
            env={"PG_GRANDPARENT_PID": str(stale_pid)} if stale_pid else {},
        )

    def _wait_its_turn(self) -> None:
        """Have its processes from now on not interrupt others when they wake, where the system can do so.

        A statement takes a tenth of a millisecond: whoever sent it goes on with other requests, and is better
        not stopped for each of them.
        """
        pid, _ = self._pid_file()
        if pid and hasattr(os, "SCHED_BATCH"):
            with contextlib.suppress(OSError):
                os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))

    def _answers(self, socket_dir: Path, deadline: float) -> bool:
        """Wait until the server accepts connections; False when it dies or the time is over."""
        ask = [self._program("pg_isready"), "-q", "-h", str(socket_dir), "-p", str(PORT), "-d", "postgres"]
        while self._run([*ask, "-U", ROLE, "-t", "1"]).returncode != 0:
            if time.monotonic() > deadline or not self.alive() or not socket_dir.is_dir():
                return False
            time.sleep(0.02)
        return True

    def _run(
        self, command: list[str], *, env: dict[str, str] | None = None, check: bool = False, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as the server's account, with an environment of our own making."""
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", **(env or {})}
        options |= self.place.account.popen_options()
        return subprocess.run(
            command,
            env=environment,
            check=check,
            cwd="/",
            umask=0o077,
            text=True,
            errors="replace",
            **options,
        )

    def _program(self, name: str) -> str:
        return str(self.place.binaries / name)

    def _server_lock(self, deadline: float) -> Lock:
        lock = self.lock("server.lock")
        lock.wait_exclusive(deadline, f"processes of an earlier server in {self.place.folder} do not end")
        return lock

    def _pid_file(self) -> tuple[int | None, Path | None]:
        """Read pid and socket folder (lines 1 and 5) from PostgreSQL's own lock file, whoever wrote it."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text(errors="surrogateescape").splitlines()
            return int(lines[0]), Path(lines[4]) if len(lines) > 4 and lines[4] else None
        except (FileNotFoundError, IndexError, ValueError):
            return None, None

    def _is_postgres(self, pid: int) -> bool:
        """Tell whether the process is a PostgreSQL server on our cluster (its arguments say so)."""
        with contextlib.suppress(OSError):
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            return arguments[0].endswith(b"postgres") and os.fsencode(self.cluster) in arguments
        if Path("/proc/self").exists():
            return False
        shown = self._run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True).stdout
        return "postgres" in shown and str(self.cluster) in shown

    def _remove_socket_folder(self, folder: Path | None) -> None:
        """Remove a dead server's socket folder, if the name (it comes from a file) is one that we made."""
        if folder is None or folder.parent != Path("/tmp") or not folder.name.startswith("runglass-"):  # noqa: S108
            return
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != self.place.account.uid:
                return
            for name in (f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()

    def _open_log(self) -> BinaryIO:
        embedded_log.turn_over(self.place.folder, self.place.account)
        path = self.place.folder / embedded_log.NAME
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        log = os.fdopen(os.open(path, flags, 0o600), "ab")
        give(path, self.place.account)
        return log

    def limit_log(self) -> None:
        """Begin the log anew where it has reached its limit, unless another process is at work here."""
        lock = self.lock("start.lock")
        if not lock.try_exclusive():
            lock.close()
            return
        try:
            embedded_log.turn_over(self.place.folder, self.place.account)
        finally:
            lock.release()

    def _logged_since(self, offset: int) -> str:
        with open(self.place.folder / embedded_log.NAME, "rb") as log:
            log.seek(offset)
            return _reason(log.read(100_000).decode(errors="replace"))


def _reason(output: str) -> str:
    """Pick the line that says why a program of PostgreSQL has failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    telling = [line for line in lines if "FATAL" in line or "PANIC" in line or "error:" in line]
    reason = (telling or lines[-1:] or ["it gave no reason"])[0]
    return reason.partition("FATAL:")[2].strip() or reason
