"""What the compiler leaves to the standard executor, and what it does not take for a getter."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import strawberry
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from graph.compiler import KNOWN, make_compiler

from .runs import SCHEMA, Compiled
from .schema import CONFIG, Query


@pytest.mark.parametrize(
    "source",
    [
        "{ __schema { queryType { name } } thing { id } }",
        '{ __type(name: "Thing") { name } }',
        "{ thing { id @other } }",
        "{ thing { ... @defer { id } } }",
        "{ thing { ...F } } fragment F on Thing { children @stream { id } }",
        "query @experimental_disableErrorPropagation { thing { requiredNull } }",
        "{ thing { id text @skip } }",
        '{ thing { cell { x @skip(if: "x") } text } }',
        "{ thing { text unknown { deep } } }",
    ],
)
def test_what_plans_cannot_say(source: str) -> None:
    assert asyncio.run(Compiled(source).run()) is None


@pytest.mark.parametrize("given", [{}, {"s": None}])
def test_a_condition_without_a_value(given: dict[str, Any]) -> None:
    compiled = Compiled("query Q($s: Boolean) { thing { id @skip(if: $s) text } }")
    assert asyncio.run(compiled.run(given)) is None
    assert asyncio.run(compiled.same({"s": True}))


@pytest.mark.parametrize("given", [{}, {"n": None}, {"n": "two"}, {"n": 2**31}])
def test_variables_that_do_not_fit(given: dict[str, Any]) -> None:
    compiled = Compiled("query Q($n: Int!) { things(count: $n) { id } }")
    assert asyncio.run(compiled.run(given)) is None
    assert asyncio.run(compiled.same({"n": 1}))


def test_a_subscription() -> None:
    @strawberry.type
    class Subscription:
        @strawberry.subscription
        async def ticks(self) -> AsyncIterator[int]:
            yield 1

    schema = strawberry.Schema(Query, subscription=Subscription, config=CONFIG)._schema
    assert Compiled("subscription { ticks }", schema).operation is None


def test_libraries_of_unknown_versions(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert make_compiler(SCHEMA, versions={**KNOWN, "graphql-core": "3.4.0"}) is None
        assert make_compiler(SCHEMA, versions={name: f"{known}9" for name, known in KNOWN.items()})
    assert caplog.messages == ["graphql-core 3.4.0: operations run without the compiler"]


# -- Fields that look like getters and are none


def test_a_resolver_that_somebody_wrapped() -> None:
    schema = strawberry.Schema(query=Query, config=CONFIG)._schema
    field = schema.type_map["User"].fields["name"]  # type: ignore[attr-defined]
    original: Callable[..., Any] = field.resolve

    @functools.wraps(original)
    def loud(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs).upper()

    field.resolve = loud
    compiled = Compiled("{ users(first: 1) { edges { node { id name } } } }", schema)
    data = json.loads(asyncio.run(compiled.same())[0])
    assert data["users"]["edges"][0]["node"]["name"] == "USER 0"


class MaskedField(StrawberryField):
    def get_result(self, source: Any, info: Any, args: Any, kwargs: Any) -> Any:
        return "***"


class Quiet(FieldExtension):
    def resolve(self, next_: Any, source: Any, info: Any, **kwargs: Any) -> Any:
        return str(next_(source, info, **kwargs)).lower()


@strawberry.type
class Secretive:
    secret: str = MaskedField()
    open: str = strawberry.field(default="OPEN", extensions=[Quiet()])


@strawberry.type
class SecretiveQuery:
    @strawberry.field
    async def row(self) -> Secretive:
        return Secretive(secret="do not tell", open="OPEN")


def test_a_field_with_its_own_result_or_an_extension() -> None:
    compiled = Compiled("{ row { secret open } }", strawberry.Schema(query=SecretiveQuery)._schema)
    assert asyncio.run(compiled.same()) == ('{"row": {"secret": "***", "open": "open"}}',)
