"""What the compiler uses of Strawberry and graphql-core that is not public.

`make_compiler` checks the versions before this module is imported.
"""

# Not strict: graphql-core's generic types are bare, so that everything would be partly unknown.
# pyright: basic
from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import MISSING
from typing import Any, ClassVar, NamedTuple, cast, get_origin
from weakref import WeakKeyDictionary

from graphql import GraphQLArgument, GraphQLField, GraphQLResolveInfo, GraphQLSchema
from graphql.pyutils import Path as Path
from graphql.pyutils import inspect as inspect
from graphql.pyutils import is_async_iterable as is_async_iterable
from graphql.pyutils import is_iterable as is_iterable
from graphql.type import scalars as scalars
from strawberry.execution import optimized_is_awaitable
from strawberry.relay.types import GlobalID
from strawberry.schema.schema import _OperationContextAwareGraphQLResolveInfo
from strawberry.schema.schema_converter import CustomGraphQLEnumType, GraphQLCoreConverter
from strawberry.schema.types.base_scalars import isoformat as isoformat
from strawberry.types.arguments import StrawberryArgument, _is_leaf_type, convert_argument
from strawberry.types.base import (
    StrawberryList,
    StrawberryMaybe,
    StrawberryOptional,
    has_object_definition,
)
from strawberry.types.enum import has_enum_definition
from strawberry.types.field import StrawberryField
from strawberry.types.fields.resolver import StrawberryResolver
from strawberry.types.lazy_type import LazyType
from strawberry.types.unset import UNSET

ResolveInfo = _OperationContextAwareGraphQLResolveInfo
is_awaitable = optimized_is_awaitable


class Getter(NamedTuple):
    """How a field's value is read from its row. `attribute` is the name where that is all, else None."""

    read: Callable[[Any], Any]
    attribute: str | None = None


class Resolver(NamedTuple):
    """The function behind a field: the parameters that take the row, and the one that takes the info."""

    function: Callable[..., Any]
    sources: tuple[str, ...]
    info: str | None
    make_info: Callable[[GraphQLResolveInfo], Any]


class Argument(NamedTuple):
    """The parameter that an argument fills, and what makes the resolver's value of graphql-core's."""

    parameter: str
    convert: Callable[[Any], Any]


def _field_behind(definition: GraphQLField) -> StrawberryField | None:
    """Strawberry's field, unless somebody has wrapped its resolver, or it does more than call a function."""
    field = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if not isinstance(field, StrawberryField) or type(field).get_result is not StrawberryField.get_result:
        return None
    resolver = field.base_resolver
    if resolver is not None and type(resolver).__call__ is not StrawberryResolver.__call__:
        return None
    if field.extensions or field.permission_classes or field.is_subscription:
        return None
    # Unlike a module's name, the file's name is not copied by functools.wraps.
    code = getattr(definition.resolve, "__code__", None)
    if code is None or code.co_filename != GraphQLCoreConverter.from_resolver.__code__.co_filename:
        return None
    return field


def getter_of(definition: GraphQLField) -> Getter | None:
    """How the field is read, if it is an attribute, or a method that takes the row and nothing else."""
    field = _field_behind(definition)
    if field is None or field.is_async or definition.args:
        return None
    resolver = field.base_resolver
    if resolver is None:
        name, read = field.python_name, field.default_resolver
        return Getter(lambda row: read(row, name), name if read is getattr and name.isidentifier() else None)
    function: Callable[..., Any] = cast("Any", resolver.wrapped_func)
    if resolver.info_parameter is not None or declares_awaitable(definition):
        return None
    names = _sources(resolver)
    code = getattr(function, "__code__", None)
    if code is not None and code.co_argcount == 1 and list(code.co_varnames[:1]) == names:
        return Getter(function)  # by position, at half the cost
    return Getter(lambda row: function(**dict.fromkeys(names, row)))


def declares_awaitable(definition: GraphQLField) -> bool:
    """Whether a function does its part at once, and says that what it gives is to be awaited."""
    field = _field_behind(definition)
    function: Any = field and field.base_resolver and field.base_resolver.wrapped_func
    return get_origin(getattr(function, "__annotations__", {}).get("return")) is Awaitable


def resolver_of(schema: GraphQLSchema, definition: GraphQLField) -> Resolver | None:
    """The function behind a field that may be called directly, or None where Strawberry must call it."""
    field = _field_behind(definition)
    if field is None or field.base_resolver is None:
        return None
    strawberry_schema: Any = vars(schema)["_strawberry_schema"]
    if strawberry_schema.schema_converter._get_field_exception_handlers(field):
        return None
    info_class: Any = strawberry_schema.config.info_class
    resolver = field.base_resolver
    info = resolver.info_parameter
    return Resolver(
        cast("Any", resolver.wrapped_func),
        tuple(_sources(resolver)),
        None if info is None else info.name,
        lambda raw: info_class(_raw_info=raw, _field=field),
    )


def _sources(resolver: StrawberryResolver[Any]) -> list[str]:
    # A parameter called root that is annotated as the parent is both.
    given = (resolver.self_parameter, resolver.parent_parameter, resolver.root_parameter)
    return list(dict.fromkeys(parameter.name for parameter in given if parameter is not None))


def argument_of(schema: GraphQLSchema, argument: GraphQLArgument) -> Argument | None:
    """How an argument reaches its resolver; None where Strawberry does more than convert its value."""
    known = argument.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    type_: Any = getattr(known, "type", None)
    if not isinstance(known, StrawberryArgument) or isinstance(type_, StrawberryMaybe):
        return None
    if (type_.of_type if isinstance(type_, StrawberryOptional) else type_) is GlobalID:
        return None
    return Argument(known.python_name or "", _Conversions.of(schema).conversion(type_) or _unchanged)


def _unchanged(value: Any) -> Any:
    return value


class _Conversions:
    """Makes of coerced values what resolvers take, as `convert_argument` does.

    `convert_argument` looks up the type of each field of an input again for each value, which took more than
    a third of the time of recordRuns. Here that is done once for a type.
    """

    _of_schemas: ClassVar[WeakKeyDictionary[GraphQLSchema, _Conversions]] = WeakKeyDictionary()

    def __init__(self, schema: GraphQLSchema) -> None:
        converter: Any = vars(schema)["_strawberry_schema"].schema_converter
        self._registry, self._config = converter.scalar_registry, converter.config
        self._inputs: dict[Any, Callable[[Any], Any]] = {}

    @classmethod
    def of(cls, schema: GraphQLSchema) -> _Conversions:
        """Those of a schema; every schema has one."""
        return cls._of_schemas.setdefault(schema, cls(schema))

    def conversion(self, type_: Any) -> Callable[[Any], Any] | None:
        """What converts a value of a type; None where it stays as it is."""
        if isinstance(type_, LazyType):
            type_ = type_.resolve_type()
        if isinstance(type_, StrawberryMaybe) or type_ is GlobalID:
            return self._public(type_)
        if isinstance(type_, StrawberryOptional):
            return self.conversion(type_.of_type)
        if isinstance(type_, StrawberryList):
            return _list_conversion(self.conversion(type_.of_type))
        if _is_leaf_type(type_, self._registry) or has_enum_definition(type_):
            return None
        if not has_object_definition(type_) or type_.__strawberry_definition__.from_input is not None:
            return self._public(type_)
        if type_ not in self._inputs:
            # An input may hold itself: until it is known it is looked up again.
            self._inputs[type_] = lambda value: self._inputs[type_](value)
            self._inputs[type_] = self._input_conversion(type_)
        return self._inputs[type_]

    def _public(self, type_: Any) -> Callable[[Any], Any]:
        return lambda value: convert_argument(value, type_, self._registry, self._config)

    def _input_conversion(self, type_: Any) -> Callable[[Any], Any]:
        definition = type_.__strawberry_definition__
        left_out = {
            field.python_name: None
            for field in definition.fields
            if field.default_value is MISSING and field.default_factory is MISSING
        }
        conversions = {
            self._config.name_converter.from_field(field): (
                field.python_name,
                self.conversion(field.resolve_type(type_definition=definition)),
            )
            for field in definition.fields
        }

        def convert(value: Any) -> Any:
            if value is None or value is UNSET:
                return value
            values: dict[str, Any] = left_out.copy()
            for name, given in value.items():
                known = conversions.get(name)
                if known is not None:
                    values[known[0]] = given if known[1] is None else known[1](given)
            return type_(**values)

        return convert


def _list_conversion(convert_item: Callable[[Any], Any] | None) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        if value is None or value is UNSET:
            return value
        # Copied also where the items stay: a default is the same list for all requests.
        return list(value) if convert_item is None else [convert_item(item) for item in value]

    return convert


def enum_of(leaf_type: Any) -> Any:
    """The Python enum behind an enum type that Strawberry has made."""
    wrapped = leaf_type.wrapped_cls if isinstance(leaf_type, CustomGraphQLEnumType) else None
    return wrapped if isinstance(wrapped, enum.EnumMeta) else None
