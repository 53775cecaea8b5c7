"""PostgreSQL servers that a test makes, copies, fills, stops and promotes, by PostgreSQL's own programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db.embedded.place import find_place

# The first kinds of sessions need no password, so that the test itself and standbys always come in.
RULES = "local all runglass trust\nlocal replication all trust\nlocal all all scram-sha-256\n"


class Cluster:
    """A server with its data in `folder`/data, its socket and its log beside."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._place = find_place(folder)
        self.folder = self.own(folder)

    def make(self) -> None:
        """Make it, empty."""
        options = "-U runglass -A trust -E UTF8 --no-sync --no-locale --wal-segsize=1"
        self._run("initdb", "-D", self._data, *options.split())
        (self.folder / "data" / "pg_hba.conf").write_text(RULES)

    def copy_of(self, primary: Cluster) -> None:
        """Make it as a standby that follows `primary`."""
        source = f"host={primary.folder} user=runglass"
        self._run("pg_basebackup", "-d", source, "-D", self._data, "-R", "-c", "fast", "--no-sync")

    def start(self) -> None:
        """Start it and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "shared_buffers": "16MB",
            "min_wal_size": "2MB",
            "max_wal_size": "8MB",
            "log_connections": "off",
            "timezone": "UTC",
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        self._run("pg_ctl", "-D", self._data, "-w", "-l", str(self._log), "-o", options, "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it, if it runs."""
        with contextlib.suppress(subprocess.CalledProcessError):
            self._run("pg_ctl", "-D", self._data, "-w", "-m", mode, "stop")

    def promote(self) -> None:
        """Make a standby take changes."""
        self._run("pg_ctl", "-D", self._data, "-w", "promote")

    def dsn(self, database: str, user: str = "runglass", password: str | None = None) -> str:
        """The address of one of its databases."""
        secret = f" password={password}" if password else ""
        return f"host={self.folder} dbname={database} user={user}{secret}"

    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def own(self, folder: Path) -> Path:
        """Give it a folder."""
        os.chown(folder, self._place.account.uid, self._place.account.gid)
        return folder

    @property
    def _data(self) -> str:
        return str(self.folder / "data")

    @property
    def _log(self) -> Path:
        return self.folder / "log"

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self._place.binaries / program), *arguments],
            check=True,
            # A server that is started keeps what it is given.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            cwd="/",
            timeout=60,
            **self._place.account.popen_options(),
        )


@contextmanager
def cluster(folder: Path | None = None) -> Iterator[Cluster]:
    """A server that is gone afterwards; `folder` is an empty one, or one is made."""
    # Not pytest's, into which its account may not look, and short, because of its socket.
    folder = folder or Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))
    folder.chmod(0o755)
    own = Cluster(folder / "own")
    try:
        yield own
    finally:
        own.stop("immediate")
        shutil.rmtree(folder / "own", ignore_errors=True)
        # One that was given may be a disk of its own.
        with contextlib.suppress(OSError):
            folder.rmdir()
