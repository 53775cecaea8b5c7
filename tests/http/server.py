"""A small API that stands in for ours, so that the HTTP layer and the limits are tested by themselves.

`python -m tests.http.server PORT` serves it for clients that are other programs.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any

import strawberry
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import Route
from strawberry.scalars import JSON

from graph.errors import ApiError, ErrorCode, ErrorFormatter
from graph.execution import Engine
from graph.http import GraphQLEndpoint
from graph.limits import Limits


class DomainRefusal(Exception):
    """An exception of a lower floor, which knows no codes."""


class Unavailable(Exception):
    """A database that is gone; its text names a host."""


@dataclass
class Context:
    allow_introspection: bool = True
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


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
    def booms(self) -> list[Job | None]:
        return [None for _ in range(3)]

    @strawberry.field
    def failing_rows(self) -> list["FailingRow"]:
        return [FailingRow() for _ in range(30)]

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
    async def hang(self, info: Info) -> str | None:
        info.context.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            info.context.cancelled.set()
        return None


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


if __name__ == "__main__":
    import uvicorn

    uvicorn.run(build_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
