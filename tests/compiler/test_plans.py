"""When plans are made, what they hold, and what bounds them."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any, ClassVar, cast

import pytest
import strawberry
from graphql import GraphQLError
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig

from graph.compiler import plan as plans
from graph.compiler import source as written

from .runs import SCHEMA, Compiled


def test_a_function_is_written_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = Compiled("{ thing { id children { number awaited } } }")
    asyncio.run(compiled.same())
    monkeypatch.setattr(written, "_Writer", None)
    monkeypatch.setattr(plans, "_Planner", None)
    asyncio.run(compiled.same())


class Labelled:
    calls: ClassVar[list[str]] = []


@strawberry.type
class LabelledRow:
    @strawberry.field
    def label(self) -> str:
        Labelled.calls.append("label")
        return "x"


@strawberry.type
class LabelledQuery:
    @strawberry.field
    async def rows(self) -> list[LabelledRow]:
        return [LabelledRow(), LabelledRow()]


def test_a_getter_is_called_once_when_nothing_is_unusual() -> None:
    compiled = Compiled("{ rows { label } }", strawberry.Schema(query=LabelledQuery)._schema)
    Labelled.calls.clear()
    asyncio.run(compiled.run())
    assert Labelled.calls == ["label", "label"]


WISHES: list[str] = []


@strawberry.type
class Wish:
    text: str


@strawberry.type
class Wishes:
    @strawberry.field
    async def wished(self, wish: str) -> Wish:
        WISHES.append(wish)
        if wish == "raise":
            raise GraphQLError("as you wish")
        values: dict[str, Any] = {"null": None, "wrong": object()}
        return values.get(wish, Wish(text=wish))


@strawberry.type
class Changes(Wishes):
    pass


@pytest.mark.parametrize("kind", ["query", "mutation"])
@pytest.mark.parametrize("wish", ["raise", "null", "wrong", "value"])
def test_a_resolver_is_called_once_whatever_it_gives(kind: str, wish: str) -> None:
    source = f"{kind} ($wish: String!) {{ got: wished(wish: $wish) {{ text }} }}"
    compiled = Compiled(source, strawberry.Schema(Wishes, Changes)._schema)
    asyncio.run(compiled.same({"wish": wish}))
    WISHES.clear()
    asyncio.run(compiled.run({"wish": wish}))
    assert [wish] == WISHES


@strawberry.type
class Holder:
    x: int
    y: list[int]


@strawberry.type
class Holders:
    rows: list[Holder]


def test_coroutines_that_a_row_holds_are_awaited() -> None:
    async def value() -> Any:
        return 5

    compiled = Compiled("{ rows { x y } }", strawberry.Schema(Holders)._schema)

    async def ask() -> Any:
        items: Any = [value(), 1]
        row = Holder(x=cast("int", value()), y=items)
        return await compiled.run(root=Holders(rows=[row]))

    for _ in range(2):
        assert asyncio.run(ask()) == ('{"rows": [{"x": 5, "y": [5, 1]}]}',)


@pytest.mark.parametrize("fields", [200, 600])
def test_many_fields(fields: int) -> None:
    # One function is written for the first, and none for the second.
    asyncio.run(Compiled("{ thing { " + " ".join(f"a{n}: text" for n in range(fields)) + " } }").same())


@pytest.mark.parametrize("depth", [10, 38])
def test_a_deep_document(depth: int) -> None:
    asyncio.run(Compiled("{ thing { id " + "child { id " * depth + "}" * depth + " } }").same())


@pytest.mark.parametrize(
    "source",
    [
        "{ thing { id " + "child { id " * 60 + "}" * 60 + " } }",
        "{ thing { " + " ".join(f"a{n}: text" for n in range(2_000)) + " } }",
    ],
    ids=["levels", "fields"],
)
def test_what_is_too_large_is_left_to_the_executor(source: str) -> None:
    assert asyncio.run(Compiled(source).run()) is None


def test_a_plan_holds_nothing_of_a_request() -> None:
    class Context:
        pass

    compiled = Compiled("query Q($n: Int!) { things(count: $n) { id awaited boomRequired nodes { id } } }")

    async def ask() -> list[weakref.ref[Context]]:
        context, root = Context(), Context()
        for _ in range(2):
            assert await compiled.run({"n": 1}, context, root)
        return [weakref.ref(context), weakref.ref(root)]

    held = asyncio.run(ask())
    gc.collect()
    assert [reference() for reference in held] == [None, None]


def test_plans_are_bounded_and_those_that_are_used_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"v{n}" for n in range(5)]
    compiled = Compiled(
        f"query Q({', '.join(f'${name}: Boolean!' for name in names)}) {{ thing {{ "
        + " ".join(f"{name}: id @skip(if: ${name})" for name in names)
        + " } }"
    )
    monkeypatch.setattr(plans, "_MAX_FIELDS_OF_PLANS", 30)
    asyncio.run(compiled.same(dict.fromkeys(names, False)))
    assert compiled.operation is not None
    compiler = compiled.operation.compiler
    ((used, kept),) = compiler._plans.items()
    for bits in range(32):
        asyncio.run(compiled.same({name: bool(bits >> n & 1) for n, name in enumerate(names)}, times=1))
        asyncio.run(compiled.same(dict.fromkeys(names, False), times=1))
        assert compiler.planned_fields == sum(fields for _, fields in compiler._plans.values()) <= 30
        assert compiler._plans[used] is kept


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(choices=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=6))
def test_a_choice_never_takes_the_plan_of_another(choices: list[tuple[bool, bool]]) -> None:
    compiled = Compiled(
        "query Q($a: Boolean!, $b: Boolean!) { thing { id @skip(if: $a) ...F @include(if: $b) } } "
        "fragment F on Thing { text cell { x @skip(if: $a) y @include(if: $b) } "
        "children @skip(if: $b) { id } }"
    )
    for a, b in choices:
        data = json.loads(asyncio.run(compiled.same({"a": a, "b": b}, times=1))[0])
        assert ("id" in data["thing"]) is not a
        assert ("text" in data["thing"]) is b


def test_other_variables_choose_no_plan() -> None:
    compiled = Compiled("query Q($n: Int!) { things(count: $n) { id } }")
    for count in (1, 3, 0):
        assert len(json.loads(asyncio.run(compiled.same({"n": count}))[0])["things"]) == count
    assert compiled.operation is not None
    assert len(compiled.operation.compiler._plans) == 1


@strawberry.type
class Mapped:
    app_type: str
    tokens: int | None


@strawberry.type
class MappedQuery:
    @strawberry.field
    async def rows(self) -> list[Mapped | None]:
        row = {"app_type": "b", "tokens": None}
        return cast("list[Mapped | None]", [{"app_type": "a", "tokens": 1}, {"app_type": "a"}, row])


def test_rows_that_are_dictionaries() -> None:
    config = StrawberryConfig(default_resolver=lambda row, name: row[name])
    compiled = Compiled("{ rows { appType tokens } }", strawberry.Schema(MappedQuery, config=config)._schema)
    assert len(asyncio.run(compiled.same())) == 2


def test_the_schema_of_the_tests_has_every_kind_of_field() -> None:
    assert len(SCHEMA.type_map["Wrapped"].fields) > 90  # type: ignore[attr-defined]
