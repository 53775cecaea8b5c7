"""A small API that stands in for ours, so that the HTTP layer and the limits are tested by themselves.

`served` gives it a process and a port of its own.
"""

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route
from strawberry.scalars import JSON

from graph.errors import ApiError, ErrorCode, ErrorFormatter
from graph.execution.engine import Engine
from graph.execution.limits import Limits
from graph.http.bodies import BodyLimits
from graph.http.endpoint import GraphQLEndpoint
from graph.http.uvicorn_adapter import ConnectionLimits, ServerConfig, protocol_options
from tests.http.sockets import connected, request

ROOT = Path(__file__).parent.parent.parent


class DomainRefusal(Exception):
    """An exception of a lower floor, which knows no codes."""


class Unavailable(Exception):
    """A database that is gone; its text names a host."""


class SecretRow:
    """A row of no type of the schema."""


@dataclass
class Context:
    allow_introspection: bool = True
    identity: str = "ann"
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    hanging: int = 0

    def close(self) -> None:
        """Nothing is left to end."""


Info = strawberry.Info[Context, None]


@strawberry.type
class PageInfo:
    has_next_page: bool = False


@strawberry.interface
class Node:
    id: strawberry.ID


@strawberry.type
class Run(Node):
    status: str = "success"

    @strawberry.field
    def job(self) -> "Job":
        return Job(id=strawberry.ID("job_1"))


@strawberry.type
class RunEdge:
    node: Run
    cursor: str = "c"


@strawberry.type
class RunConnection:
    edges: list[RunEdge]
    page_info: PageInfo


@strawberry.type
class Job(Node):
    title: str = "a job"

    @strawberry.field
    def runs(self, first: int | None = 20, last: int | None = None) -> RunConnection:
        edges = [RunEdge(node=Run(id=strawberry.ID(f"run_{number}"))) for number in range(first or 20)]
        return RunConnection(edges=edges, page_info=PageInfo())

    @strawberry.field
    def plain_runs(self) -> list[Run]:
        return [Run(id=strawberry.ID("run_1"))]


@strawberry.type
class JobEdge:
    node: Job
    cursor: str = "c"


@strawberry.type
class JobConnection:
    edges: list[JobEdge]
    page_info: PageInfo


@strawberry.input
class JobFilter:
    site_id: strawberry.ID | None = None
    limit: int | None = None


@strawberry.type
class Query:
    @strawberry.field
    def jobs(
        self, first: int | None = 20, last: int | None = None, filter: JobFilter | None = None
    ) -> JobConnection:
        size = last or first or 20
        if size > 100:
            raise ApiError(ErrorCode.BAD_USER_INPUT, "A page holds at most 100 rows.")
        edges = [JobEdge(node=Job(id=strawberry.ID(f"job_{number}"))) for number in range(size)]
        return JobConnection(edges=edges, page_info=PageInfo())

    @strawberry.field
    def plain_jobs(self) -> list[Job]:
        return [Job(id=strawberry.ID("job_1"))]

    @strawberry.field(metadata={"list_size": 7, "weight": 5})
    def days(self) -> list[Run]:
        return []

    @strawberry.field
    def node(self, id: strawberry.ID) -> Node | None:
        return Job(id=id)

    @strawberry.field
    def echo(self, value: JSON | None = None, number: float | None = None) -> JSON | None:
        return value if number is None else JSON(number)

    @strawberry.field
    def schema_name(self, info: Info) -> str:
        return type(info.schema).__name__

    @strawberry.field
    def huge(self) -> JSON:
        return JSON(2**70)

    @strawberry.field
    def too_big(self) -> int | None:
        return 2**40

    @strawberry.field
    def boom(self) -> str | None:
        raise RuntimeError("the password is hunter2")

    @strawberry.field
    def failing_rows(self) -> list["FailingRow"]:
        return [FailingRow() for _ in range(30)]

    @strawberry.field
    def broken_node(self) -> Node | None:
        return SecretRow()  # type: ignore[return-value]

    @strawberry.field
    def broken_rows(self) -> list["BrokenRow"]:
        return [BrokenRow() for _ in range(30)]

    @strawberry.field
    def refused(self) -> str | None:
        raise ApiError(ErrorCode.FORBIDDEN, "Not yours.", needs="admin")

    @strawberry.field
    def domain(self) -> str | None:
        raise DomainRefusal("that is not possible")

    @strawberry.field
    def gone(self) -> str | None:
        raise Unavailable("host=10.0.0.7 refused")

    @strawberry.field
    def large(self) -> str:
        return "x" * 15_000_000

    @strawberry.field
    async def slow(self) -> str:
        await asyncio.sleep(0.2)
        return "done"

    @strawberry.field
    async def hang(self, info: Info) -> str | None:
        context = info.context
        context.hanging += 1
        context.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            context.hanging -= 1
            if not context.hanging:
                context.cancelled.set()
        return None


@strawberry.type
class BrokenRow:
    @strawberry.field
    def value(self) -> str | None:
        raise RuntimeError("the password is hunter2")


@strawberry.type
class FailingRow:
    @strawberry.field
    def value(self) -> str | None:
        raise ApiError(ErrorCode.BAD_USER_INPUT, "No.")


@strawberry.type
class Mutation:
    @strawberry.mutation
    def touch(self) -> str:
        return "touched"


schema = strawberry.Schema(query=Query, mutation=Mutation, types=[Run, Job])

TRANSLATIONS = {
    DomainRefusal: lambda error: ApiError(ErrorCode.BAD_USER_INPUT, str(error)),
    Unavailable: lambda error: ApiError(ErrorCode.SERVICE_UNAVAILABLE, "The database does not answer."),
}


def build_engine(limits: Limits | None = None, **options: Any) -> Engine:
    """An engine for this API; `options` are those of `Engine`."""
    return Engine(schema, limits=limits, errors=ErrorFormatter(translations=TRANSLATIONS), **options)


async def open_context(_connection: HTTPConnection) -> Context:
    """The context of a caller that may do everything."""
    return Context()


def build_app(engine: Engine | None = None, get_context: Any = open_context, **options: Any) -> Starlette:
    """The API at /graphql; `options` are those of `GraphQLEndpoint`."""
    endpoint: GraphQLEndpoint[Context] = GraphQLEndpoint(engine or build_engine(), get_context, **options)
    return Starlette(routes=[Route("/graphql", endpoint)])


def send(app: Starlette, method: str = "POST", url: str = "/graphql", **request: Any) -> httpx.Response:
    """One request through the whole application; `request` as httpx takes it."""

    async def exchange() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, url, **request)

    return asyncio.run(exchange())


def ask(query: str, app: Starlette | None = None, **parameters: Any) -> dict[str, Any]:
    """The answer to a query in the newer format."""
    headers = {"accept": "application/graphql-response+json"}
    reply = send(app or build_app(), json={"query": query, **parameters}, headers=headers)
    content: dict[str, Any] = reply.json()
    return content


def code_of(reply: httpx.Response) -> str:
    """The code of an answer's first error, after a check that the answer is a GraphQL body."""
    content = reply.json()
    assert "data" not in content
    assert all(isinstance(error["message"], str) for error in content["errors"])
    return content["errors"][0]["extensions"]["code"]


class Served(NamedTuple):
    """A server in a process of its own; `log` is what it has written to standard error."""

    port: int
    process: int
    log: Path

    def is_well(self) -> bool:
        """Whether it answers on a new connection."""
        with connected(self.port) as connection:
            connection.send(request())
            answer = connection.answer()
        return answer is not None and answer.body == b'{"data":{"__typename":"Query"}}'


@contextmanager
def served(log: Path, **options: Any) -> Iterator[Served]:
    """The API in a process of its own; `options` are those of `ConnectionLimits`, and `body_seconds`."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.set_inheritable(True)
    command = [sys.executable, "-m", "tests.http.server", str(listener.fileno()), json.dumps(options)]
    with listener, log.open("wb") as errors:
        process = subprocess.Popen(command, cwd=ROOT, stderr=errors, pass_fds=[listener.fileno()])
        port = listener.getsockname()[1]
        listener.close()
        try:
            yield Served(port, process.pid, log)
        finally:
            process.terminate()
            process.wait(20)


def serve(listener: socket.socket, options: dict[str, Any]) -> None:
    """Serve the API as `runglass serve` does."""
    app = build_app(bodies=BodyLimits(seconds=options.pop("body_seconds", 30)))
    limits = ConnectionLimits(**options)
    config = ServerConfig(
        app,
        limits,
        lifespan="off",
        access_log=False,
        ws="none",
        log_level="warning",
        **protocol_options(limits),
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), json.loads(sys.argv[2]))
