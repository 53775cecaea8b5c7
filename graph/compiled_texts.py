"""Lists whose rows the database writes as JSON, so that nothing of a row is completed here.

Reading a run's columns, completing them and writing them again as JSON took 5 µs a row, two thirds of the
time of a page of 100. Where a query has one root field, a list that says from which columns its rows are read
(`resolved(written=…)`), and all that is selected of a row is a scalar of one of these columns or a field that
says how the store writes it (`resolved(text=…)`), the statement gives each row as the finished text of its
object. The answer takes it over as it is.

A row that cannot be shown so (a null where none may be, a number too large) comes without a text. Then, as
with anything unusual, the query runs again by the standard executor, which finds the error and its place.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, LiteralString, NamedTuple

import orjson
from graphql import (
    GraphQLField,
    GraphQLObjectType,
    is_leaf_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.type.introspection import TypeNameMetaFieldDef
from graphql.type.scalars import serialize_id, serialize_int, serialize_string

from db import json_text
from graph.compiled_code import CodeWriter, Place, Scope
from graph.compiled_leaf import NotPlain, is_isoformat, standard_field
from graph.scalars import serialize_big_int
from graph.types.fields import WrittenRows

__all__ = ["TextPlan", "plan_texts"]


_PLACES = {"cursor": 0, "text": 1}
"""Where the parts of a written row are."""


class TextPlan(NamedTuple):
    """How the rows of a list are written by the store, and what completes the list then."""

    texts: LiteralString
    complete: Callable[[Any], Any]


def plan_texts(scope: Scope, definition: GraphQLField, details: FieldDetailsList) -> TextPlan | None:
    """How the list of a root field is read as texts; None where it cannot be."""
    try:
        written: WrittenRows | None = standard_field(definition).metadata.get("written")
        if written is None:
            return None
        writer = _Writer(scope)
        name = writer.value_function(definition.type, details)
        if len(writer.rows) != 1:
            return None
        text = _text(scope, written.columns, *writer.rows[0])
        return TextPlan(f"{written.cursor}, {text}", writer.finish()[name])
    except NotPlain:
        return None


class _Writer(CodeWriter):
    """Writes the completion of a list whose rows hold their objects as texts."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.rows: list[tuple[GraphQLObjectType, FieldDetailsList]] = []
        self.names["fragment"] = orjson.Fragment

    def _field(self, type_: GraphQLObjectType, details: FieldDetailsList, place: Place) -> str:
        definition = self.scope.schema.get_field(type_, details[0].node.name.value)
        if definition is None or definition is TypeNameMetaFieldDef:
            return super()._field(type_, details, place)
        part = standard_field(definition).metadata.get("row")
        if part is None:
            return super()._field(type_, details, place)
        variable = self._name("x")
        self._line(place.indent, f"{variable} = {place.variable}[{_PLACES[part]}]")
        if part == "text":
            self._row(definition, details)
            self._line(place.indent, f"if {variable} is None: raise Fallback")
            self._line(place.indent, f"{variable} = fragment({variable})")
        return variable

    def _row(self, definition: GraphQLField, details: FieldDetailsList) -> None:
        of_type = definition.type.of_type if is_non_null_type(definition.type) else definition.type
        if not is_object_type(of_type):
            raise NotPlain
        self.rows.append((of_type, details))


def _text(
    scope: Scope, columns: Mapping[str, LiteralString], type_: GraphQLObjectType, details: FieldDetailsList
) -> LiteralString:
    members: list[tuple[str, LiteralString]] = []
    for response_name, nodes in scope.collect_subfields(type_, details).grouped_field_set.items():
        node = nodes[0].node
        definition = scope.schema.get_field(type_, node.name.value)
        if definition is None or node.arguments:
            raise NotPlain
        if definition is TypeNameMetaFieldDef:
            members.append((response_name, json_text.constant(type_.name)))
        else:
            members.append((response_name, _field_text(definition, columns)))
    return json_text.json_object(members)


def _field_text(definition: GraphQLField, columns: Mapping[str, LiteralString]) -> LiteralString:
    field = standard_field(definition)
    text: LiteralString | None = field.metadata.get("text")
    if text is not None:
        return text
    column = columns.get(field.python_name)
    if column is None or field.base_resolver is not None:
        raise NotPlain
    if is_non_null_type(definition.type):
        return _scalar_text(definition.type.of_type, column)
    return json_text.nullable(column, _scalar_text(definition.type, column))


def _scalar_text(type_: Any, column: LiteralString) -> LiteralString:
    if not is_leaf_type(type_):
        raise NotPlain
    if is_isoformat(type_):
        return json_text.instant(column)
    coerce: Any = type_.coerce_output_value
    if coerce in (serialize_string, serialize_id):
        return json_text.string(column)
    if coerce is serialize_int:
        return json_text.integer(column, 32)
    if coerce is serialize_big_int:
        return json_text.integer(column, 64)
    raise NotPlain
