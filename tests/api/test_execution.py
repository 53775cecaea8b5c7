import asyncio
from typing import Any

import pytest
import strawberry
from graphql import Executor
from strawberry.extensions import SchemaExtension

from graph.documents.cache import SegmentedCache
from graph.errors import RequestRefused
from graph.execution.engine import Engine
from tests.http.server import Context, ask, build_app, build_engine


def test_a_document_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build_engine()
    first = engine.prepare("query A { __typename } query B { __typename }", "A")
    monkeypatch.setattr("graph.execution.engine.parse", pytest.fail)
    assert engine.prepare("query A { __typename } query B { __typename }", "A") is first
    assert engine.prepare("query A { __typename } query B { __typename }", "B").document is first.document


def test_a_syntax_error_is_remembered_without_what_it_was_found_in(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build_engine()
    with pytest.raises(RequestRefused):
        engine.prepare("{ a ")
    monkeypatch.setattr("graph.execution.engine.parse", pytest.fail)
    with pytest.raises(RequestRefused) as again:
        engine.prepare("{ a ")
    remembered = engine._refused.get("{ a ")
    assert remembered is not None
    assert remembered.__traceback__ is None
    assert remembered.__context__ is None
    assert again.value.errors == remembered.errors


def test_resolvers_see_the_schema() -> None:
    assert ask("{ schemaName }") == {"data": {"schemaName": "Schema"}}


def test_the_executor_class_is_an_option() -> None:
    built: list[str | None] = []

    class Recording(Executor[Any]):
        def execute_operation(self, *arguments: Any, **options: Any) -> Any:
            built.append(self.operation.name.value if self.operation.name else None)
            return super().execute_operation(*arguments, **options)

    app = build_app(build_engine(execution_context_class=Recording))
    assert ask("query Named { plainJobs { id } }", app) == {"data": {"plainJobs": [{"id": "job_1"}]}}
    assert built == ["Named"]


def test_a_flood_of_documents_does_not_push_out_a_hot_one(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build_engine(cache_size=200_000)
    hot = "{ hot: __typename }"
    prepared = engine.prepare(hot)
    engine.prepare(hot)
    for number in range(300):
        engine.prepare(f"{{ a{number}: __typename }}")
    monkeypatch.setattr("graph.execution.engine.parse", pytest.fail)
    assert engine.prepare(hot) is prepared
    assert engine._documents.size <= 200_000


def test_a_flood_of_refused_documents_is_bounded() -> None:
    engine = build_engine()
    for number in range(2_000):
        with pytest.raises(RequestRefused):
            engine.prepare(f"{{ a{number}")
    assert engine._refused.size <= 1_000_000


def test_many_variables_of_pages_are_bounded() -> None:
    engine = build_engine()
    prepared = engine.prepare("query ($n: Int) { jobs(first: $n) { edges { cursor } } }")
    for number in range(500):
        engine.cost(prepared, {"n": number})
    assert len(prepared.costs) <= 64


def test_a_schema_whose_extensions_would_not_run_is_refused() -> None:
    @strawberry.type
    class Query:
        name: str = "x"

    with pytest.raises(ValueError, match="extensions"):
        Engine(strawberry.Schema(query=Query, extensions=[SchemaExtension]))


def test_an_engine_runs_without_http() -> None:
    async def scenario() -> dict[str, Any]:
        engine = build_engine()
        return await engine.execute(engine.prepare("{ schemaName }"), None, Context())

    assert asyncio.run(scenario()) == {"data": {"schemaName": "Schema"}}


def test_the_cache_keeps_what_is_used_again() -> None:
    cache: SegmentedCache[int, int] = SegmentedCache(100)
    cache.put(0, 0, 1)
    assert cache.get(0) == 0
    for number in range(1, 1_000):
        cache.put(number, number, 1)
    assert cache.get(0) == 0
    assert cache.get(1) is None
    assert cache.size <= 100


def test_the_cache_stays_within_its_capacity_when_everything_is_used_again() -> None:
    cache: SegmentedCache[int, int] = SegmentedCache(100)
    for number in range(1_000):
        cache.put(number, number, 3)
        cache.get(number)
    assert cache.size <= 100
    assert len(cache) > 20


def test_the_cache_does_not_take_what_is_larger_than_its_probation() -> None:
    cache: SegmentedCache[int, int] = SegmentedCache(100)
    cache.put(1, 1, 21)
    assert cache.get(1) is None


def test_the_cache_counts_a_replaced_entry_once() -> None:
    cache: SegmentedCache[str, int] = SegmentedCache(100)
    for value in range(50):
        cache.put("a", value, 10)
    assert (cache.size, cache.get("a")) == (10, 49)
