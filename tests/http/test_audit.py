import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

CLIENTS = Path(__file__).parent.parent / "clients"
NODE = shutil.which("node")
ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_until_open(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
    raise RuntimeError("the server did not start")


@pytest.fixture
def server() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.http.server", str(port)], cwd=ROOT)
    try:
        wait_until_open(port, process)
        yield f"http://127.0.0.1:{port}/graphql"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.skipif(
    not (CLIENTS / "node_modules/graphql-http").exists(), reason="run npm ci in tests/clients"
)
def test_every_audit_of_graphql_http_passes(server: str) -> None:
    script = Path(__file__).parent / "audit.mjs"
    output = subprocess.run(
        [str(NODE), str(script), server, str(CLIENTS)], check=True, capture_output=True, timeout=60
    )
    audits = json.loads(output.stdout)
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == 61
