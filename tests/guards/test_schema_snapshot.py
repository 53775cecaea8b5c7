"""The schema is what `schema.graphql` says, and every part of it is described."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    get_named_type,
)

from graph.schema import print_sdl, schema

CORE: GraphQLSchema = schema._schema
OWN_TYPES = {name: kind for name, kind in CORE.type_map.items() if not name.startswith("__")}
# GraphQL's and Strawberry's own scalars.
GIVEN = {"String", "Int", "Float", "Boolean", "ID", "Date", "DateTime", "JSON"}

# What only admins see, and only in lists.
NOT_NODES = {"ApiKey", "AuditEntry"}


def test_the_snapshot_is_the_schema(repository: Path) -> None:
    snapshot = (repository / "schema.graphql").read_text(encoding="utf-8")
    assert snapshot == print_sdl(), "run `python -m graph export-schema > schema.graphql`"


def test_the_snapshot_can_be_read_by_other_tools() -> None:
    assert set(build_schema(print_sdl()).type_map) >= set(OWN_TYPES)


def _parts() -> Iterator[tuple[str, str | None]]:
    for name, kind in OWN_TYPES.items():
        if name not in GIVEN:
            yield name, kind.description
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType):
            for field_name, field in kind.fields.items():
                yield f"{name}.{field_name}", field.description
                for argument_name, argument in field.args.items():
                    yield f"{name}.{field_name}({argument_name}:)", argument.description
        elif isinstance(kind, GraphQLInputObjectType):
            for field_name, input_field in kind.fields.items():
                yield f"{name}.{field_name}", input_field.description
        elif isinstance(kind, GraphQLEnumType):
            for value_name, value in kind.values.items():
                yield f"{name}.{value_name}", value.description


def test_every_part_is_described_in_a_sentence() -> None:
    parts = list(_parts())
    assert len(parts) > 150
    undescribed = [name for name, text in parts if not text or not text.strip().endswith((".", "…"))]
    assert undescribed == []


def _fields() -> Iterator[tuple[str, GraphQLNamedType]]:
    for name, kind in OWN_TYPES.items():
        if isinstance(kind, GraphQLObjectType | GraphQLInterfaceType | GraphQLInputObjectType):
            for field_name, field in kind.fields.items():
                yield f"{name}.{field_name}", get_named_type(field.type)


def test_what_is_called_an_id_is_of_type_id() -> None:
    named = {
        name: kind.name
        for name, kind in _fields()
        if name.split(".")[1] in ("id", "siteId", "memberId", "sessionId", "runIds", "memberIds")
        or name.endswith(("JobId", ".jobId", ".alertId", ".batchId"))
    }
    assert len(named) > 20
    assert set(named.values()) == {"ID"}


def test_sums_and_counts_of_tokens_pass_32_bits() -> None:
    tokens = {
        name: kind.name
        for name, kind in _fields()
        if name.lower().endswith(("tokens", "tokensused")) and not name.split(".")[0].endswith("Input")
    }
    for fraction in ("meanTokens", "p10Tokens", "p90Tokens"):
        assert tokens.pop(f"AppEstimate.{fraction}") == "Float"
    narrow = {name for name, kind in tokens.items() if kind not in ("BigInt", "IntRange")}
    assert narrow == set()


@pytest.mark.parametrize("name", ["RunStatus", "JobStatus", "AlertStatus", "CacheStatus", "BatchStatus"])
def test_every_status_has_a_member_for_words_that_others_store(name: str) -> None:
    kind = OWN_TYPES[name]
    assert isinstance(kind, GraphQLEnumType)
    assert "UNKNOWN" in kind.values


def test_every_mutation_takes_one_input_and_gives_a_union_of_a_success_and_refusals() -> None:
    mutation = CORE.mutation_type
    assert mutation is not None
    for name, field in mutation.fields.items():
        assert set(field.args) == {"input"}, name
        union = get_named_type(field.type)
        assert isinstance(union, GraphQLUnionType), name
        refusals = [
            member
            for member in union.types
            if "Refusal" in {interface.name for interface in member.interfaces}
        ]
        assert len(refusals) == len(union.types) - 1 >= 1, name


def test_every_list_is_a_connection_of_pages() -> None:
    query = CORE.query_type
    assert query is not None
    lists = {
        name: field
        for name, field in query.fields.items()
        if get_named_type(field.type).name.endswith("Connection")
    }
    assert set(lists) >= {"runLogs", "triggerJobs", "alerts", "cacheEntries"}
    for name, field in lists.items():
        assert {"first", "after", "last", "before"} <= set(field.args), name


def test_every_object_with_an_id_is_a_node() -> None:
    node = OWN_TYPES["Node"]
    for name, kind in OWN_TYPES.items():
        if isinstance(kind, GraphQLObjectType) and "id" in kind.fields and name not in NOT_NODES:
            assert node in kind.interfaces, name
