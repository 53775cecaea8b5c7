"""Queries of one async root field, run without an executor.

Building graphql-core's executor, coercing variables, collecting fields and the coroutines around a field took
a quarter of the time of a page of 20 rows, and half of a dashboard's. Where a planned query has one root
field, nothing of it is needed: the variables are coerced (those of built-in scalar types are only looked at),
the resolver is called and its value completed. The call must be prepared (``compiled_calls``), and the
value's sub-selection be compiled, or be an object whose other fields are such calls again (the blocks of the
dashboard).

Whatever is unusual (a variable of a wrong type, an error, a value that cannot be completed plainly) is left
to the standard executor, which is handed what the root resolver gave, so that this one never runs twice.
Resolvers below it may: those of queries are reads, and their loaders and dashboards remember what they read.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false, reportUnknownParameterType=false, reportMissingTypeArgument=false

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from graphql import (
    GraphQLBoolean,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    GraphQLString,
    OperationType,
    Undefined,
    VariableDefinitionNode,
    get_variable_values,
    is_non_null_type,
    is_object_type,
    type_from_ast,
)
from graphql.execution.collect_fields import FieldDetailsList
from graphql.pyutils import Path

from graph.compiled_calls import FieldCall
from graph.compiled_leaf import Fallback, sober, vet

if TYPE_CHECKING:
    from graph.compiled import CompiledExecutionContext
    from graph.compiled_plans import Selection, SelectionPlan

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


class _Variables(NamedTuple):
    """The variables of an operation; `plain` where all are of built-in scalars and none has a default."""

    schema: GraphQLSchema
    nodes: Sequence[VariableDefinitionNode]
    plain: list[_Variable] | None

    def coerced(self, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Their values, or None where the standard executor must coerce them."""
        if self.plain is not None:
            return self._plain(self.plain, given or {})
        values = get_variable_values(self.schema, self.nodes, dict(given or {}))
        return None if isinstance(values, list) else values.coerced

    def _plain(self, plain: list[_Variable], given: Mapping[str, Any]) -> dict[str, Any] | None:
        coerced: dict[str, Any] = {}
        for name, plain_class, nullable in plain:
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


class _Request(NamedTuple):
    """What differs between the requests of one query."""

    variables: dict[str, Any]
    context: Any
    root: Any


class _Field(NamedTuple):
    """A field whose call is prepared: its value is completed by a function, or is an object of more."""

    name: str
    call: FieldCall
    info: GraphQLResolveInfo
    complete: Callable[[Any], Any] | None
    nested: _Object | None

    def value(self, source: Any, request: _Request) -> Awaitable[Any]:
        """What the resolver gives. Raises Fallback where the standard executor must call it."""
        arguments = self.call.arguments(request.variables)
        if arguments is None:
            raise Fallback
        info = self.info
        if self.call.takes_info:
            info = info._replace(
                root_value=request.root,
                variable_values=request.variables,  # pyright: ignore[reportArgumentType] - as Strawberry has it
                context=request.context,
            )
        return self.call.start(source, info, arguments)

    async def completed(self, value: Any, request: _Request) -> Any:
        """The value as the answer holds it."""
        if self.complete is not None:
            return self.complete(value)
        return await cast("_Object", self.nested).completed(value, request)


class _Object(NamedTuple):
    """An object some of whose fields are calls; with `tasks` they run at once, else one after the other."""

    selection: Selection
    fields: list[_Field]
    tasks: bool

    async def completed(self, value: Any, request: _Request) -> dict[str, Any]:
        """The object's fields in the selection's order."""
        read = self.selection.read
        if value is None:
            raise Fallback
        if type(value) not in sober:
            vet(value)
        plain = read(value) if read is not None else {}
        return self.selection.merge(plain, await self._called(value, request))

    async def _called(self, source: Any, request: _Request) -> dict[str, Any]:
        if self.tasks:
            parts = await asyncio.gather(*[self._field(field, source, request) for field in self.fields])
            return dict(parts)
        # Every resolver has done its part before the first of what they gave is awaited.
        started = [(field, field.value(source, request)) for field in self.fields]
        return {field.name: await field.completed(await given, request) for field, given in started}

    async def _field(self, field: _Field, source: Any, request: _Request) -> tuple[str, Any]:
        return field.name, await field.completed(await field.value(source, request), request)


class DirectRun:
    """How one query runs without an executor."""

    __slots__ = ("_field", "_variables")

    def __init__(self, field: _Field, variables: _Variables) -> None:
        self._field = field
        self._variables = variables

    def coerced(self, given: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """The values of the variables, or None where the standard executor must coerce them."""
        return self._variables.coerced(given)

    async def run(
        self, variables: dict[str, Any], context_value: Any, root_value: Any
    ) -> tuple[dict[str, Any] | None, Outcome | None]:
        """The query's data; or None, and what the resolver gave if it was called."""
        field, request = self._field, _Request(variables, context_value, root_value)
        try:
            value = await field.value(root_value, request)
        except Fallback:
            return None, None
        except Exception as error:
            return None, Outcome(None, error)
        try:
            if field.complete is not None:
                return {field.name: field.complete(value)}, None
            return {field.name: await field.completed(value, request)}, None
        except (Exception, Fallback):
            return None, Outcome(value)


def plan_run(
    executor: CompiledExecutionContext, plan: SelectionPlan, root_type: GraphQLObjectType
) -> DirectRun | None:
    """How the operation that was planned runs directly; None where it cannot."""
    operation = executor.operation
    if operation.operation is not OperationType.QUERY or len(plan.root_fields) != 1:
        return None
    ((name, details),) = plan.root_fields.items()
    field = _field(executor, plan, root_type, name, details, None)
    if field is None:
        return None
    nodes = operation.variable_definitions or ()
    variables = _Variables(executor.schema, nodes, _plain_variables(executor.schema, nodes))
    return DirectRun(field, variables)


def _plain_variables(
    schema: GraphQLSchema, nodes: Sequence[VariableDefinitionNode]
) -> list[_Variable] | None:
    variables: list[_Variable] = []
    for node in nodes:
        type_: Any = type_from_ast(schema, node.type)
        nullable = not is_non_null_type(type_)
        plain_class = _PLAIN_CLASSES.get(type_ if nullable else type_.of_type)
        if plain_class is None or node.default_value is not None:
            return None
        variables.append(_Variable(node.variable.name.value, plain_class, nullable))
    return variables


def _field(
    executor: CompiledExecutionContext,
    plan: SelectionPlan,
    parent_type: GraphQLObjectType,
    name: str,
    details: FieldDetailsList,
    above: Path | None,
) -> _Field | None:
    prepared = plan.calls.get(id(details))
    if prepared is None:
        return None
    definition, call = prepared
    path = Path(above, name, parent_type.name)
    _, complete = plan.completers.get(id(details), (None, None))
    nested = None
    if complete is None:
        nested = _object(executor, plan, definition.type, details, path)
        if nested is None:
            return None
    info = executor.build_resolve_info(definition, [each.node for each in details], parent_type, path)
    # Nothing of the request that was planned with may be kept.
    info = info._replace(root_value=None, context=None, abort_signal=None, async_helpers=None)
    return _Field(name, call, info, complete, nested)


def _object(
    executor: CompiledExecutionContext,
    plan: SelectionPlan,
    return_type: Any,
    details: FieldDetailsList,
    path: Path,
) -> _Object | None:
    type_ = return_type.of_type if is_non_null_type(return_type) else return_type
    if not is_object_type(type_) or type_.is_type_of is not None:
        return None
    grouped = executor.collect_subfields(type_, details).grouped_field_set
    selection = plan.selection(executor, type_, grouped)
    fields = [_field(executor, plan, type_, name, each, path) for name, each in selection.rest.items()]
    known = [field for field in fields if field is not None]
    if len(known) < len(fields):
        return None
    return _Object(selection, known, tasks=any(field.call.is_coroutine for field in known))
