"""pgbouncer before the server of the tests: by transaction with few connections, or by session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
NOBODY = 65534
CONNECTIONS = 4

needs_pgbouncer = pytest.mark.skipif(PROGRAM is None, reason="no pgbouncer here: apt-get install pgbouncer")

Pooled = Callable[[str], str]


@pytest.fixture(scope="session")
def pooled(server_dsn: Callable[[str], str]) -> Iterator[Pooled]:
    """Gives the address, behind the pooler in transaction mode, of the database that an address names."""
    yield from _pgbouncer(server_dsn, "transaction", CONNECTIONS)


@pytest.fixture(scope="session")
def session_pooled(server_dsn: Callable[[str], str]) -> Iterator[Pooled]:
    """The same in session mode, where each client has a connection for as long as it stays."""
    yield from _pgbouncer(server_dsn, "session", 30)


def _pgbouncer(server_dsn: Callable[[str], str], mode: str, connections: int) -> Iterator[Pooled]:
    """It has pgbouncer's own defaults, which refuse startup parameters that it does not know."""
    server = conninfo_to_dict(server_dsn("postgres"))
    target = " ".join(
        f"{name}={server[name]}" for name in ("host", "port", "user", "password") if name in server
    )
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        folder = Path(name)
        (folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = {target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
            f"unix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
            f"default_pool_size = {connections}\n"
            f"max_client_conn = 500\nlogfile = {folder}/log\nquery_wait_timeout = 30\n"
        )
        options: dict[str, Any] = {}
        if os.geteuid() == 0:
            # It does not run as root, and only the server's account may enter the folder of its socket.
            host = str(server.get("host", ""))
            owner = os.stat(host).st_uid if host.startswith("/") else NOBODY
            options = {"user": owner, "group": NOBODY, "extra_groups": []}
            for path in (folder, folder / "pgbouncer.ini"):
                os.chown(path, owner, NOBODY)
        process = subprocess.Popen(
            [str(PROGRAM), "-q", str(folder / "pgbouncer.ini")], stderr=subprocess.DEVNULL, **options
        )

        def address(dsn: str) -> str:
            return f"postgresql://runglass@127.0.0.1:{port}/{conninfo_to_dict(dsn)['dbname']}"

        try:
            _wait_for(address(server_dsn("postgres")))
            yield address
        finally:
            process.kill()
            process.wait()


def _wait_for(dsn: str) -> None:
    # Some milliseconds after its start it takes connections.
    end = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(dsn, connect_timeout=5).close()
        except psycopg.OperationalError:
            assert time.monotonic() < end
            time.sleep(0.02)
        else:
            return
