"""When plans are made and used, what tells them apart and what bounds them."""

from __future__ import annotations

import gc
import weakref
from typing import Any, ClassVar, cast

import pytest
import strawberry
from graphql import (
    DocumentNode,
    build_schema,
    parse,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.schema.config import StrawberryConfig

from .compiled_runs import HOT, counting, run, same

# -- The compiled path is taken


def test_hot_query_executes_only_its_root_field() -> None:
    executor = counting()
    result = same(executor, HOT, variable_values={"first": 50})
    assert len(result.data["users"]["edges"]) == 50  # type: ignore[index]
    assert executor.executed == ["users"]


def test_mixed_selection_executes_only_what_is_not_plain() -> None:
    executor = counting()
    same(executor, "{ thing { id awaited text echo number cell { x } children { id informed } } }")
    assert executor.executed == [
        *("thing", "thing.awaited", "thing.echo", "thing.children"),
        *("thing.children.0.informed", "thing.children.1.informed"),
    ]


def test_failing_row_alone_is_completed_by_the_standard_executor() -> None:
    executor = counting()
    same(executor, "{ thing { cellsBad { x } number } }")
    assert "thing.cellsBad.1.x" in executor.executed
    assert "thing.cellsBad.0.x" not in executor.executed
    assert "thing.cellsBad.2.x" not in executor.executed


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


def test_plain_method_is_called_once_when_nothing_is_unusual() -> None:
    executor = counting()
    Labelled.calls.clear()
    run(executor, "{ rows { label } }", strawberry.Schema(query=LabelledQuery)._schema)
    assert Labelled.calls == ["label", "label"]
    assert executor.executed == ["rows"]


def test_mutation_runs_once_even_if_its_result_falls_back() -> None:
    effects: list[str] = []
    executor = counting()
    document = parse('mutation { touch(name: "a") { requiredNull } touchNow { boomRequired } }')
    for _ in range(2):
        effects.clear()
        run(executor, document, context_value=effects)
        assert effects == ["a"]


def test_field_that_gives_an_awaitable_is_not_tried_again() -> None:
    executor = counting()
    document = parse("{ thing { text loaded storedAwaitable } }")
    same(executor, document)
    executor.executed.clear()
    result = same(executor, document)
    assert result.data == {
        "thing": {"text": 'été "quoted" \\ \u2028', "loaded": "loaded", "storedAwaitable": "ready"}
    }
    assert executor.executed == ["thing", "thing.loaded", "thing.storedAwaitable"]


def test_coroutine_stored_in_a_row_is_left_for_the_standard_executor() -> None:
    async def value() -> int:
        return 5

    schema = build_schema("type Query { rows: [Row] } type Row { x: Int y: [Int] }")
    document = parse("{ rows { x y } }")
    executor = counting()
    for _ in range(2):
        result = run(executor, document, schema, root_value={"rows": [{"x": value(), "y": [value(), 1]}]})
        assert (result.data, result.errors) == ({"rows": [{"x": 5, "y": [5, 1]}]}, None)


# -- Plans are kept, told apart and bounded


def test_document_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = counting()
    document = parse("{ thing { id children { number awaited } } }")
    run(executor, document)
    monkeypatch.setattr("graph.compiled_plans.CodeWriter", None)
    assert same(executor, document).errors is None


def test_flood_of_documents_leaves_the_cache_bounded_and_a_used_plan_in_it() -> None:
    executor = counting(8)
    known = parse("{ thing { id } }")
    same(executor, known)
    (plan,) = executor.plan_cache._operations.values()
    for index in range(50):
        run(executor, f"{{ thing {{ a{index}: text }} }}")
        same(executor, known)
        assert len(executor.plan_cache) <= 8
        assert plan in executor.plan_cache._operations.values()


def test_flood_of_large_documents_is_bounded_by_their_nodes() -> None:
    executor = counting(max_nodes=1000)
    for index in range(20):
        document = parse(f"{{ thing {{ {' '.join(f'a{index}_{n}: text' for n in range(150))} }} }}")
        run(executor, document)
        run(executor, document)
        assert sum(operation.weight for operation in executor.plan_cache._operations.values()) <= 1000
    assert len(executor.plan_cache) == 6


def test_large_document_is_compiled_when_it_comes_again() -> None:
    executor = counting()
    document = parse("{ thing { " + " ".join(f"a{n}: text" for n in range(200)) + " } }")
    same(executor, document)
    assert len(executor.executed) == 201
    executor.executed.clear()
    same(executor, document)
    assert executor.executed == ["thing"]


def test_more_fields_than_one_function_may_have() -> None:
    executor = counting()
    document = parse("{ thing { " + " ".join(f"a{n}: text b{n}: cell {{ x }}" for n in range(300)) + " } }")
    same(executor, document)
    executor.executed.clear()
    same(executor, document)
    assert 1 < len(executor.executed) < 900


@pytest.mark.parametrize("depth", [10, 120, 180])
def test_deep_document(depth: int) -> None:
    executor = counting()
    document = parse("{ thing { id " + "child { id " * depth + "}" * depth + " } }")
    for _ in range(3):
        assert same(executor, document).errors is None


def test_plan_holds_nothing_of_the_request() -> None:
    class Context:
        pass

    executor = counting()
    document = parse("query Q($n: Int!) { things(count: $n) { id awaited nodes { id } } }")
    context = Context()
    gone = weakref.ref(context)
    assert same(executor, document, variable_values={"n": 1}, context_value=context).errors is None
    del context
    gc.collect()
    assert gone() is None
    assert len(executor.plan_cache) == 1


def test_flood_of_valuations_is_bounded() -> None:
    executor = counting()
    names = [f"v{n}" for n in range(5)]
    document = parse(
        f"query Q({', '.join(f'${name}: Boolean!' for name in names)}) {{ thing {{ "
        + " ".join(f"{name}: id @skip(if: ${name})" for name in names)
        + " } }"
    )
    for bits in range(32):
        same(executor, document, variable_values={name: bool(bits >> n & 1) for n, name in enumerate(names)})
    (operation,) = executor.plan_cache._operations.values()
    assert len(operation.plans) == 8


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(valuations=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=6))
def test_plan_never_leaks_between_variable_sets(valuations: list[tuple[bool, bool]]) -> None:
    executor = counting()
    document = parse(
        "query Q($a: Boolean!, $b: Boolean!) { thing { id @skip(if: $a) ...F @include(if: $b) } } "
        "fragment F on Thing { text cell { x @skip(if: $a) y @include(if: $b) } "
        "children @skip(if: $b) { id } }"
    )
    for a, b in valuations:
        data = same(executor, document, variable_values={"a": a, "b": b}).data
        assert ("id" in data["thing"]) is not a  # type: ignore[index]
        assert ("text" in data["thing"]) is b  # type: ignore[index]


def test_other_variables_do_not_choose_the_plan() -> None:
    executor = counting()
    document = parse("query Q($n: Int!) { things(count: $n) { id } }")
    for count in (1, 3, 0):
        assert len(same(executor, document, variable_values={"n": count}).data["things"]) == count  # type: ignore[index]
    (operation,) = executor.plan_cache._operations.values()
    assert len(operation.plans) == 1


def test_two_operations_of_one_document_have_their_own_plans() -> None:
    executor = counting()
    document = parse(
        "query A { thing { id } } query B { thing { text ...F } } fragment F on Thing { number }"
    )
    for name in ("A", "B", "A", "B"):
        same(executor, document, operation_name=name)
    assert len(executor.plan_cache) == 2


def test_operation_with_other_fragments_gets_another_plan() -> None:
    executor = counting()
    first = parse("{ thing { ...F } } fragment F on Thing { id }")
    other = parse("{ missing { ...F } } fragment F on Thing { text }")
    mixed = DocumentNode(definitions=(first.definitions[0], other.definitions[1]))
    assert list(same(executor, first).data["thing"]) == ["id"]  # type: ignore[index]
    assert list(same(executor, mixed).data["thing"]) == ["text"]  # type: ignore[index]


def test_same_document_on_two_schemas() -> None:
    executor = counting()
    document = parse("{ rows { x } }")
    for type_name, expected in (("Int", 1), ("String", "1"), ("Int", 1)):
        schema = build_schema(f"type Query {{ rows: [Row] }} type Row {{ x: {type_name} }}")
        result = same(executor, document, schema=schema, root_value={"rows": [{"x": 1}]})
        assert result.data == {"rows": [{"x": expected}]}
        assert executor.executed == ["rows"]
        executor.executed.clear()
        (operation,) = executor.plan_cache._operations.values()
        assert operation.schema is schema


# -- Sources other than Strawberry's own instances


class Attributes:
    x = 5

    def y(self, _info: Any) -> int:
        return 6


@pytest.mark.parametrize(
    "row", [{"x": 1, "y": None}, {"x": 1}, {"y": lambda _info: 2}, Attributes(), object()]
)
def test_schema_without_strawberry(row: Any) -> None:
    schema = build_schema("type Query { rows: [Row] } type Row { x: Int y: Int row: Row }")
    executor = counting()
    root = {"rows": [row, {"x": 3, "row": row}, None, 4]}
    same(executor, "{ rows { x y __typename row { x } } }", schema=schema, root_value=root)


@strawberry.type
class Mapped:
    app_type: str
    tokens: int | None


@strawberry.type
class MappedQuery:
    @strawberry.field
    async def rows(self) -> list[Mapped]:
        return cast("list[Mapped]", [{"app_type": "a", "tokens": 1}, {"app_type": "b", "tokens": None}])

    @strawberry.field
    async def bad(self) -> list[Mapped | None]:
        return cast("list[Mapped | None]", [{"app_type": "a"}, {"app_type": "b", "tokens": 2}])


def test_dictionary_rows_with_getitem_as_strawberry_default_resolver() -> None:
    config = StrawberryConfig(default_resolver=lambda row, name: row[name])
    schema = strawberry.Schema(query=MappedQuery, config=config)._schema
    executor = counting()
    assert same(executor, "{ rows { appType tokens } }", schema=schema).errors is None
    assert executor.executed == ["rows"]
    assert same(executor, "{ bad { appType tokens } }", schema=schema).errors
