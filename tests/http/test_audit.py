import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.http.server import served

CLIENTS = Path(__file__).parent.parent / "clients"
NODE = shutil.which("node")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with served(tmp_path / "log") as server:
        yield f"http://127.0.0.1:{server.port}/graphql"


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
