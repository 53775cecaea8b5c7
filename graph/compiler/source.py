"""Writes Python functions for selections in which nothing is called but getters.

The source holds no text of the document but response names, as literals made by `repr`, and names of
attributes that are identifiers; everything else is reached through names that are made up here.
"""

# Not strict: graphql-core's generic types are bare, so that everything would be partly unknown.
# pyright: basic
from __future__ import annotations

import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from contextlib import suppress
from types import CoroutineType, SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import graphql
import orjson

from graph.compiler import adapter

if TYPE_CHECKING:
    from graph.compiler.plan import Field, Selection

_MAX_FIELDS = 500

# Tests under which a value of a scalar is not already what the answer holds. `{0}` is the variable.
_TESTS: dict[Any, str] = {
    adapter.scalars.serialize_string: "{0}.__class__ is not str",
    adapter.scalars.serialize_id: "{0}.__class__ is not str",
    adapter.scalars.serialize_int: "type({0}) is not int or not -2147483648 <= {0} <= 2147483647",
    adapter.scalars.serialize_float: "type({0}) is not float or {0} - {0} != 0.0",
    adapter.scalars.serialize_boolean: "{0} is not True and {0} is not False",
}

_MAX_CLASSES = 4096
_classes: set[type] = {
    *(str, int, float, bool, bytes, complex, dict, list, tuple, set, frozenset),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID),
}
"""Classes whose instances are known to be neither awaitable nor exceptions nor null."""


class Unexpected(Exception):
    """A written function met a value that it does not complete."""


class _TooLarge(Exception):
    """More fields than one function may have, as compiling it would take too long."""


class _Place(NamedTuple):
    """Where code is written: the variable that holds the value, and the indentation."""

    variable: str
    indent: int


def write_value_function(field: Field) -> Callable[[Any], Any] | None:
    """`f(value)`, which completes a value of the field; None where it would be too large."""
    writer = _Writer()
    return writer.finish(lambda: writer.value(field.type, field, _Place("v", 1)))


def write_reader(selection: Selection) -> Callable[[Any], dict[str, Any]] | None:
    """`f(row)`, which reads the getters of a selection, and gives null for its other fields."""
    writer = _Writer()
    return writer.finish(lambda: writer.members(selection, _Place("v", 1)))


class _Writer:
    """Collects the source of functions, then compiles all of them."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = dict(_NAMES)
        self._functions: list[str] = []
        self._lines: list[str] = []
        self._fields_left = _MAX_FIELDS

    def finish(self, body: Callable[[], None]) -> Any:
        """Write a function and compile it, with those that it calls."""
        try:
            name = self._function(body)
        except _TooLarge:
            return None
        code = compile("\n".join(self._functions), "<written by graph.compiler>", "exec")
        exec(code, self._names)  # noqa: S102 - the source holds nothing of a caller, see above
        return self._names[name]

    def value(self, type_: Any, field: Field, place: _Place, is_nullable: bool = True) -> None:
        """Write the completion of a value of a type."""
        if graphql.is_non_null_type(type_):
            return self.value(type_.of_type, field, place, False)
        if graphql.is_leaf_type(type_):
            return self._leaf(type_, place, is_nullable)
        if is_nullable:
            self._line(place.indent, f"if {place.variable} is not None:")
            place = place._replace(indent=place.indent + 1)
        variable, indent = place
        if graphql.is_list_type(type_):
            self._line(indent, f"{variable} = {self._list(type_.of_type, field)}({variable})")
            return None
        self._line(indent, f"if type({variable}) not in classes: check({variable})")
        return self._object(type_, field, place)

    def members(self, selection: Selection, place: _Place) -> None:
        """Write the reading of a row's getters, and the object of all fields."""
        completed = {field.name: self._member(selection, field, place) for field in selection.fields}
        display = ", ".join(f"{name!r}: {expression}" for name, expression in completed.items())
        self._line(place.indent, f"{place.variable} = {{{display}}}")

    def _member(self, selection: Selection, field: Field, place: _Place) -> str:
        self._fields_left -= 1
        if self._fields_left < 0:
            raise _TooLarge
        if field.is_typename:
            return repr(selection.type.name)
        if not field.is_getter or field.getter is None:
            return "None"
        variable, attribute = self._name("x"), field.getter.attribute
        if attribute:
            self._line(place.indent, f"{variable} = {place.variable}.{attribute}")
        else:
            self._line(place.indent, f"{variable} = {self._name('r', field.getter.read)}({place.variable})")
            # The method is called again, and so its coroutine would never be awaited.
            self._line(
                place.indent, f"if type({variable}) is Coroutine: {variable}.close(); raise Unexpected"
            )
        self.value(field.type, field, _Place(variable, place.indent))
        return variable

    def _leaf(self, type_: Any, place: _Place, is_nullable: bool) -> None:
        variable, indent = place
        slow = f"{variable} = {self._name('c', _leaf_function(type_, is_nullable))}({variable})"
        enum_class = adapter.enum_of(type_)
        if type_.coerce_output_value is adapter.isoformat:
            # orjson writes UTC exactly as isoformat does, at a third of the cost.
            text = f"dumps({variable})[1:-1].decode()"
            self._line(indent, f"if type({variable}) is not datetime: {slow}")
            self._line(indent, f"elif {variable}.tzinfo is UTC: {variable} = {text}")
            self._line(indent, f"else: {variable} = {variable}.isoformat()")
        elif enum_class is not None:
            # By the members' identities, as hashing a member is slower.
            names: dict[int, str] = {}
            for member in enum_class:
                with suppress(Exception):  # a member that the schema lacks; `execution` makes the error
                    names[id(member)] = type_.coerce_output_value(member)
            known = f"{variable} = {self._name('m', names)}[id({variable})]"
            self._line(indent, f"if type({variable}) is {self._name('e', enum_class)}: {known}")
            self._line(indent, f"else: {slow}")
        else:
            test = _TESTS.get(type_.coerce_output_value, "True").format(variable)
            self._line(
                indent,
                f"if {variable} is not None and ({test}): {slow}" if is_nullable else f"if {test}: {slow}",
            )

    def _list(self, item_type: Any, field: Field) -> str:
        item = self._name("i")

        def body() -> None:
            self._line(1, "if type(v) is not list and type(v) is not tuple: raise Unexpected")
            self._line(1, "done = []; add = done.append")
            self._line(1, f"for {item} in v:")
            self.value(item_type, field, _Place(item, 2))
            self._line(2, f"add({item})")
            self._line(1, "v = done")

        return self._function(body)

    def _object(self, type_: graphql.GraphQLObjectType, field: Field, place: _Place) -> None:
        if type_.is_type_of is not None:
            # What else predicates may read of the info differs between requests.
            info = SimpleNamespace(schema=field.schema, field_name=field.field_name)
            test, info = self._name("p", type_.is_type_of), self._name("n", info)
            self._line(place.indent, f"if {test}({place.variable}, {info}) is not True: raise Unexpected")
        self.members(field.members[type_.name], place)

    def _function(self, body: Callable[[], None]) -> str:
        """Write a function that turns `v` into what the body makes of it; its name."""
        outer, self._lines = self._lines, []
        name = self._name("f")
        body()
        self._functions.append("\n".join([f"def {name}(v):", *self._lines, " return v"]))
        self._lines = outer
        return name

    def _name(self, prefix: str, value: Any = None) -> str:
        name = f"{prefix}{len(self._names)}"
        self._names[name] = value
        return name

    def _line(self, indent: int, text: str) -> None:
        self._lines.append(" " * indent + text)


def _leaf_function(leaf_type: Any, is_nullable: bool) -> Callable[[Any], Any]:
    """The function that makes of a leaf's value what the answer holds. It raises where the value is wrong."""
    coerce = leaf_type.coerce_output_value

    def complete(value: Any) -> Any:
        if value is None and is_nullable:
            return None
        if type(value) not in _classes:
            _check(value)
        completed = coerce(value)
        if type(completed) not in _classes:
            _check(completed)
        return completed

    return complete


def _check(value: Any) -> None:
    """Raise Unexpected for null, an exception or an awaitable; remember the class of any other value."""
    cls = type(value)
    if (
        value is None
        or value is graphql.Undefined
        or isinstance(value, Exception)
        or hasattr(cls, "__await__")
    ):
        raise Unexpected
    if len(_classes) < _MAX_CLASSES:
        _classes.add(cls)


_NAMES: dict[str, Any] = {
    "Coroutine": CoroutineType,
    "UTC": dt.UTC,
    "Unexpected": Unexpected,
    "check": _check,
    "classes": _classes,
    "datetime": dt.datetime,
    "dumps": orjson.dumps,
}
