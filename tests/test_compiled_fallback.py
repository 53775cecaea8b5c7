"""When everything is left to the standard executor, and other ways to execute."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any, cast

import pytest
import strawberry
from graphql import (
    GraphQLDeferDirective,
    GraphQLStreamDirective,
    build_schema,
    parse,
)
from graphql.execution import execute, execute_sync, experimental_execute_incrementally, subscribe
from graphql.execution.aborted_graphql_execution_error import AbortedGraphQLExecutionError
from graphql.pyutils import AbortController
from strawberry.extensions import SchemaExtension
from strawberry.types.field import StrawberryField

from .compiled_runs import SCHEMA, STANDARD, Counting, counting, same
from .compiled_schema import CONFIG, Query

# -- Everything is left to the standard executor


def assert_no_plan(executor: type[Counting]) -> None:
    assert all(not operation.plans for operation in executor.plan_cache._operations.values())


def test_schema_extension_that_wraps_resolvers_turns_plans_off() -> None:
    seen: list[str] = []

    class Watch(SchemaExtension):
        def resolve(self, next_: Any, root: Any, info: Any, *args: str, **kwargs: Any) -> Any:
            seen.append(info.field_name)
            return next_(root, info, *args, **kwargs)

    executor = counting()
    schema = strawberry.Schema(
        query=Query, config=CONFIG, extensions=[Watch], execution_context_class=executor
    )
    result = asyncio.run(schema.execute("{ users(first: 2) { edges { cursor } } }"))
    assert result.errors is None
    assert seen == ["users", "edges", "cursor", "cursor"]
    assert_no_plan(executor)


@pytest.mark.parametrize(
    "option",
    [
        {"field_resolver": lambda source, info, **_args: getattr(source, info.field_name, None)},
        {"type_resolver": lambda _value, _info, _type: "User"},
        {"is_awaitable": lambda value: hasattr(value, "__await__")},
    ],
)
def test_custom_option_turns_plans_off(option: dict[str, Any]) -> None:
    executor = counting()
    same(executor, "{ thing { id nodes { id } } }", **option)
    assert_no_plan(executor)


@pytest.mark.parametrize("value", [None, "missing"])
def test_condition_without_value_is_the_standard_executors_error(value: str | None) -> None:
    executor = counting()
    variables = {} if value else {"s": None}
    result = same(
        executor, "query Q($s: Boolean) { thing { id @skip(if: $s) text } }", variable_values=variables
    )
    assert result.errors
    assert_no_plan(executor)


def test_wrong_literal_of_a_condition_is_the_standard_executors_error() -> None:
    assert same(counting(), '{ thing { cell { x @skip(if: "x") } text } }').errors


def test_wrapped_resolver_is_not_plain() -> None:
    schema = strawberry.Schema(query=Query, config=CONFIG)._schema
    field = schema.type_map["User"].fields["name"]  # type: ignore[attr-defined]
    original: Callable[..., Any] = field.resolve

    @functools.wraps(original)
    def loud(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs).upper()

    field.resolve = loud
    executor = counting()
    result = same(executor, "{ users(first: 1) { edges { node { id name } } } }", schema=schema)
    assert result.data["users"]["edges"][0]["node"]["name"] == "USER 0"  # type: ignore[index]


def incremental_schema() -> Any:
    schema = build_schema("type Query { row: Row } type Row { x: Int rows: [Row] }")
    return type(schema)(schema.query_type, directives=[GraphQLDeferDirective, GraphQLStreamDirective])


@pytest.mark.parametrize(
    "query", ["{ row { ... @defer { x } } }", "{ row { x rows @stream(initialCount: 1) { x } } }"]
)
def test_incremental_delivery_is_the_standard_executors(query: str) -> None:
    executor = counting()

    async def frames(executor_class: type[Any]) -> list[str]:
        root = {"row": {"x": 1, "rows": [{"x": 2}, {"x": 3}]}}
        result = experimental_execute_incrementally(
            incremental_schema(), parse(query), root, executor_class=executor_class
        )
        result = await result if inspect.isawaitable(result) else result
        rest = [str(frame.formatted) async for frame in cast("Any", result).subsequent_results]
        return [str(cast("Any", result).initial_result.formatted), *rest]

    assert asyncio.run(frames(executor)) == asyncio.run(frames(STANDARD))
    assert_no_plan(executor)


# -- Other ways to execute


def test_synchronous_execution() -> None:
    executor = counting()
    for query in ("{ syncThing { id boom text } }", "{ syncThing { id text } wrapped { constant } }"):
        document = parse(query)
        expected = execute_sync(SCHEMA, document, executor_class=STANDARD)
        result = execute_sync(SCHEMA, document, executor_class=executor)
        assert (result.data, str(result.errors)) == (expected.data, str(expected.errors))
    assert "syncThing.id" not in executor.executed[-2:]


def test_subscription_events_use_the_plan() -> None:
    schema = build_schema("type Query { a: Int } type Subscription { rows: [Row] } type Row { x: Int }")
    executor = counting()

    async def events(executor_class: type[Any]) -> list[str]:
        async def source() -> Any:
            yield {"rows": [{"x": 1}, {"x": 2}]}
            yield {"rows": [{"x": "bad"}]}
            yield {"rows": [{"x": 3}]}

        root = {"rows": lambda _info: source()}
        stream = subscribe(schema, parse("subscription { rows { x } }"), root, executor_class=executor_class)
        return [str(event) async for event in cast("Any", stream)]

    assert asyncio.run(events(executor)) == asyncio.run(events(STANDARD))
    assert executor.executed == ["rows", "rows", "rows.0.x", "rows"]


def start(executor_class: type[Any], query: str, controller: AbortController) -> Any:
    return execute(SCHEMA, parse(query), executor_class=executor_class, abort_signal=controller.signal)


async def aborted_before(executor_class: type[Any]) -> str:
    controller = AbortController()
    controller.abort(RuntimeError("client gone"))
    with pytest.raises(RuntimeError) as caught:
        await start(executor_class, "{ thing { id } }", controller)
    return repr(caught.value)


async def aborted_midway(executor_class: type[Any]) -> str:
    controller = AbortController()
    asyncio.get_running_loop().call_soon(controller.abort, RuntimeError("client gone"))
    with pytest.raises(AbortedGraphQLExecutionError) as caught:
        await start(executor_class, "{ thing { id awaited } }", controller)
    partial = caught.value.aborted_result
    return f"{caught.value!r} {await partial if inspect.isawaitable(partial) else partial}"


@pytest.mark.parametrize("scenario", [aborted_before, aborted_midway])
def test_abort_signal_keeps_its_meaning(scenario: Callable[[type[Any]], Any]) -> None:
    expected = asyncio.run(scenario(STANDARD))
    assert asyncio.run(scenario(counting())) == expected
    assert "client gone" in expected


def test_strawberry_schema_uses_it_as_its_execution_context() -> None:
    executor = counting()
    schema = strawberry.Schema(query=Query, config=CONFIG, execution_context_class=executor)
    result = asyncio.run(schema.execute("{ users(first: 2) { edges { node { id shout } } } }"))
    assert result.errors is None
    assert executor.executed == ["users"]


@pytest.mark.parametrize("argument", ["", "(n: 3)", '(n: "bad")', "(n: $n)"])
def test_arguments_of_a_field_without_resolver(argument: str) -> None:
    schema = build_schema("type Query { rows: [Row] } type Row { x(n: Int!): Int y: Int }")
    root = {"rows": [{"x": 1, "y": 2}, {"x": lambda _info, n: n}]}
    document = f"query Q($n: Int = 4) {{ rows {{ y x{argument} }} }}"
    result = same(counting(), document, schema=schema, root_value=root)
    assert bool(result.errors) is (argument in ("", '(n: "bad")'))


class Called:
    def __call__(self, info: Any) -> str:
        return f"called for {info.field_name}"


def test_callable_value_is_called_with_the_real_info() -> None:
    schema = build_schema("type Query { rows: [Row] } type Row { x: String }")
    result = same(counting(), "{ rows { x } }", schema=schema, root_value={"rows": [{"x": Called()}]})
    assert result.data == {"rows": [{"x": "called for x"}]}


class MaskedField(StrawberryField):
    def get_result(self, source: Any, info: Any, args: Any, kwargs: Any) -> Any:
        return "***"


@strawberry.type
class Secretive:
    secret: str = MaskedField()
    plain: str = "open"


@strawberry.type
class SecretiveQuery:
    @strawberry.field
    async def row(self) -> Secretive:
        return Secretive(secret="do not tell", plain="open")


def test_field_class_with_its_own_get_result_is_not_plain() -> None:
    schema = strawberry.Schema(query=SecretiveQuery)._schema
    result = same(counting(), "{ row { secret plain } }", schema=schema)
    assert result.data == {"row": {"secret": "***", "plain": "open"}}
