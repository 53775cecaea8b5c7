"""The engine runs an operation by the compiler from its second time on, with answers that say the same."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
import strawberry
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.errors import RequestRefused
from graph.execution.engine import Engine
from graph.execution.limits import Limits
from tests.support.api import Api

from .schema import schema as rich_schema
from .test_arguments import OPERATIONS as ARGUMENTS
from .test_arguments import Query as Arguments

ERROR_ID = re.compile(r"[0-9a-f]{16}")
LIMITS = Limits(max_cost=10**9, max_depth=500, max_aliases=10_000)
DASHBOARD = """query ($days: Int!) { dashboard {
  siteId timeZone today { calls successRate latency { p50 p95 } } trend(days: $days) { date calls }
  appDistribution { appType share } appHealth { appType lastStatus }
  budget { daily { used limit } } recentAlerts { id } } }"""


async def answer(engine: Engine, source: str, variables: dict[str, Any] | None, root: Any = None) -> str:
    try:
        result = await engine.execute(engine.prepare(source), variables, [], root)
    except RequestRefused as refused:
        result = {"errors": refused.errors}
    return ERROR_ID.sub("id", json.dumps(result, default=str))


def both(schema: strawberry.Schema) -> tuple[Engine, Engine]:
    return Engine(schema, limits=LIMITS, fast_paths=False), Engine(schema, limits=LIMITS)


@pytest.mark.parametrize(("source", "variables"), ARGUMENTS)
def test_any_variables(source: str, variables: dict[str, Any] | None) -> None:
    standard, compiled = both(strawberry.Schema(Arguments))

    async def compare() -> None:
        for given in (variables, {"n": 1}, {"n": True}, {"n": 2**31}, None, variables):
            expected = await answer(standard, source, given, "root")
            assert await answer(compiled, source, given, "root") == expected

    asyncio.run(compare())


@pytest.mark.parametrize(
    "source",
    [
        "{ thing { id boom boomCoded awaitedBoom } things { requiredNull } }",
        'mutation { touch(name: "a") { id requiredNull } }',
        "{ thing { denied shouted } failing { id } }",
        "{ __typename __schema { queryType { name } } }",
    ],
)
def test_errors_are_masked_and_coded_alike(source: str) -> None:
    standard, compiled = both(rich_schema)

    async def compare() -> None:
        expected = await answer(standard, source, None)
        assert [await answer(compiled, source, None) for _ in range(3)] == [expected] * 3

    asyncio.run(compare())


def test_the_second_time_no_executor_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    standard, compiled = both(rich_schema)
    source = "query A { thing { id awaited } }"

    async def ask(engine: Engine) -> str:
        return await answer(engine, source, None)

    first = [asyncio.run(ask(engine)) for engine in (standard, compiled)]
    monkeypatch.setattr(StrawberryGraphQLCoreExecutionContext, "build", None)
    assert [asyncio.run(ask(compiled))] * 2 == first
    with pytest.raises(TypeError):
        asyncio.run(ask(standard))


def test_the_dashboard_is_run_by_the_compiler(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    first = api.data(DASHBOARD, {"days": 3})
    monkeypatch.setattr(StrawberryGraphQLCoreExecutionContext, "build", None)
    assert api.data(DASHBOARD, {"days": 3}) == first
