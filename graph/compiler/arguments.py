"""How the resolver of a field is called: directly where that is the same, else as graphql-core does it.

graphql-core and Strawberry look at each argument again for each call. Here a literal of a leaf type is looked
at once, and a variable is handed on, converted if it is no leaf. Where that would not give the value (a
variable that is left out while the argument has a default, null where none may be, a value that cannot be
converted) the call is made by the public way, which makes the value or the error.
"""

# Not strict: graphql-core's generic types are bare, so that everything would be partly unknown.
# pyright: basic
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import graphql
from graphql import FieldNode, GraphQLField, GraphQLResolveInfo, GraphQLSchema, Undefined, VariableValues

from graph.compiler.adapter import argument_of, resolver_of

if TYPE_CHECKING:
    from graph.compiler.plan import Compiler

Call = Callable[[Any, GraphQLResolveInfo, VariableValues], Any]
"""Calls a field's resolver with its row, the info and the variables."""


class _Variable(NamedTuple):
    """An argument that is a variable: what converts it, and whether null fits and it may be left out."""

    parameter: str
    name: str
    convert: Callable[[Any], Any] | None
    is_nullable: bool
    may_be_left_out: bool


def call_of(compiler: Compiler, definition: GraphQLField, node: FieldNode, values: VariableValues) -> Call:
    """The call of a field. `values` are the variables of the request for which it is planned."""
    public = _public_call(definition, node, compiler.hide_suggestions)
    resolver = resolver_of(compiler.schema, definition)
    prepared = None if resolver is None else _prepared(compiler.schema, definition, node, values)
    if resolver is None or prepared is None:
        return public
    constants, from_variables = prepared
    function, rows, info_name, make_info = resolver

    def call(row: Any, info: GraphQLResolveInfo, variables: VariableValues) -> Any:
        arguments = constants.copy()
        if not _fill(arguments, from_variables, variables.coerced):
            return public(row, info, variables)
        for name in rows:
            arguments[name] = row
        if info_name is not None:
            arguments[info_name] = make_info(info)
        return function(**arguments)

    return call


def _public_call(definition: GraphQLField, node: FieldNode, hide_suggestions: bool) -> Call:
    """The call as graphql-core makes it."""
    resolve: Any = definition.resolve or graphql.default_field_resolver
    if not definition.args and not node.arguments:
        return lambda row, info, _variables: resolve(row, info)

    def call(row: Any, info: GraphQLResolveInfo, variables: VariableValues) -> Any:
        arguments = graphql.get_argument_values(definition, node, variables, None, hide_suggestions)
        return resolve(row, info, **arguments)

    return call


def _fill(arguments: dict[str, Any], from_variables: list[_Variable], coerced: Mapping[str, Any]) -> bool:
    """Add the arguments that differ between calls; False where the public way must find them."""
    try:
        for parameter, name, convert, is_nullable, may_be_left_out in from_variables:
            value = coerced.get(name, Undefined)
            if value is Undefined:
                if not may_be_left_out:
                    return False
            elif value is None:
                if not is_nullable:
                    return False
                arguments[parameter] = None
            else:
                arguments[parameter] = value if convert is None else convert(value)
    except Exception:
        return False
    return True


def _prepared(
    schema: GraphQLSchema, definition: GraphQLField, node: FieldNode, variables: VariableValues
) -> tuple[dict[str, Any], list[_Variable]] | None:
    """The arguments that never differ, and those that do; None where they are left to the public way."""
    try:
        values = graphql.get_argument_values(definition, node, variables)
    except graphql.GraphQLError:
        return None
    given = {argument.name.value: argument.value for argument in node.arguments or ()}
    constants: dict[str, Any] = {}
    from_variables: list[_Variable] = []
    for name, argument in definition.args.items():
        known = argument_of(schema, argument)
        if known is None or argument.out_name not in (None, name):
            return None
        value_node = given.get(name)
        if value_node is None and name not in values:
            continue
        type_: Any = argument.type
        is_nullable = not graphql.is_non_null_type(type_)
        is_leaf = graphql.is_leaf_type(type_ if is_nullable else type_.of_type)
        if isinstance(value_node, graphql.VariableNode):
            has_default = argument.default_value is not Undefined or argument.default is not None
            convert, left_out = None if is_leaf else known.convert, is_nullable and not has_default
            from_variables.append(
                _Variable(known.parameter, value_node.name.value, convert, is_nullable, left_out)
            )
        elif values[name] is None:
            constants[known.parameter] = None
        elif not is_leaf or isinstance(values[name], (list, dict)):
            return None  # made anew for each call, as the resolver may change it
        else:
            constants[known.parameter] = values[name]
    return constants, from_variables
