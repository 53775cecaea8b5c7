"""Executes an operation by both executors, and tells what the compiled one left to the standard."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from graphql import (
    DocumentNode,
    ExecutionResult,
    parse,
)
from graphql.execution import execute
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.compiled import CompiledExecutionContext
from graph.compiled_plans import PlanCache

from .compiled_schema import schema as rich_schema

SCHEMA = rich_schema._schema
HOT = """query Users($first: Int!) { users(first: $first) {
  edges { cursor node { __typename id name shout level ...F } } pageInfo { hasNextPage endCursor } } }
fragment F on Node { id ... on Named { name } }"""
STANDARD = StrawberryGraphQLCoreExecutionContext


class Counting(CompiledExecutionContext):
    """Counts the fields that the standard executor executes."""

    executed: list[str]

    def execute_field(
        self, parent_type: Any, source: Any, field_details_list: Any, path: Any, context: Any
    ) -> Any:
        self.executed.append(".".join(str(key) for key in path.as_list()))
        return super().execute_field(parent_type, source, field_details_list, path, context)


def counting(max_operations: int = 512, max_nodes: int = 20_000) -> type[Counting]:
    """An executor class with a plan cache and a count of its own."""
    return type("Own", (Counting,), {"plan_cache": PlanCache(max_operations, max_nodes), "executed": []})


def run(executor: type[Any], document: DocumentNode | str, schema: Any = SCHEMA, **options: Any) -> Any:
    if isinstance(document, str):
        document = parse(document)
    options.setdefault("is_awaitable", optimized_is_awaitable)

    async def main() -> Any:
        result = execute(schema, document, executor_class=executor, **options)
        return await result if inspect.isawaitable(result) else result

    return asyncio.run(main())


def same(executor: type[Any], document: DocumentNode | str, **options: Any) -> ExecutionResult:
    """The result, after checking that the standard executor gives the same."""
    expected, result = run(STANDARD, document, **options), run(executor, document, **options)
    assert (str(result.data), str(result.errors)) == (str(expected.data), str(expected.errors))
    return result
