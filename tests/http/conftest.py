"""A server in a process of its own, for tests of connections."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http.server import Served, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The small API, whose waits are short."""
    log = tmp_path_factory.mktemp("server") / "log"
    options = {"head_seconds": 1, "linger_seconds": 2, "stalled_seconds": 2, "body_seconds": 2}
    with served(log, linger_bytes=20_000_000, **options) as server:
        yield server
