"""Milliseconds per request of the hot query: standard executor and compiler, without HTTP and database.

Run: python -m bench.completion
"""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import gc
import statistics
import time
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import orjson
import strawberry
from graphql import parse
from graphql.execution import execute
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.compiler import make_compiler

QUERY = """
query Runs($first: Int) { runLogs(first: $first) {
  edges { cursor node {
    id appType status tokensUsed latencyMs memberId sessionId errorMessage createdAt } }
  pageInfo { hasNextPage endCursor } } }
"""


@strawberry.enum
class Status(enum.Enum):
    SUCCESS = "success"
    FAILED = "failed"


@strawberry.interface
class Node:
    id: strawberry.ID


class Row(NamedTuple):
    id: str
    app_type: str
    status: Status
    tokens_used: int
    latency_ms: int | None
    member_id: str | None
    session_id: str | None
    error_message: str | None
    created_at: dt.datetime


@strawberry.type
class RunLog(Node):
    app_type: str
    status: Status
    tokens_used: int
    latency_ms: int | None
    member_id: str | None
    session_id: str | None
    error_message: str | None
    created_at: dt.datetime

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, (cls, Row))


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class RunLogEdge:
    cursor: str
    node: RunLog


@strawberry.type
class RunLogConnection:
    edges: list[RunLogEdge]
    page_info: PageInfo


@dataclass(slots=True)
class Edge:
    cursor: str
    node: Row


START = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def make_rows(count: int) -> list[Row]:
    return [
        Row(
            f"run_{n}",
            "summarise",
            Status.SUCCESS if n % 7 else Status.FAILED,
            1000 + n,
            250 + n,
            f"m{n}",
            None,
            None,
            START + dt.timedelta(seconds=n, microseconds=n),
        )
        for n in range(count)
    ]


ROWS = make_rows(100)


@strawberry.type
class Query:
    @strawberry.field
    async def run_logs(self, first: int | None = 20) -> RunLogConnection:
        edges = [Edge(cursor=row.id, node=row) for row in ROWS[: first or 20]]
        page = PageInfo(has_next_page=True, end_cursor=edges[-1].cursor)
        return RunLogConnection(edges=cast("list[RunLogEdge]", edges), page_info=page)


schema = strawberry.Schema(query=Query)
document: Any = parse(QUERY)
compiler = make_compiler(schema._schema)
operation = compiler and compiler.operation(document, document.definitions[0])


async def standard(first: int) -> Any:
    result = execute(
        schema._schema,
        document,
        variable_values={"first": first},
        executor_class=StrawberryGraphQLCoreExecutionContext,
        is_awaitable=cast("Any", optimized_is_awaitable),
    )
    return (await cast("Any", result)).data


async def compiled(first: int) -> Any:
    assert operation is not None
    run = operation.run({"first": first})
    assert run is not None
    return (await run(None, None))[0]


async def measure(request: Any, first: int, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        await request(first)
    return (time.perf_counter() - start) / repeats * 1000


async def main() -> None:
    ways = {"standard": standard, "compiled": compiled}
    gc.freeze()
    for first in (1, 20, 100):
        figures: dict[str, list[float]] = {name: [] for name in ways}
        data = await compiled(first)
        assert data == await standard(first)
        for _ in range(7):
            for name, request in ways.items():
                figures[name].append(await measure(request, first, 2000 // first))
        line = ", ".join(f"{name} {statistics.median(values):.3f} ms" for name, values in figures.items())
        start = time.perf_counter()
        for _ in range(200):
            orjson.dumps({"data": data})
        print(f"{first} rows: {line}, orjson {(time.perf_counter() - start) * 5:.4f} ms")


if __name__ == "__main__":
    asyncio.run(main())
