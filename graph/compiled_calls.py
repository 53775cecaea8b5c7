"""Calls of awaited resolvers whose arguments are plain: prepared once per document, then made directly.

graphql-core and Strawberry look at every argument of a field again in each request. For a field of a planned
operation they are looked at once: a literal of a leaf type and a default are constants, and a variable of a
leaf type is handed on, as coercing the variables has made it what the resolver takes. Lists and input objects
are converted by Strawberry's own function for each call. Whatever else comes (a variable within a literal,
one without a value where there is a default, null where none may be, a value that cannot be converted) makes
the standard executor do the field, so that values and errors are its own.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingTypeArgument=false

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from graphql import (
    GraphQLArgument,
    GraphQLError,
    GraphQLField,
    GraphQLResolveInfo,
    ListValueNode,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableNode,
    is_leaf_type,
    is_non_null_type,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.execution.values import get_argument_values
from strawberry.relay.types import GlobalID
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import StrawberryArgument, convert_argument
from strawberry.types.base import StrawberryMaybe, StrawberryOptional
from strawberry.types.fields.resolver import StrawberryResolver

from graph.compiled_leaf import NotPlain, gives_awaitable, standard_field

if TYPE_CHECKING:
    from graph.compiled import CompiledExecutionContext

__all__ = ["FieldCall", "plan_call"]


class _FromVariable(NamedTuple):
    """An argument that is a variable: how its values are made the resolver's, if they are no leaves, whether
    null fits, and whether it may be left out."""

    parameter: str
    variable: str
    convert: Callable[[Any], Any] | None
    nullable: bool
    optional: bool


class _FromLiteral(NamedTuple):
    """An argument that is a list or an object in the document: made for each call, which may change it."""

    parameter: str
    value: Any
    convert: Callable[[Any], Any]


class FieldCall:
    """How a resolver that is awaited is called with the variables of a request.

    `is_coroutine` is false for one that does its part at once and gives something else to await.
    """

    __slots__ = (
        *("_constants", "_function", "_info_name", "_literals", "_make_info", "_sources", "_variables"),
        *("is_coroutine", "takes_info"),
    )

    def __init__(
        self,
        resolver: StrawberryResolver[Any],
        make_info: Callable[[GraphQLResolveInfo], Any],
        constants: dict[str, Any],
        variables: list[_FromVariable],
        literals: list[_FromLiteral],
    ) -> None:
        given = (resolver.self_parameter, resolver.parent_parameter, resolver.root_parameter)
        self._function: Callable[..., Awaitable[Any]] = cast("Any", resolver.wrapped_func)
        self._make_info = make_info
        self._constants = constants
        self._literals = literals
        self._variables = variables
        self._sources = tuple({parameter.name for parameter in given if parameter is not None})
        self._info_name = resolver.info_parameter.name if resolver.info_parameter else None
        self.takes_info = self._info_name is not None
        self.is_coroutine = inspect.iscoroutinefunction(self._function)

    def arguments(self, coerced: Mapping[str, Any]) -> dict[str, Any] | None:
        """The resolver's arguments, or None where the standard executor must find them."""
        arguments = self._constants.copy()
        try:
            for parameter, variable, convert, nullable, optional in self._variables:
                value = coerced.get(variable, Undefined)
                if value is Undefined:
                    if not optional:
                        return None
                elif value is None:
                    if not nullable:
                        return None
                    arguments[parameter] = None
                else:
                    arguments[parameter] = value if convert is None else convert(value)
            for parameter, value, convert in self._literals:
                arguments[parameter] = convert(deepcopy(value))
        except Exception:  # the standard executor makes the error of it, in its place
            return None
        return arguments

    def start(self, source: Any, info: GraphQLResolveInfo, arguments: dict[str, Any]) -> Awaitable[Any]:
        """What the resolver gives to be awaited. Raises what it raises, unless it is a coroutine function."""
        for name in self._sources:
            arguments[name] = source
        if self._info_name is not None:
            arguments[self._info_name] = self._make_info(info)
        return self._function(**arguments)


def plan_call(
    executor: CompiledExecutionContext, definition: GraphQLField, details: FieldDetailsList
) -> FieldCall | None:
    """The call of a field of the executor's operation, or None for a field that is left to the standard."""
    try:
        resolver = standard_field(definition).base_resolver
        if resolver is None or not _may_be_called(resolver):
            return None
        hidden = inspect.getclosurevars(cast("Any", definition.resolve)).nonlocals
        if hidden["field_exception_handlers"]:
            return None
        make_info = hidden["_strawberry_info_from_graphql"]
        converter: GraphQLCoreConverter = inspect.getclosurevars(make_info).nonlocals["self"]
        return FieldCall(resolver, make_info, *_arguments(executor, converter, definition, details))
    except (NotPlain, GraphQLError, KeyError, TypeError):
        return None


def _may_be_called(resolver: StrawberryResolver[Any]) -> bool:
    return type(resolver).__call__ is StrawberryResolver.__call__ and gives_awaitable(resolver)


def _arguments(
    executor: CompiledExecutionContext,
    converter: GraphQLCoreConverter,
    definition: GraphQLField,
    details: FieldDetailsList,
) -> tuple[dict[str, Any], list[_FromVariable], list[_FromLiteral]]:
    node = details[0].node
    values = get_argument_values(
        definition, node, executor.variable_values, details[0].fragment_variable_values
    )
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    constants: dict[str, Any] = {}
    variables: list[_FromVariable] = []
    literals: list[_FromLiteral] = []
    for name, argument in definition.args.items():
        if argument.out_name not in (None, name):
            raise NotPlain
        known = _argument_behind(argument)
        parameter = known.python_name
        value_node = given.get(name)
        if value_node is None and name not in values:
            continue
        convert = None if _is_leaf(argument) else partial(_converted, converter, known)
        if isinstance(value_node, VariableNode):
            nullable = not is_non_null_type(argument.type)
            optional = nullable and argument.default_value is Undefined and argument.default is None
            variables.append(_FromVariable(parameter, value_node.name.value, convert, nullable, optional))
        elif values[name] is None:
            constants[parameter] = None
        elif convert is not None and not _holds_variable(value_node):
            literals.append(_FromLiteral(parameter, values[name], convert))
        elif isinstance(value_node, (ListValueNode, ObjectValueNode)):
            raise NotPlain  # with a variable inside, or a custom scalar that the resolver may change
        else:
            constants[parameter] = values[name]
    return constants, variables, literals


def _converted(converter: GraphQLCoreConverter, argument: StrawberryArgument, value: Any) -> Any:
    """A list or an input object as the resolver takes it."""
    return convert_argument(value, argument.type, converter.scalar_registry, converter.config)


def _holds_variable(node: ValueNode | None) -> bool:
    if isinstance(node, ListValueNode):
        return any(map(_holds_variable, node.values))
    if isinstance(node, ObjectValueNode):
        return any(_holds_variable(each.value) for each in node.fields)
    return isinstance(node, VariableNode)


def _is_leaf(argument: GraphQLArgument) -> bool:
    type_: Any = argument.type
    return is_leaf_type(type_.of_type if is_non_null_type(type_) else type_)


def _argument_behind(argument: GraphQLArgument) -> StrawberryArgument:
    """Strawberry's argument; NotPlain where it takes more than graphql-core's coerced value."""
    known = argument.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    type_: Any = getattr(known, "type", None)
    if not isinstance(known, StrawberryArgument) or isinstance(type_, StrawberryMaybe):
        raise NotPlain
    inner = type_.of_type if isinstance(type_, StrawberryOptional) else type_
    if inner is GlobalID:
        raise NotPlain
    return known
