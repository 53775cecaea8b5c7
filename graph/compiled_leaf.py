"""What a compiled selection may read without asking the executor, and how a leaf becomes its JSON value.

Everything here answers one question about a value or a field: is it so plain that completing it cannot
await, cannot raise and cannot differ from graphql-core's own answer? When in doubt the answer is
:class:`Fallback`, and the standard executor completes the same value again.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

import datetime as dt
import decimal
import enum
import inspect
import keyword
import types
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, cast, get_origin

from graphql import GraphQLField, GraphQLSchema, Undefined
from graphql.pyutils import is_awaitable
from graphql.type.scalars import (
    serialize_boolean,
    serialize_float,
    serialize_id,
    serialize_int,
    serialize_string,
)
from strawberry.schema.schema_converter import CustomGraphQLEnumType, GraphQLCoreConverter
from strawberry.schema.types.base_scalars import isoformat
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver

from graph.types.scalars import serialize_big_int

__all__ = [
    "Fallback",
    "NotPlain",
    "PlainField",
    "PlanInfo",
    "enum_names",
    "gives_awaitable",
    "is_isoformat",
    "leaf_condition",
    "make_leaf",
    "sober",
    "standard_field",
    "vet",
]


class Fallback(BaseException):
    """A compiled function met a value that only the standard executor may complete.

    A BaseException, so that a type predicate's own ``except Exception`` cannot swallow it.
    """


class NotPlain(Exception):
    """A field or type that cannot be compiled; raised while planning, never while completing."""


class PlanInfo:
    """The part of GraphQLResolveInfo that is the same for every value of a field in a cached document.

    Type predicates (``is_type_of``, ``resolve_type``) get it in place of the real one; reading anything else
    (context, path, variables) raises :class:`Fallback`.
    """

    __slots__ = ("field_name", "is_awaitable", "schema")

    def __init__(self, schema: GraphQLSchema, field_name: str) -> None:
        self.schema = schema
        self.field_name = field_name
        self.is_awaitable = is_awaitable

    def __getattr__(self, name: str) -> Any:
        raise Fallback


_SCALAR_CLASSES: set[type] = {
    *(str, int, float, bool, bytes, complex, dict, list, tuple, set, frozenset),
    *(dt.datetime, dt.date, dt.time, dt.timedelta, decimal.Decimal, uuid.UUID),
}

sober: set[type] = set(_SCALAR_CLASSES)
"""Classes whose instances are neither awaitable nor exceptions nor null. Bounded: see :func:`vet`."""

_MAX_SOBER = 4096
_ORDINARY_LOOKUP = (types.WrapperDescriptorType, types.NoneType)


def _looks_up_ordinarily(cls: type) -> bool:
    """Whether instances cannot invent ``__await__`` or ``__class__``: the class alone decides."""
    for base in cls.__mro__:
        own = vars(base)
        if "__getattr__" in own or (base is not object and "__class__" in own):
            return False
        if not isinstance(own.get("__getattribute__"), _ORDINARY_LOOKUP):
            return False
    return not hasattr(cls, "__await__")


def vet(value: Any) -> None:
    """Raise Fallback if the value is null, an exception or awaitable; else remember its class."""
    if value is None or value is Undefined or isinstance(value, Exception) or is_awaitable(value):
        raise Fallback
    cls = type(value)
    if len(sober) < _MAX_SOBER and _looks_up_ordinarily(cls):
        sober.add(cls)


def read_default(source: Any, name: str) -> Any:
    """What graphql-core's default resolver reads; a callable needs the real info, so it falls back."""
    value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
    if callable(value):
        raise Fallback
    return value


class PlainField:
    """A field that is a pure function of its row: how to read it, and what to do when it turns out not to be.

    ``attribute`` is the attribute's name when reading is plain attribute access, else None.
    """

    __slots__ = ("attribute", "definition", "demote", "read")

    def __init__(self, name: str, definition: GraphQLField, demote: Callable[[GraphQLField], None]) -> None:
        self.definition = definition
        self.demote = demote
        self.attribute: str | None = None
        self.read: Callable[[Any], Any] = self._find_reader(name)

    def _find_reader(self, name: str) -> Callable[[Any], Any]:
        definition = self.definition
        if definition.args:
            raise NotPlain
        if definition.resolve is None:
            return lambda source: read_default(source, name)
        field = standard_field(definition)
        if field.is_async:
            raise NotPlain
        return self._attribute_reader(field) if field.base_resolver is None else _method_reader(field)

    def _attribute_reader(self, field: StrawberryField) -> Callable[[Any], Any]:
        name, resolver = field.python_name, field.default_resolver
        if resolver is getattr and name.isidentifier() and not keyword.iskeyword(name):
            self.attribute = name
        return lambda source: resolver(source, name)

    def vet(self, value: Any, source: Any) -> None:
        """As :func:`vet`; an awaitable also demotes the field (:meth:`spill`)."""
        self.spill(value, source)
        vet(value)

    def spill(self, value: Any, source: Any) -> None:
        """If the value is, or is a list holding, an awaitable: plan this field as a standard one from now on.

        Coroutines that reading made afresh are closed, because the standard executor will make its own; those
        that the row stores are left for it. Reading twice tells which is which.
        """
        if _holds_awaitable(value):
            self.demote(self.definition)
            _close_fresh(value, self.read(source))


def standard_field(definition: GraphQLField) -> StrawberryField:
    """Strawberry's field behind a definition that nothing was added to; raises NotPlain for any other."""
    field = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(field, StrawberryField) or type(field).get_result is not StrawberryField.get_result:
        raise NotPlain
    if field.extensions or field.permission_classes or field.is_subscription:
        raise NotPlain
    if _source_file(definition.resolve) != _source_file(GraphQLCoreConverter.from_resolver):
        raise NotPlain  # wrapped by somebody
    return field


def gives_awaitable(resolver: StrawberryResolver[Any]) -> bool:
    """Whether a resolver is a coroutine function, or a function that says it gives an ``Awaitable``."""
    function: Any = resolver.wrapped_func
    annotations = getattr(function, "__annotations__", {})
    return inspect.iscoroutinefunction(function) or get_origin(annotations.get("return")) is Awaitable


def _source_file(function: Any) -> str | None:
    """Where a function's code was written; unlike its module's name, not copied by functools.wraps."""
    code = getattr(function, "__code__", None)
    return code.co_filename if code is not None else None


def _method_reader(field: StrawberryField) -> Callable[[Any], Any]:
    resolver = field.base_resolver
    if resolver is None or resolver.info_parameter is not None or field.arguments:
        raise NotPlain
    if gives_awaitable(resolver):
        raise NotPlain
    if type(resolver).__call__ is not StrawberryResolver.__call__:
        raise NotPlain
    function: Callable[..., Any] = cast("Any", resolver.wrapped_func)
    given = (resolver.parent_parameter, resolver.root_parameter)
    # A parameter called root that is annotated as the parent is both.
    named = list(dict.fromkeys(parameter.name for parameter in given if parameter is not None))
    if resolver.self_parameter and not named:
        return function
    if not resolver.self_parameter and _takes_first(function, named):
        return function
    if resolver.self_parameter:
        return lambda source: function(source, **dict.fromkeys(named, source))
    return lambda source: function(**dict.fromkeys(named, source))


def _takes_first(function: Any, named: list[str]) -> bool:
    """Whether the one parameter by that name may as well be given by position, which costs half as much."""
    code = getattr(function, "__code__", None)
    return code is not None and code.co_argcount == 1 and list(code.co_varnames[:1]) == named


def _holds_awaitable(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_holds_awaitable(item) for item in value)
    return is_awaitable(value)


def _close_fresh(value: Any, again: Any) -> None:
    if value is again:
        return
    if isinstance(value, (list, tuple)) and isinstance(again, (list, tuple)):
        for item, item_again in zip(value, again, strict=False):
            _close_fresh(item, item_again)
    for coroutine in (value, again):
        if isinstance(coroutine, types.CoroutineType):
            coroutine.close()


# Inline tests under which a value is already its own completed value. `{0}` is the variable.
_IDENTITY_TESTS: dict[Any, str] = {
    serialize_string: "{0}.__class__ is not str",
    serialize_id: "{0}.__class__ is not str",
    serialize_int: "type({0}) is not int or not -2147483648 <= {0} <= 2147483647",
    serialize_float: "type({0}) is not float or {0} - {0} != 0.0",
    serialize_boolean: "{0} is not True and {0} is not False",
    serialize_big_int: "type({0}) is not int",
}


def leaf_condition(leaf_type: Any) -> str | None:
    """The test that says a value must go through :func:`make_leaf`, or None when every value must."""
    return _IDENTITY_TESTS.get(leaf_type.coerce_output_value)


def enum_names(leaf_type: Any) -> tuple[type | None, dict[int, str]]:
    """An enum's class, and its members' names by the members' identities (hashing a member is slower)."""
    wrapped = leaf_type.wrapped_cls if isinstance(leaf_type, CustomGraphQLEnumType) else None
    if not isinstance(wrapped, enum.EnumMeta):
        return None, {}
    names: dict[int, str] = {}
    for member in cast("list[Any]", list(wrapped)):
        with suppress(
            Exception
        ):  # a member without a name is left to the standard executor, which refuses it
            names[id(member)] = leaf_type.coerce_output_value(member)
    return wrapped, names


def make_leaf(leaf_type: Any, nullable: bool, field: PlainField | None) -> Callable[..., Any]:
    """The completion of one leaf value: ``complete(value, source)`` gives the JSON value or raises."""
    coerce = leaf_type.coerce_output_value

    def complete(value: Any, source: Any = None) -> Any:
        if value is None:
            if nullable:
                return None
            raise Fallback
        if type(value) not in sober:
            if field is not None:
                field.vet(value, source)
            else:
                vet(value)
        completed = coerce(value)
        if completed is None or type(completed) not in sober:
            vet(completed)
        return completed

    return complete


def is_isoformat(leaf_type: Any) -> bool:
    """Whether the scalar is completed by nothing but ``value.isoformat()``."""
    return leaf_type.coerce_output_value is isoformat
