"""Executes operations by the compiler and by graphql-core's executor, and compares what they give."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any

from graphql import DocumentNode, GraphQLError, OperationDefinitionNode, parse
from graphql.execution import execute
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.compiler import make_compiler

from .schema import schema as rich_schema

SCHEMA = rich_schema._schema
Outcome = tuple[str, ...]
"""Everything that a client or a log could see of an execution, as text."""


def described(data: Any, errors: list[GraphQLError] | None) -> Outcome:
    return (json.dumps(data, default=repr), *map(_error, errors or ()))


# Ours says all the ways in which a type predicate may be wrong in one sentence.
_WRONG_TYPE = re.compile(r"Abstract type '|Runtime Object type '|.* of abstract type '")


def _error(error: GraphQLError) -> str:
    if _WRONG_TYPE.match(error.message):
        return f"wrong type at {error.path} {error.locations}"
    nodes = [(node.kind, node.loc and node.loc.start) for node in error.nodes or ()]
    original = error.original_error
    context = original and (repr(original.__cause__), repr(original.__context__))
    return f"{json.dumps(error.formatted)} {nodes} {type(original)} {original} {context}"


async def standard(
    document: DocumentNode, variables: dict[str, Any] | None, context: Any, root: Any, schema: Any
) -> Outcome:
    """What graphql-core's executor gives."""
    result: Any = execute(
        schema,
        document,
        root,
        context,
        variables,
        executor_class=StrawberryGraphQLCoreExecutionContext,
        is_awaitable=optimized_is_awaitable,
    )
    if inspect.isawaitable(result):
        result = await result
    return described(result.data, result.errors)


class Compiled:
    """One document, compiled; it holds one operation."""

    def __init__(self, source: str, schema: Any = SCHEMA) -> None:
        self.document = parse(source)
        node = next(each for each in self.document.definitions if isinstance(each, OperationDefinitionNode))
        compiler = make_compiler(schema)
        assert compiler is not None
        self.schema = schema
        self.operation = compiler.operation(self.document, node)

    async def run(
        self, variables: dict[str, Any] | None = None, context: Any = None, root: Any = None
    ) -> Any:
        """What the compiler gives, or None where it leaves the request to the executor."""
        run = None if self.operation is None else self.operation.run(variables)
        return None if run is None else described(*await run(context, root))

    async def same(
        self, variables: dict[str, Any] | None = None, root: Any = None, *, times: int = 3
    ) -> Outcome:
        """What both give, with what resolvers append to their context; the compiler gives it each time."""
        effects: list[str] = []
        expected = await standard(self.document, variables, effects, root, self.schema)
        for _ in range(times):
            compiled: list[str] = []
            given = await self.run(variables, compiled, root)
            assert given is not None, "left to the executor"
            assert given == expected
            assert compiled == effects
        return expected
