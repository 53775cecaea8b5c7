"""Arguments reach an async resolver as the standard executor would give them, or in the same error."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import json
from typing import Any

import pytest
import strawberry
from strawberry.scalars import JSON

from .runs import Compiled


@strawberry.enum
class Order(enum.Enum):
    UP = "up"
    DOWN = "down"


@strawberry.input
class Filter:
    name: str | None = None
    tags: list[str] = strawberry.field(default_factory=lambda: ["none"])


@strawberry.type
class Query:
    @strawberry.field
    async def show(
        root: strawberry.Parent[Any],
        info: strawberry.Info,
        number: int | None = None,
        needed: int = 7,
        order: Order = Order.UP,
        at: dt.datetime | None = None,
        filter: Filter | None = None,
        tags: list[str] | None = None,
        free: JSON | None = None,
    ) -> str:
        if number == 13:
            raise ValueError("unlucky")
        given = (number, needed, order, at, filter, tags, free)
        return f"{root} {info.field_name} {info.path.key} {given}"

    @strawberry.field
    async def grown(self, tags: list[str]) -> str:
        tags.append("+")
        return "".join(tags)

    @strawberry.field
    async def must(self, number: int) -> str | None:
        return f"must {number}"

    @strawberry.field
    async def plain(root: strawberry.Parent[Any], id: strawberry.ID, number: int) -> str | None:
        return f"{root} {id} {number}"


SCHEMA = strawberry.Schema(Query)._schema
OPERATIONS: list[tuple[str, dict[str, Any] | None]] = [
    ("{ show }", None),
    ("{ show(number: 3, order: DOWN, needed: 1) }", None),
    ("{ show(number: null, filter: null, tags: null) }", None),
    ('{ show(filter: {name: "x"}, tags: ["a"], free: {a: [1, "b"]}) }', None),
    ("{ show(number: 13) b: show(number: 4) }", None),
    ("query ($n: Int) { show(number: $n) }", {"n": 5}),
    ("query ($n: Int) { show(number: $n) }", {"n": None}),
    ("query ($n: Int) { show(number: $n) }", {}),
    ("query ($n: Int = 9) { show(number: $n) }", {}),
    ("query ($n: Int = 9) { show(number: $n, needed: $n) }", {}),
    ("query ($n: Int = 9) { show(needed: $n) }", {"n": None}),
    ("query ($n: Int!) { show(needed: $n) plain(id: 4, number: $n) }", {"n": 2}),
    ("query ($o: Order!) { show(order: $o) }", {"o": "DOWN"}),
    ("query ($o: Order!) { show(order: $o) }", {"o": "SIDEWAYS"}),
    ("query ($n: Int) { show(number: $n) }", {"n": "3"}),
    ("query ($n: Int) { show(needed: $n) }", {}),
    ("query ($n: Int) { must(number: $n) }", {}),
    ("query ($n: Int) { must(number: $n) }", {"n": None}),
    ("query ($n: Int) { plain(id: $n, number: 1) }", {"n": 1}),
    ("query ($at: DateTime) { show(at: $at) }", {"at": "2026-11-24T05:06:07+00:00"}),
    ("query ($at: DateTime) { show(at: $at) }", {"at": "yesterday"}),
    ("query ($f: Filter) { show(filter: $f) }", {"f": {"name": "x"}}),
    ("query ($f: Filter) { show(filter: $f) }", {"f": None}),
    ("query ($f: Filter) { show(filter: $f) }", {}),
    ("query ($t: [String!]) { show(tags: $t) }", {"t": ["a", "b"]}),
    ("query ($t: String!) { show(tags: [$t], filter: {name: $t}, free: [$t]) }", {"t": "a"}),
    ("query ($x: JSON) { show(free: $x) }", {"x": {"deep": [1]}}),
]


@pytest.mark.parametrize(("source", "variables"), OPERATIONS)
def test_the_resolver_gets_the_same_arguments(source: str, variables: dict[str, Any] | None) -> None:
    compiled = Compiled(source, SCHEMA)

    async def compare() -> None:
        for given in ({"n": 1}, variables, {"n": True}, {"n": 2**31}, {"n": None}, {}, variables):
            # What does not fit its type is left to the executor, as the test of refusals says.
            if compiled.operation is not None and compiled.operation.run(given) is not None:
                await compiled.same(given, "root")

    asyncio.run(compare())


def test_each_request_has_arguments_of_its_own() -> None:
    compiled = Compiled("query ($n: Int) { a: show(number: $n) b: show(needed: 2) }", SCHEMA)

    async def ask() -> list[Any]:
        answers = [await compiled.same({"n": number}, number) for number in (1, None, 2)]
        return [json.loads(answer[0]) for answer in answers]

    shown = asyncio.run(ask())
    assert [str(data["a"]).split()[3] for data in shown] == ["(1,", "(None,", "(2,"]
    assert [str(data["b"]).split()[0] for data in shown] == ["1", "None", "2"]


def test_a_resolver_that_changes_its_argument_changes_no_other_request() -> None:
    compiled = Compiled('{ grown(tags: ["a"]) }', SCHEMA)

    async def ask() -> None:
        for _ in range(2):
            assert await compiled.same() == ('{"grown": "a+"}',)

    asyncio.run(ask())
