"""Load: 8 keep-alive connections that each send the next request when the last is answered.

A process of its own, on plain sockets: it costs some 15 µs a request, a quarter of what autocannon costs.
"""

from __future__ import annotations

import gc
import json
import re
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, cycle
from typing import Any, NamedTuple

from bench.cases import COUNTER

CONNECTIONS = 8
# What the load generator may take beyond the seconds it is told.
GRACE_SECONDS = 30
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class LoadError(Exception):
    """The load generator failed, or a request did; the message is one line."""


class Sample(NamedTuple):
    """One round: requests a second, latencies in milliseconds, and the load generator's share of a core.

    `requests` are all that were answered, also before the round counted; `server` and `database` are the
    microseconds of processor time that each of them took there.
    """

    rate: float
    p50: float
    p99: float
    load: float
    requests: int
    server: float = 0.0
    database: float = 0.0

    @property
    def processor(self) -> float:
        """Microseconds of both."""
        return self.server + self.database


def run(
    port: int, headers: Mapping[str, str], bodies: Sequence[str], expected: str, warm: float, seconds: float
) -> Sample:
    """One round in a process of its own, after `warm` seconds that do not count.

    Raises LoadError where a request failed or its answer has not what is expected.
    """
    told = [port, dict(headers), list(bodies), expected, warm, seconds]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            input=json.dumps(told),
            capture_output=True,
            text=True,
            timeout=warm + seconds + GRACE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LoadError("the load generator did not end") from error
    if done.returncode:
        raise LoadError(done.stderr.strip().rpartition("\n")[2][-400:])
    return Sample(*json.loads(done.stdout))


def main() -> None:
    """Do what standard input says, and print the sample."""
    port, headers, bodies, expected, warm, seconds = json.load(sys.stdin)
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with selectors.DefaultSelector() as ready:
        try:
            for _ in range(CONNECTIONS):
                connection = socket.create_connection(("127.0.0.1", port), timeout=GRACE_SECONDS)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                ready.register(connection, selectors.EVENT_READ, [0.0, b""])
            print(json.dumps(_drive(ready, _requests(head, bodies), expected.encode(), warm, seconds)))
        except (LoadError, OSError) as error:
            sys.exit(f"{error}")


def _requests(head: str, bodies: Sequence[str]) -> Iterator[bytes]:
    numbers = count()
    counter = COUNTER.encode()
    for body in cycle([body.encode() for body in bodies]):
        sent = body.replace(counter, b"%09d" % next(numbers))
        yield (
            f"POST /graphql HTTP/1.1\r\nhost: bench\r\n{head}content-length: {len(sent)}\r\n\r\n".encode()
            + sent
        )


def _drive(
    ready: selectors.BaseSelector, requests: Iterator[bytes], expected: bytes, warm: float, seconds: float
) -> Sample:
    gc.disable()
    now = time.perf_counter
    latencies: list[float] = []
    begin = now() + warm
    end = begin + seconds
    spent, answered = 0.0, 0
    for key in list(ready.get_map().values()):
        key.data[0] = now()
        _connection(key).sendall(next(requests))
    while (moment := now()) < end:
        if not spent and moment >= begin:
            spent = time.process_time()
        for key, _ in ready.select(GRACE_SECONDS):
            state, connection = key.data, _connection(key)
            received = connection.recv(1 << 18)
            answer = state[1] + received if state[1] else received
            if not received:
                raise LoadError("the connection was closed")
            if not _is_whole(answer):
                state[1] = answer
                continue
            if not answer.startswith(b"HTTP/1.1 200 ") or expected not in answer or b'"errors":' in answer:
                raise LoadError(f"answered {' '.join(answer.decode(errors='replace').split())[:400]}")
            done = now()
            answered += 1
            if done >= begin:
                latencies.append(done - state[0])
            state[:] = done, b""
            connection.sendall(next(requests))
    if not latencies:
        raise LoadError("no request was answered")
    load = (time.process_time() - spent) / seconds
    latencies.sort()
    p50, p99 = (latencies[len(latencies) * part // 100] * 1000 for part in (50, 99))
    return Sample(len(latencies) / seconds, p50, p99, load, answered)


def _connection(key: selectors.SelectorKey) -> socket.socket:
    return key.fileobj  # type: ignore[return-value]


def _is_whole(answer: bytes) -> bool:
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length: Any = _LENGTH.search(answer, 0, end + 2)
    if not length:
        raise LoadError("an answer without Content-Length")
    return len(answer) >= end + 4 + int(length[1])


if __name__ == "__main__":
    main()
