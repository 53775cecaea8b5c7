"""Lists whose rows the database writes as JSON, so that nothing of a row is read or completed here.

Reading a run's columns, completing them and writing them again as JSON took 5 µs a row, two thirds of the
time of a page of 100. Where a list of a query of one root field says from which columns its rows are read
(`resolved(written=…)`), and all that is selected of a row is a scalar of one of these columns or a field that
says how the store writes it (`resolved(text=…)`), the statement gives the whole array of rows as one text.
The answer takes it over as it is. The resolver finds how a row is written in the context while it is called,
so it must do so at once (be no coroutine function).

Where a row cannot be shown so (a null where none may be, a number too large) no text comes. Then, as with
anything unusual, the query runs again by the standard executor, which finds the error and its place.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, LiteralString, NamedTuple, cast

import orjson
from graphql import (
    GraphQLField,
    GraphQLObjectType,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.type.introspection import TypeNameMetaFieldDef
from graphql.type.scalars import serialize_id, serialize_int, serialize_string

from db import json_text
from db.json_text import RowText
from graph.compiled_code import CodeWriter, Place, Scope
from graph.compiled_leaf import Fallback, NotPlain, PlainField, is_isoformat, standard_field
from graph.scalars import serialize_big_int
from graph.types.fields import WrittenRows

__all__ = ["TextPlan", "plan_texts"]


class TextPlan(NamedTuple):
    """How a row of a list is written by the store, and what completes the list then."""

    row: RowText
    complete: Callable[[Any], Any]


def plan_texts(scope: Scope, definition: GraphQLField, details: FieldDetailsList) -> TextPlan | None:
    """How a field's list is read as text; None where it cannot be."""
    try:
        written: WrittenRows | None = standard_field(definition).metadata.get("written")
        if written is None:
            return None
        if written.cursor is None:
            return TextPlan(_array_text(scope, written, definition, details), _as_it_is)
        writer = _Writer(scope)
        name = writer.value_function(definition.type, details)
        if len(writer.lists) != 1:
            return None
        row = _edge_text(scope, written, written.cursor, *writer.lists[0])
        return TextPlan(row, writer.finish()[name])
    except NotPlain:
        return None


def _as_it_is(text: str | None) -> orjson.Fragment:
    if text is None:
        raise Fallback
    return orjson.Fragment(text)


def _written_as(definition: GraphQLField) -> str | None:
    return standard_field(definition).metadata.get("written_as")


class _Writer(CodeWriter):
    """Writes the completion of a list whose page holds its rows as one text."""

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self.lists: list[tuple[GraphQLObjectType, FieldDetailsList]] = []
        self.names["fragment"] = orjson.Fragment

    def _field(self, type_: GraphQLObjectType, details: FieldDetailsList, place: Place) -> str:
        definition = self.scope.schema.get_field(type_, details[0].node.name.value)
        if definition is None or definition is TypeNameMetaFieldDef or _written_as(definition) != "rows":
            return super()._field(type_, details, place)
        self.lists.append((cast("GraphQLObjectType", get_named_type(definition.type)), details))
        reader = PlainField(details[0].node.name.value, definition, self.scope.demote)
        variable = self._name("x")
        self._line(place.indent, f"{variable} = {self._name('r', reader.read)}({place.variable})")
        self._line(place.indent, f"if {variable} is None: raise Fallback")
        self._line(place.indent, f"{variable} = fragment({variable})")
        return variable


def _array_text(
    scope: Scope, written: WrittenRows, definition: GraphQLField, details: FieldDetailsList
) -> RowText:
    list_type = get_nullable_type(definition.type)
    item_type = get_nullable_type(list_type.of_type) if is_list_type(list_type) else None
    if not is_object_type(item_type):
        raise NotPlain
    return RowText(_object_text(scope, written, item_type, details))


def _edge_text(
    scope: Scope,
    written: WrittenRows,
    cursor: LiteralString,
    type_: GraphQLObjectType,
    details: FieldDetailsList,
) -> RowText:
    """How an edge is written: its own fields around the one object that it holds."""
    objects: list[LiteralString] = []
    own = json_text.quoted(cursor)

    def part(definition: GraphQLField, nodes: FieldDetailsList) -> LiteralString:
        written_as = _written_as(definition)
        if written_as == "cursor":
            return own
        node_type = get_nullable_type(definition.type)
        if written_as != "object" or objects or not is_object_type(node_type):
            raise NotPlain
        objects.append(_object_text(scope, written, node_type, nodes))
        return objects[0]

    members = _members(scope, type_, details, part)
    if not objects:
        raise NotPlain
    place = "first" if members[0][1] == own else "last" if members[-1][1] == own else None
    return RowText(json_text.json_object(members), cursor, place)


def _object_text(
    scope: Scope, written: WrittenRows, type_: GraphQLObjectType, details: FieldDetailsList
) -> LiteralString:
    """The JSON object of what is selected of a row."""
    members = _members(scope, type_, details, lambda field, _: _field_text(field, written.columns))
    return json_text.json_object(members)


def _members(
    scope: Scope,
    type_: GraphQLObjectType,
    details: FieldDetailsList,
    text_of: Callable[[GraphQLField, FieldDetailsList], LiteralString],
) -> list[tuple[str, LiteralString]]:
    """The members of the JSON object of what is selected of a type."""
    members: list[tuple[str, LiteralString]] = []
    for response_name, nodes in scope.collect_subfields(type_, details).grouped_field_set.items():
        node = nodes[0].node
        definition = scope.schema.get_field(type_, node.name.value)
        if definition is None or node.arguments:
            raise NotPlain
        if definition is TypeNameMetaFieldDef:
            members.append((response_name, json_text.constant(type_.name)))
        else:
            members.append((response_name, text_of(definition, nodes)))
    return members


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
