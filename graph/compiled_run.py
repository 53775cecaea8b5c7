"""Queries of one async root field, run without an executor.

Building graphql-core's executor, coercing variables, collecting fields and the coroutines around a field took
a quarter of the time of a page of 20 rows. Where a planned query has one root field, whose call is prepared
(``compiled_calls``) and whose whole sub-selection is compiled, nothing of it is needed: the variables of
built-in scalar types are checked, the resolver is called and its value completed.

Whatever is unusual (a variable of another type, an error, a value that cannot be completed plainly) is left
to the standard executor, which is handed what the resolver gave, so that no resolver runs twice.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingTypeArgument=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from graphql import (
    GraphQLBoolean,
    GraphQLField,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLString,
    OperationType,
    Undefined,
    is_non_null_type,
    type_from_ast,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path

from graph.compiled_calls import FieldCall
from graph.compiled_leaf import Fallback

if TYPE_CHECKING:
    from graph.compiled import CompiledExecutionContext

__all__ = ["DirectRun", "Outcome", "plan_run"]

_PLAIN_CLASSES: dict[Any, type] = {
    GraphQLString: str,
    GraphQLID: str,
    GraphQLBoolean: bool,
    GraphQLFloat: float,
    GraphQLInt: int,
}
"""The class whose values a scalar takes over as they are, from JSON."""


class Outcome(NamedTuple):
    """What a resolver gave: its value, or the exception it raised."""

    value: Any
    error: Exception | None = None

    async def replay(self) -> Any:
        """Give or raise it again."""
        if self.error is not None:
            raise self.error
        return self.value


class _Variable(NamedTuple):
    name: str
    plain_class: type
    nullable: bool


class DirectRun:
    """How one query runs without an executor."""

    __slots__ = ("_call", "_complete", "_info", "_response_name", "_variables")

    def __init__(
        self,
        response_name: str,
        call: FieldCall,
        complete: Callable[[Any], Any],
        info: GraphQLResolveInfo,
        variables: list[_Variable],
    ) -> None:
        self._response_name = response_name
        self._call = call
        self._complete = complete
        self._info = info
        self._variables = variables

    def coerced(self, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The values of the variables, or None where the standard executor must coerce them."""
        coerced: dict[str, Any] = {}
        if given is None:
            given = coerced
        for name, plain_class, nullable in self._variables:
            value = given.get(name, Undefined)
            if value.__class__ is plain_class:
                if plain_class is int and not -0x8000_0000 <= value <= 0x7FFF_FFFF:
                    return None
                coerced[name] = value
            elif not nullable:
                return None
            elif value is None:
                coerced[name] = None
            elif value is not Undefined:
                return None
        return coerced

    async def resolve(self, coerced: dict[str, Any], context_value: Any, root_value: Any) -> Outcome | None:
        """What the resolver gives with these variables; None where the standard executor must call it."""
        arguments = self._call.arguments(coerced)
        if arguments is None:
            return None
        info = self._info._replace(
            root_value=root_value,
            variable_values=coerced,  # pyright: ignore[reportArgumentType] - as Strawberry's executor does
            context=context_value,
        )
        try:
            return Outcome(await self._call.start(root_value, info, arguments))
        except Exception as error:
            return Outcome(None, error)

    def completed(self, outcome: Outcome) -> dict[str, Any] | None:
        """The query's data, or None where the standard executor must complete it."""
        if outcome.error is not None:
            return None
        try:
            return {self._response_name: self._complete(outcome.value)}
        except (Exception, Fallback):
            return None


def plan_run(
    executor: CompiledExecutionContext,
    root_type: GraphQLObjectType,
    details: FieldDetailsList,
    definition: GraphQLField,
    call: FieldCall,
    complete: Callable[[Any], Any],
) -> DirectRun | None:
    """How the executor's operation runs directly, its only root field being this; None where it cannot."""
    operation = executor.operation
    if operation.operation is not OperationType.QUERY:
        return None
    variables: list[_Variable] = []
    for node in operation.variable_definitions or ():
        type_: Any = type_from_ast(executor.schema, node.type)
        nullable = not is_non_null_type(type_)
        plain_class = _PLAIN_CLASSES.get(type_ if nullable else type_.of_type)
        if plain_class is None or node.default_value is not None:
            return None
        variables.append(_Variable(node.variable.name.value, plain_class, nullable))
    node = details[0].node
    response_name = node.alias.value if node.alias else node.name.value
    info = executor.build_resolve_info(
        definition,
        [each.node for each in details],
        root_type,
        Path(None, response_name, root_type.name),
    )
    # Nothing of the request that was planned with may be kept.
    info = info._replace(root_value=None, context=None, abort_signal=None, async_helpers=None)
    return DirectRun(response_name, call, complete, info, variables)
