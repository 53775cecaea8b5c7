"""`runglass serve --workers 2`: two processes answer on one port, and one that is killed is replaced."""

from __future__ import annotations

import os
import signal
import subprocess

import httpx
import pytest

from tests.support.api import Api
from tests.support.serving import Server, serving
from tests.support.store import Store

QUERY = "{ viewer { name } runLogs(first: 1) { edges { node { id } } } }"


def answering(server: Server) -> set[int]:
    """The numbers of the processes that the server has started to answer requests."""
    children = processes("--ppid", str(server.process))
    return {int(line.split()[0]) for line in children if "spawn_main" in line}


def processes(*chosen: str) -> list[str]:
    """The number and the command line of each process that is chosen and alive."""
    command = ["ps", "-ww", "-o", "pid=", "-o", "args=", *chosen]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


def ask(server: Server, headers: dict[str, str]) -> int:
    """Ask once, on a connection of its own; the number of run logs that came."""
    answer = httpx.post(f"{server.address}/graphql", json={"query": QUERY}, headers=headers, timeout=30)
    return len(answer.json()["data"]["runLogs"]["edges"])


@pytest.mark.timeout(120)
def test_one_that_is_killed_is_replaced_while_the_other_answers(api: Api, store: Store, dsn: str) -> None:
    store.run()
    with serving(dsn, "--workers", "2") as server:
        assert ask(server, api.headers) == 1
        before = answering(server)
        assert len(before) == 2
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        # The test's timeout ends this where no other comes.
        while len(answering(server) - {killed}) < 2:
            assert ask(server, api.headers) == 1
        assert ask(server, api.headers) == 1
        last = answering(server)
    assert len(last) == 2
    assert processes("-p", ",".join(map(str, last))) == []
