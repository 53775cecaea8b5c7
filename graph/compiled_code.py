"""Writes one Python function for a sub-selection made only of plain fields.

The written source holds no text of the document but response names, as string literals made by ``repr``, and
attribute names that are identifiers; everything else is reached through names that this module makes up.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from graphql import (
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLSchema,
    default_type_resolver,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet
from graphql.pyutils import is_awaitable
from graphql.type.introspection import TypeNameMetaFieldDef

from graph.compiled_leaf import (
    Fallback,
    NotPlain,
    PlainField,
    PlanInfo,
    enum_names,
    is_isoformat,
    leaf_condition,
    make_leaf,
    sober,
    vet,
)

__all__ = ["CodeWriter", "Place", "Scope"]

_MAX_FIELDS = 500
_MAX_INLINE_DEPTH = 6


class Scope(NamedTuple):
    """What a sub-selection is compiled against."""

    schema: GraphQLSchema
    collect_subfields: Callable[[GraphQLObjectType, FieldDetailsList], CollectedFields]
    is_demoted: Callable[[GraphQLField], bool]
    demote: Callable[[GraphQLField], None]


class Place(NamedTuple):
    """Where a value is completed: its variable, how deep, and the field and row it was read from."""

    variable: str
    indent: int
    depth: int
    field: PlainField | None = None
    row: str = "None"


class CodeWriter:
    """Collects the source of functions, then makes them all at once with :meth:`finish`."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.names: dict[str, Any] = dict(_PRELUDE)
        self.functions: list[str] = []
        self.lines: list[str] = []
        self.fields_left = _MAX_FIELDS

    def value_function(self, return_type: Any, details: FieldDetailsList) -> str:
        """Write ``f(value)``, which completes a value of the type; its name."""
        return self._function("v", lambda: self._value(return_type, details, Place("v", 1, 0)))

    def fields_function(
        self, parent_type: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> tuple[str, list[str]]:
        """Write ``f(row)``, which completes a selection's plain fields; its name and the names of those."""
        plain: dict[str, str] = {}

        def body() -> None:
            for response_name, details in grouped.items():
                lines, functions = len(self.lines), len(self.functions)
                try:
                    plain[response_name] = self._field(parent_type, details, Place("v", 1, 0))
                except NotPlain:
                    del self.lines[lines:], self.functions[functions:]
            self._line(1, f"v = {_dict_display(plain)}")

        return self._function("v", body), list(plain)

    def finish(self) -> dict[str, Any]:
        """Compile everything written; the namespace that holds the functions by name."""
        code = compile("\n".join(self.functions), "<compiled selection>", "exec")
        exec(code, self.names)  # noqa: S102 - the source is written above from made-up names only
        return self.names

    def _function(self, parameter: str, body: Callable[[], None]) -> str:
        outer, self.lines = self.lines, []
        try:
            name = self._name("f")
            body()
            self.functions.append(
                "\n".join([f"def {name}({parameter}):", *self.lines, f" return {parameter}"])
            )
        finally:
            self.lines = outer
        return name

    def _name(self, prefix: str, value: Any = None) -> str:
        name = f"{prefix}{len(self.names)}"
        self.names[name] = value
        return name

    def _line(self, indent: int, text: str) -> None:
        self.lines.append(" " * indent + text)

    def _value(self, type_: Any, details: FieldDetailsList, place: Place, nullable: bool = True) -> None:
        if is_non_null_type(type_):
            return self._value(type_.of_type, details, place, False)
        if is_leaf_type(type_):
            return self._leaf(type_, place, nullable)
        if nullable:
            self._line(place.indent, f"if {place.variable} is not None:")
            place = place._replace(indent=place.indent + 1)
        if is_list_type(type_):
            return self._list(type_, details, place)
        return self._composite(type_, details, place)

    def _leaf(self, type_: Any, place: Place, nullable: bool) -> None:
        variable, indent = place.variable, place.indent
        complete = self._name("c", make_leaf(type_, nullable, place.field))
        slow = f"{variable} = {complete}({variable}, {place.row})"
        if is_isoformat(type_):
            # orjson writes UTC exactly as isoformat does, at a third of the cost
            self._line(indent, f"if type({variable}) is not datetime: {slow}")
            self._line(
                indent, f"elif {variable}.tzinfo is UTC: {variable} = dumps({variable})[1:-1].decode()"
            )
            self._line(indent, f"else: {variable} = {variable}.isoformat()")
            return
        enum_class, enum_members = enum_names(type_)
        if enum_class is not None:
            of_class, members = self._name("e", enum_class), self._name("m", enum_members)
            self._line(indent, f"if type({variable}) is {of_class}: {variable} = {members}[id({variable})]")
            self._line(indent, f"else: {slow}")
            return
        condition = leaf_condition(type_)
        if condition is None:
            self._line(indent, slow)
            return
        test = condition.format(variable)
        self._line(
            indent, f"if {variable} is not None and ({test}): {slow}" if nullable else f"if {test}: {slow}"
        )

    def _list(self, type_: Any, details: FieldDetailsList, place: Place) -> None:
        item = self._name("i")

        def body() -> None:
            self._line(1, "if type(v) is not list and type(v) is not tuple: raise Fallback")
            self._line(1, "done = []; add = done.append")
            self._line(1, f"for {item} in v:")
            self._value(type_.of_type, details, Place(item, 2, 0))
            self._line(2, f"add({item})")
            self._line(1, "v = done")

        function = self._function("v", body)
        call = f"{place.variable} = {function}({place.variable})"
        if place.field is None:
            self._line(place.indent, call)
            return
        spill = self._name("s", place.field.spill)
        self._line(place.indent, f"try: {call}")
        self._line(
            place.indent, f"except (Exception, Fallback): {spill}({place.variable}, {place.row}); raise"
        )

    def _composite(self, type_: Any, details: FieldDetailsList, place: Place) -> None:
        variable = place.variable
        checker = "vet" if place.field is None else self._name("t", place.field.vet)
        arguments = variable if place.field is None else f"{variable}, {place.row}"
        self._line(place.indent, f"if type({variable}) not in sober: {checker}({arguments})")
        if is_abstract_type(type_):
            self._line(place.indent, f"{variable} = {self._abstract(type_, details)}({variable})")
        elif not is_object_type(type_):
            raise NotPlain
        elif place.depth < _MAX_INLINE_DEPTH:
            self._object(type_, details, place)
        else:
            function = self._function("v", lambda: self._object(type_, details, Place("v", 1, 0)))
            self._line(place.indent, f"{variable} = {function}({variable})")

    def _object(self, type_: GraphQLObjectType, details: FieldDetailsList, place: Place) -> None:
        if type_.is_type_of is not None:
            test, info = self._name("p", type_.is_type_of), self._name("n", self._info(details))
            self._line(place.indent, f"answer = {test}({place.variable}, {info})")
            self._line(place.indent, "if answer is not True: refuse(answer)")
        try:
            collected = self.scope.collect_subfields(type_, details)
        except GraphQLError as error:
            # A directive's argument is wrong: the standard executor says so, in its place.
            raise NotPlain from error
        grouped = collected.grouped_field_set
        completed = {name: self._field(type_, nodes, place) for name, nodes in grouped.items()}
        self._line(place.indent, f"{place.variable} = {_dict_display(completed)}")

    def _field(self, type_: GraphQLObjectType, details: FieldDetailsList, place: Place) -> str:
        """Write the reading and completion of one field of the row in `place`; its result's expression."""
        self.fields_left -= 1
        name = details[0].node.name.value
        definition = self.scope.schema.get_field(type_, name)
        if definition is TypeNameMetaFieldDef:
            return repr(type_.name)
        if definition is None or self.fields_left < 0 or details[0].node.arguments:
            raise NotPlain
        if self.scope.is_demoted(definition):
            raise NotPlain
        field = PlainField(name, definition, self.scope.demote)
        variable = self._name("x")
        row, attribute = place.variable, field.attribute
        read = f"{row}.{attribute}" if attribute else f"{self._name('r', field.read)}({row})"
        self._line(place.indent, f"{variable} = {read}")
        inner = Place(variable, place.indent, place.depth + 1, field, place.variable)
        self._value(definition.type, details, inner)
        return variable

    def _info(self, details: FieldDetailsList) -> PlanInfo:
        return PlanInfo(self.scope.schema, details[0].node.name.value)

    def _abstract(self, type_: Any, details: FieldDetailsList) -> str:
        branches: dict[str, str] = {}
        for possible in self.scope.schema.get_possible_types(type_):
            branches[possible.name] = self._function(
                "v", lambda possible=possible: self._object(possible, details, Place("v", 1, 0))
            )
        resolve_type = type_.resolve_type or default_type_resolver
        dispatch = _dispatcher(resolve_type, self._info(details), type_, branches, self.names)
        return self._name("d", dispatch)


def _dict_display(completed: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {expression}" for name, expression in completed.items()) + "}"


def _refuse(answer: Any) -> None:
    """A type predicate gave no plain answer: leave the value to the standard executor."""
    close = getattr(answer, "close", None)
    if is_awaitable(answer) and close is not None:
        close()
    raise Fallback


def _dispatcher(
    resolve_type: Callable[[Any, Any, Any], Any],
    info: Any,
    abstract_type: Any,
    branches: dict[str, str],
    names: dict[str, Any],
) -> Callable[[Any], Any]:
    def complete(value: Any) -> Any:
        name = resolve_type(value, info, abstract_type)
        if not isinstance(name, str) or name not in branches:
            _refuse(name)
        return names[branches[name]](value)

    return complete


_PRELUDE: dict[str, Any] = {
    "Fallback": Fallback,
    "UTC": dt.UTC,
    "datetime": dt.datetime,
    "dumps": orjson.dumps,
    "refuse": _refuse,
    "sober": sober,
    "vet": vet,
}
