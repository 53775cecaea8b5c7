"""When plans are made and used, what bounds them, and when everything is left to the standard executor."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import functools
import gc
import inspect
import weakref
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
import strawberry
from graphql import (
    DocumentNode,
    ExecutionResult,
    GraphQLDeferDirective,
    GraphQLStreamDirective,
    Undefined,
    build_schema,
    parse,
)
from graphql.execution import execute, execute_sync, experimental_execute_incrementally, subscribe
from graphql.execution.aborted_graphql_execution_error import AbortedGraphQLExecutionError
from graphql.pyutils import AbortController
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.execution import optimized_is_awaitable
from strawberry.extensions import SchemaExtension
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.compiled import CompiledExecutionContext, PlanCache

from .compiled_schema import CONFIG, SCALARS, BigInt, Color, Level, Money, Query
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


def counting(max_operations: int = 512) -> type[Counting]:
    """An executor class with a plan cache and a count of its own."""
    return type("Own", (Counting,), {"plan_cache": PlanCache(max_operations), "executed": []})


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
    monkeypatch.setattr("graph.compiled.CodeWriter", None)
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
    same(executor, document)
    assert len(executor.executed) > 601


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


# -- The leaf shortcuts say what the scalars say


class Other(enum.Enum):
    OTHER = 1


@strawberry.type
class Leaves:
    id: strawberry.ID | None
    text: str | None
    number: int | None
    ratio: float | None
    flag: bool | None
    big: BigInt | None
    money: Money | None
    color: Color | None
    level: Level | None
    when: dt.datetime | None
    day: dt.date | None
    price: Decimal | None
    anything: JSON | None


@strawberry.type
class LeafQuery:
    row: Leaves


LEAF_SCHEMA = strawberry.Schema(query=LeafQuery, config=StrawberryConfig(scalar_map=SCALARS))._schema
LEAF_DOCUMENTS = {name: parse(f"{{ row {{ {name} }} }}") for name in LEAF_SCHEMA.type_map["Leaves"].fields}  # type: ignore[attr-defined]
LEAF_EXECUTOR = counting()
ODD_ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30, seconds=15))
ANY_VALUE = st.one_of(
    *(st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=3), st.dates(), st.decimals()),
    st.text(max_size=4) | st.sampled_from(["low", "HIGH", "1", "2.5", "true"]),
    st.integers(-(2**31) - 1, -(2**31) + 1) | st.integers(2**31 - 2, 2**31 + 1) | st.integers(0, 4),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC, ODD_ZONE])),
    st.sampled_from([*Color, *Level, *Other]),
    st.lists(st.integers(), max_size=2)
    | st.builds(ValueError)
    | st.just(Undefined)
    | st.just(strawberry.UNSET),
)


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(value=ANY_VALUE)
def test_any_value_in_any_leaf(value: Any) -> None:
    root = SimpleNamespace(row=SimpleNamespace(**dict.fromkeys(LEAF_DOCUMENTS, value)))
    for document in LEAF_DOCUMENTS.values():
        results = [
            cast("ExecutionResult", execute(LEAF_SCHEMA, document, root, executor_class=executor))
            for executor in (STANDARD, LEAF_EXECUTOR)
        ]
        expected, result = [(repr(result.data), repr(result.errors)) for result in results]
        assert result == expected
