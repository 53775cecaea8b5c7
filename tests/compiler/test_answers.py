"""The compiler gives what the standard executor gives, to the byte: data, errors, order."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any

import pytest
from graphql import GraphQLList, GraphQLNonNull, validate
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .runs import SCHEMA, Compiled


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner
    gc.collect()


# -- One operation for every field, in three places


def sub_selection(type_: Any) -> str:
    while isinstance(type_, (GraphQLNonNull, GraphQLList)):
        type_ = type_.of_type
    selections = {
        "Cell": "{ y x }",
        "Node": "{ __typename id ... on Named { name } ... on Bot { version id } }",
        "Named": "{ shout name __typename ... on User { level id } }",
        "Found": "{ __typename ... on User { name level } ... on Bot { v: version name } "
        "... on Post { author { id } } }",
        "User": "{ id name }",
        "Thing": "{ id text textOrNull }",
        "UserConnection": "{ edges { cursor } }",
        "UserEdge": "{ cursor }",
        "PageInfo": "{ endCursor }",
    }
    return selections.get(getattr(type_, "name", ""), "")


def field_operations() -> list[str]:
    thing = SCHEMA.get_type("Wrapped")
    operations: list[str] = []
    for name, definition in thing.fields.items():  # type: ignore[union-attr]
        field = name + sub_selection(definition.type)
        operations += [
            f"{{ wrapped {{ {field} }} }}",
            f"{{ wrapped {{ text {field} again: {field} {field} number }} }}",
        ]
        if name in SCHEMA.get_type("Thing").fields:  # type: ignore[union-attr]
            operations += [
                f"{{ things {{ id {field} color }} }}",
                f"{{ thing {{ children {{ {field} child {{ a: {field} }} }} awaited }} "
                f"syncThing {{ {field} }} }}",
            ]
    return operations


WRITTEN: list[tuple[str, dict[str, Any]]] = [
    ("{ __typename }", {}),
    ("{ a: __typename thing { __typename t: __typename } }", {}),
    (
        "query A { thing { ...F } } fragment F on Thing { id ...G } "
        "fragment G on Thing { text cell { ...C } } fragment C on Cell { y x }",
        {},
    ),
    (
        "{ thing { ...F ...F id ... { number ... on Thing { ratio ...F } } } } "
        "fragment F on Thing { id text }",
        {},
    ),
    ("{ thing { cell { x } ...F cell { __typename } } } fragment F on Thing { cell { y } id }", {}),
    ("{ thing { child { id } child { child { id } } child { text child { number } } } }", {}),
    ("{ node(id: 1) { id ... on User { name level } ... on Bot { version } } }", {}),
    ('{ node(id: "bot") { ... on Named { name } ... on Bot { version } __typename } }', {}),
    (
        '{ a: node(id: 1) { ...N } b: node(id: "bot") { ...N } } fragment N on Node { id ...U ...B } '
        "fragment U on User { name shout } fragment B on Bot { name }",
        {},
    ),
    ("{ search { ... on Node { id } ... on Post { title author { name } } } }", {}),
    ("{ missing { id } requiredMissing { id } thing { id } }", {}),
    ("{ failing { id } missing { text } things(count: 0) { text } }", {}),
    ("{ things(count: 30) { id text number child { id text } children { id } } }", {}),
    ("{ things { id boom } failing { id } thing { boomCoded awaitedBoom boom } }", {}),
    ("{ thing { children { id text } awaitedCells { x } } }", {}),
    ("{ thing { requiredNull awaitedBoom loadedBad } }", {}),
    ("{ missing { id } thing { child { requiredNull awaited } text } }", {}),
    ("{ thing { loadedList loaded loadedBad } }", {}),
    ("{ things { loadedList loadedCell { x y } id loaded streamed generated informed } }", {}),
    ('{ thing { echo a: echo(text: "x") b: echo(text: "y", times: 3) denied shouted informed } }', {}),
    (
        'mutation { touch(name: "a") { id text boom } touchNow { id children { text } } b: touch(name: "b") '
        "{ cells { x } } }",
        {},
    ),
    ('mutation { touchNow { requiredNull } touch(name: "b") { id } }', {}),
    ("{ thing { id @skip(if: true) text @include(if: true) number @include(if: false) } }", {}),
    (
        "{ thing { ... @skip(if: true) { id } ...F @include(if: false) "
        "... on Thing @skip(if: false) { ratio } } } "
        "fragment F on Thing { text }",
        {},
    ),
    ("{ thing @skip(if: true) { id } __typename }", {}),
    ("{ thing { cell { x @skip(if: true) } id } }", {}),
    ("query Q($n: Int = 2) { things(count: $n) { id echo(times: $n) } }", {}),
    ("query Q($n: Int!) { things(count: $n) { id } }", {"n": 2}),
    ("query Q($s: Boolean = true) { thing { id @skip(if: $s) text } }", {}),
    ("{ thing { nodes { ... on User { boom: name } ... on Bot { boom: id } } } }", {}),
    ("{ thing { matrix a: matrix matrixBad cube { y __typename } } }", {}),
    ("{ thing { child { child { child { child { id } } } } } }", {}),
    ("{ thing { " + "child { " * 9 + "id " + "} " * 9 + "id } }", {}),
    ("{ things { " + "children { " * 3 + "owner { id } nosy { id } forbidden { id } " + "} " * 3 + "} }", {}),
    ("{ thing { __typename @include(if: false) } }", {}),
]
VALUATIONS = [{"a": a, "b": b} for a in (True, False) for b in (True, False)]
CONDITIONAL = [
    "query Q($a: Boolean!, $b: Boolean!) { thing { id @skip(if: $a) "
    "text @include(if: $b) @skip(if: $a) number } }",
    "query Q($a: Boolean!, $b: Boolean!) { thing @include(if: $a) { ...F @skip(if: $b) } __typename } "
    "fragment F on Thing { cell @include(if: $b) { x } "
    "owner { id @skip(if: $b) ... @include(if: $a) { __typename } } }",
    "query Q($a: Boolean!, $b: Boolean!) { things { boom @skip(if: $a) awaited @include(if: $b) text } }",
    "query Q($a: Boolean! = false, $b: Boolean!) { search { ... on User @include(if: $a) { name } "
    "... on Bot @skip(if: $b) { version } } }",
]
OPERATIONS = [
    *((source, {}) for source in field_operations()),
    *WRITTEN,
    *((source, valuation) for source in CONDITIONAL for valuation in VALUATIONS),
]


@pytest.mark.parametrize(("source", "variables"), OPERATIONS)
def test_operation(runner: asyncio.Runner, source: str, variables: dict[str, Any]) -> None:
    runner.run(Compiled(source).same(variables))


def test_corpus_is_large() -> None:
    assert len(OPERATIONS) >= 300


# -- Made-up selections

ROOTS = [
    "users",
    "users(first: 0)",
    "things",
    "thing",
    "syncThing",
    "missing",
    "search",
    'node(id: "bot")',
    "node(id: 2)",
    "wrapped",
]


@st.composite
def selections(draw: st.DrawFn, type_: Any, depth: int) -> str:
    """A selection set of the type, at most `depth` deep: aliases, duplicates, fragments, directives."""
    while isinstance(type_, (GraphQLNonNull, GraphQLList)):
        type_ = type_.of_type
    fields = getattr(type_, "fields", {})
    if not fields and not hasattr(type_, "types"):
        return ""
    parts: list[str] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["field"] * 6 + ["inline", "typename", "typed"]))
        if kind == "field" and fields:
            name = draw(st.sampled_from(sorted(fields)))
            inner = draw(selections(fields[name].type, depth - 1)) if depth else ""
            if sub_selection(fields[name].type) and not inner:
                continue
            alias = draw(st.sampled_from(["", "", "a: ", "b: "]))
            condition = draw(
                st.sampled_from(["", "", "", "@skip(if: $v)", "@include(if: $v)", "@skip(if: false)"])
            )
            parts.append(f"{alias}{name}{condition and ' ' + condition} {inner}")
        elif kind == "inline" and depth:
            parts.append(
                f"... {draw(st.sampled_from(['', '@include(if: $v)']))} {draw(selections(type_, depth - 1))}"
            )
        elif kind == "typed" and depth:
            member = draw(st.sampled_from(["User", "Bot", "Post", "Node", "Named", "Thing", "Cell"]))
            parts.append(f"... on {member} {draw(selections(SCHEMA.get_type(member), depth - 1))}")
        else:
            parts.append("__typename")
    return "{ " + " ".join(parts or ["__typename"]) + " }"


@st.composite
def documents(draw: st.DrawFn) -> str:
    parts: list[str] = []
    for index in range(draw(st.integers(1, 2))):
        root = draw(st.sampled_from(ROOTS))
        definition = SCHEMA.query_type.fields[root.partition("(")[0]]  # type: ignore[union-attr]
        parts.append(f"r{index}: {root} {draw(selections(definition.type, 3))}")
    return "query Q($v: Boolean!) { " + " ".join(parts) + " }"


@settings(
    max_examples=600,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(source=documents(), v=st.booleans())
def test_made_up_selection(runner: asyncio.Runner, source: str, v: bool) -> None:
    compiled = Compiled(source)
    if not validate(SCHEMA, compiled.document):
        runner.run(compiled.same({"v": v}))
