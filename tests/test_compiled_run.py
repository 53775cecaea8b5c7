"""Queries that run without an executor give what the standard executor gives, and run no resolver twice."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.compiled import CompiledExecutionContext
from graph.errors import RequestRefused
from graph.execution.engine import Engine
from graph.execution.limits import Limits

from .compiled_runs import HOT, Counting, counting
from .compiled_schema import schema as rich_schema
from .conftest import Api
from .test_compiled import OPERATIONS as CORPUS
from .test_compiled_calls import OPERATIONS as CALLS
from .test_compiled_calls import Query as Calls

CALLS_SCHEMA = strawberry.Schema(Calls)
ERROR_ID = re.compile(r"[0-9a-f]{16}")
LIMITS = Limits(max_cost=10**9, max_depth=500, max_aliases=10_000)


DASHBOARD = """query ($days: Int!) { dashboard {
  siteId timeZone today { calls successRate latency { p50 p95 } } trend(days: $days) { date calls }
  appDistribution { appType share } appHealth { appType lastStatus }
  budget { daily { used limit } } recentAlerts { id } } }"""


class Builds(Counting):
    """Counts the executors that are built."""

    built = 0

    @classmethod
    def build(cls, *args: Any, **kwargs: Any) -> Any:
        cls.built += 1
        return super().build(*args, **kwargs)


def engines(schema: strawberry.Schema) -> tuple[Engine, Engine, type[Builds]]:
    """One with the standard executor, one with the compiled, and the latter's class."""
    own = counting()
    builds = type("OwnBuilds", (Builds,), {"plan_cache": own.plan_cache, "executed": [], "built": 0})
    standard = Engine(schema, limits=LIMITS, execution_context_class=StrawberryGraphQLCoreExecutionContext)
    return standard, Engine(schema, limits=LIMITS, execution_context_class=builds), builds


async def answer(engine: Engine, source: str, variables: dict[str, Any] | None, root: Any) -> str:
    try:
        result = await engine.execute(engine.prepare(source), variables, None, root)
    except RequestRefused as refused:
        result = {"errors": refused.errors}
    return ERROR_ID.sub("id", json.dumps(result, default=str))


@pytest.mark.parametrize(("source", "variables"), CALLS)
def test_arguments(source: str, variables: dict[str, Any] | None) -> None:
    standard, compiled, _ = engines(CALLS_SCHEMA)

    async def compare() -> None:
        for given in (variables, {"n": 1}, {"n": True}, {"n": 2**31}, None, variables):
            expected = await answer(standard, source, given, "root")
            assert await answer(compiled, source, given, "root") == expected

    asyncio.run(compare())


@pytest.fixture(scope="module")
def corpus() -> Iterator[tuple[asyncio.Runner, Engine, Engine]]:
    with asyncio.Runner() as runner:
        yield (runner, *engines(rich_schema)[:2])


@pytest.mark.parametrize(("source", "variables"), CORPUS)
def test_corpus(
    corpus: tuple[asyncio.Runner, Engine, Engine], source: str, variables: dict[str, Any]
) -> None:
    runner, standard, compiled = corpus
    expected = runner.run(answer(standard, source, variables, None))
    for _ in range(3):
        assert runner.run(answer(compiled, source, variables, None)) == expected


def test_a_hot_query_builds_one_executor() -> None:
    _, compiled, builds = engines(rich_schema)

    async def ask() -> list[str]:
        return [await answer(compiled, HOT, {"first": first}, None) for first in (2, 3, 2)]

    first, second, third = asyncio.run(ask())
    assert builds.built == 1
    assert first == third != second


@pytest.mark.parametrize(
    ("wish", "built"), [("error", 4), ("null", 4), ("value", 1)], ids=["raises", "gives null", "is plain"]
)
def test_a_resolver_runs_once_a_request_whatever_it_gives(wish: str, built: int) -> None:
    runs: list[str] = []

    @strawberry.type
    class Query:
        @strawberry.field
        async def wished(self, wish: str) -> str:
            runs.append(wish)
            if wish == "error":
                raise GraphQLError("as you wish")
            return None if wish == "null" else wish  # pyright: ignore[reportReturnType]

    standard, compiled, builds = engines(strawberry.Schema(Query))
    source = "query ($wish: String!) { got: wished(wish: $wish) }"

    async def compare() -> None:
        expected = await answer(standard, source, {"wish": wish}, None)
        runs.clear()
        assert [await answer(compiled, source, {"wish": wish}, None) for _ in range(4)] == [expected] * 4

    asyncio.run(compare())
    assert runs == [wish] * 4
    assert builds.built == built


@strawberry.type
class Block:
    at: str

    @strawberry.field
    async def inner(root: strawberry.Parent[Any], info: strawberry.Info, times: int = 2) -> str:
        if times == 13:
            raise GraphQLError("unlucky")
        await asyncio.sleep(0)
        return f"{root.at} {info.path.key} {info.context} " * times

    @strawberry.field
    async def below(root: strawberry.Parent[Any], name: str) -> Block | None:
        return None if name == "none" else Block(at=f"{root.at}/{name}")


@strawberry.type
class Nested:
    @strawberry.field
    async def board(root: strawberry.Parent[Any], name: str = "top") -> Block:
        return None if name == "none" else Block(at=name)  # pyright: ignore[reportReturnType]


NESTED_SCHEMA = strawberry.Schema(Nested)
NESTED = [
    ("{ board { at inner } }", 1),
    ("{ board { inner(times: 1) at more: inner(times: 3) __typename } }", 1),
    ('{ board { b: below(name: "x") { at c: below(name: "y") { inner } } at } }', 1),
    ('query ($n: Int!) { board(name: "q") { inner(times: $n) below(name: "z") { at } } }', 1),
    ('{ board { at below(name: "none") { at inner } } }', 4),
    ("{ board { at inner(times: 13) } }", 4),
    ('{ board(name: "none") { at inner } }', 4),
    ("{ a: board { at inner } b: board { at } }", 4),
]


@pytest.mark.parametrize(("source", "built"), NESTED)
def test_objects_of_calls(source: str, built: int) -> None:
    standard, compiled, builds = engines(NESTED_SCHEMA)

    async def compare() -> None:
        expected = await answer(standard, source, {"n": 2}, "root")
        assert [await answer(compiled, source, {"n": 2}, "root") for _ in range(4)] == [expected] * 4

    asyncio.run(compare())
    assert builds.built == built


def test_the_dashboard_builds_no_executor_again(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    first = api.data(DASHBOARD, {"days": 3})
    monkeypatch.setattr(CompiledExecutionContext, "build", None, raising=False)
    assert api.data(DASHBOARD, {"days": 3}) == first


def test_nothing_of_a_request_is_kept() -> None:
    class Thing:
        pass

    _, compiled, _ = engines(CALLS_SCHEMA)

    async def ask() -> list[weakref.ref[Thing]]:
        context, root = Thing(), Thing()
        for _ in range(2):
            await compiled.execute(compiled.prepare("{ show(needed: 1) }"), None, context, root)
        return [weakref.ref(context), weakref.ref(root)]

    held = asyncio.run(ask())
    gc.collect()
    assert [reference() for reference in held] == [None, None]
