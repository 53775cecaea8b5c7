"""Physical copies of a server, as backups, snapshots and standbys are, by PostgreSQL's own program."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from db import embedded


@contextmanager
def roomy_folder() -> Iterator[Path]:
    """A folder that the server's account can reach, gone at the end."""
    folder = Path(tempfile.mkdtemp(prefix="runglass-copies-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copy_server(server: embedded.EmbeddedServer, folder: Path, *, standby: bool) -> None:
    """Copy the whole of a running server into the data directory `folder`; a standby waits to be promoted."""
    process = server._process  # pyright: ignore[reportPrivateUsage]
    account = process.place.account
    folder.mkdir(mode=0o755)
    if account.uid is not None:
        os.chown(folder, account.uid, account.gid)
    done = process._run(  # pyright: ignore[reportPrivateUsage]
        [
            process._program("pg_basebackup"),  # pyright: ignore[reportPrivateUsage]
            f"--dbname=host={server.socket_dir} port={embedded.PORT} user={embedded.ROLE}",
            f"--pgdata={folder / 'cluster'}",
            "--checkpoint=fast",
            "--no-sync",
        ],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    if standby:
        signal = folder / "cluster/standby.signal"
        signal.touch()
        if account.uid is not None:
            os.chown(signal, account.uid, account.gid)
