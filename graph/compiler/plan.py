"""Plans an operation once: collects its fields into selections, and says what cannot be planned."""

# Not strict: graphql-core's generic types are bare, so that everything would be partly unknown.
# pyright: basic
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from types import CoroutineType
from typing import Any

import graphql
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSkipDirective,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    VariableValues,
)

from graph.compiler.adapter import Path, ResolveInfo, declares_awaitable, getter_of, is_awaitable
from graph.compiler.arguments import Call, call_of
from graph.compiler.execution import Request, completer, execute_operation, guarded, handle_error, then
from graph.compiler.source import write_reader, write_value_function

_MAX_FIELDS = 1_000
_MAX_LEVELS = 40
_MAX_FIELDS_OF_PLANS = 10_000
"""Fields of all plans together; one takes some 3 KB."""

_CONDITIONS = (GraphQLSkipDirective.name, GraphQLIncludeDirective.name)

Run = Callable[[Any, Any], Awaitable[tuple[dict[str, Any] | None, list[graphql.GraphQLError]]]]
"""Runs a request with the context and the root value that resolvers get; gives data and errors."""


class _CannotPlan(Exception):
    """The operation holds something that plans cannot say."""


class Compiler:
    """Plans operations of one schema."""

    def __init__(self, schema: graphql.GraphQLSchema, *, hide_suggestions: bool) -> None:
        self.schema = schema
        self.hide_suggestions = hide_suggestions
        self._plans: OrderedDict[tuple[Operation, tuple[Any, ...]], tuple[Selection | None, int]] = (
            OrderedDict()
        )
        self.planned_fields = 0

    def plan(self, operation: Operation, choice: tuple[Any, ...], values: VariableValues) -> Selection | None:
        """The plan for a choice of the operation's conditions; None where it cannot be planned.

        Plans that were not asked for longest make room for new ones.
        """
        key = (operation, choice)
        known = self._plans.get(key)
        if known is not None:
            self._plans.move_to_end(key)
            return known[0]
        planner, plan = _Planner(operation, values), None
        root = self.schema.get_root_type(operation.node.operation)
        if root is not None and all(value is True or value is False for value in choice):
            with suppress(_CannotPlan, graphql.GraphQLError):
                plan = planner.selection(root, [operation.node.selection_set], 0)
        self._plans[key] = (plan, planner.fields)
        self.planned_fields += planner.fields
        while self.planned_fields > _MAX_FIELDS_OF_PLANS:
            _, (_, fields) = self._plans.popitem(last=False)
            self.planned_fields -= fields
        return plan

    def operation(self, document: graphql.DocumentNode, node: OperationDefinitionNode) -> Operation | None:
        """What is needed to plan an operation of a valid document; None where it cannot be planned."""
        fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
        if node.operation is OperationType.SUBSCRIPTION or node.directives:
            return None
        conditions: set[str] = set()
        for each in _nodes((node, *fragments.values())):
            if isinstance(each, FieldNode) and each.name.value in ("__schema", "__type"):
                return None
            if isinstance(each, FragmentDefinitionNode) and each.variable_definitions:
                return None
            for directive in each.directives or ():
                if directive.name.value not in _CONDITIONS:
                    return None
                values = [argument.value for argument in directive.arguments or ()]
                conditions.update(v.name.value for v in values if isinstance(v, graphql.VariableNode))
        return Operation(self, node, fragments, sorted(conditions))


class Operation:
    """One operation. It has a plan for each choice of the variables of @skip and @include."""

    def __init__(
        self,
        compiler: Compiler,
        node: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
        conditions: Sequence[str],
    ) -> None:
        self.compiler = compiler
        self.node = node
        self.fragments = fragments
        self._conditions = conditions

    def run(self, given: Mapping[str, Any] | None) -> Run | None:
        """How a request with these variables runs; None where the standard executor must run it."""
        nodes = self.node.variable_definitions or ()
        values = graphql.get_variable_values(self.compiler.schema, nodes, dict(given or {}), 1)
        if isinstance(values, list):
            return None
        choice = tuple([values.coerced.get(name) for name in self._conditions])
        plan = self.compiler.plan(self, choice, values)
        return None if plan is None else partial(self._execute, plan, values)

    async def _execute(self, plan: Selection, values: VariableValues, context: Any, root: Any) -> Any:
        in_series = self.node.operation is OperationType.MUTATION
        return await execute_operation(plan, Request(values, context, root), in_series=in_series)


class Selection:
    """The fields that are selected of an object type, in their order.

    `calls` are those that the function `read` does not read: they call resolvers, or something below does. If
    all of them have done their part when they are called, they are awaited in turn, which needs no tasks.
    """

    def __init__(self, schema: graphql.GraphQLSchema, type_: GraphQLObjectType, fields: list[Field]) -> None:
        self.schema = schema
        self.type = type_
        self.fields = fields
        self.calls = [field for field in fields if not field.is_getter]
        done = [field.has_done_its_part for field in self.calls]
        self.is_awaited_in_turn = bool(done) and all(done)

    @cached_property
    def read(self) -> Callable[[Any], dict[str, Any]] | None:
        """The function that reads the getters of a row; None where it would be too large."""
        return write_reader(self)


class Field:
    """One field of a selection: all nodes of one response name. `members` are its selections by type name.

    `is_value_plain` says that nothing is called to complete its value but getters, and `is_getter` that it is
    one itself.
    """

    def __init__(
        self,
        operation: Operation,
        parent: GraphQLObjectType,
        nodes: list[FieldNode],
        definition: graphql.GraphQLField,
        members: dict[str, Selection],
        values: VariableValues,
    ) -> None:
        node = nodes[0]
        self.operation = operation
        self.schema = operation.compiler.schema
        self.parent = parent
        self.name = (node.alias or node.name).value
        self.field_name = node.name.value
        self.nodes = nodes
        self.type: Any = definition.type
        self.members = members
        self.is_typename = definition is graphql.TypeNameMetaFieldDef
        self.getter = None if node.arguments else getter_of(definition)
        named = graphql.get_named_type(definition.type)
        self.is_value_plain = graphql.is_leaf_type(named) or (
            graphql.is_object_type(named) and not members[named.name].calls
        )
        self.is_getter = self.is_typename or (self.getter is not None and self.is_value_plain)
        self.has_done_its_part = declares_awaitable(definition)
        self._complete = completer(definition.type, self)
        if self.getter is not None:
            read = self.getter.read
            self._call: Call = lambda row, _info, _variables: read(row)
        else:
            self._call = call_of(operation.compiler, definition, node, values)

    @cached_property
    def complete_plainly(self) -> Callable[[Any], Any] | None:
        """The written function that completes the value, if nothing is called in it; else None."""
        return write_value_function(self) if self.members and self.is_value_plain else None

    def complete(self, value: Any, info: Any, path: Path, request: Request) -> Any:
        """Complete a value of the field, or give a coroutine that does. Raises what is wrong with it."""
        function = self.complete_plainly
        if function is not None:
            with suppress(Exception):  # below, the same value gives its own error
                return function(value)
        return self._complete(value, info, path, request)

    def execute(self, row: Any, above: Path | None, request: Request) -> Any:
        """Resolve and complete the field of a row, or give a coroutine that does.

        Raises the located error of a field that may not be null.
        """
        path = Path(above, self.name, self.parent.name)
        info: Any = ResolveInfo(
            self.field_name,
            self.nodes,
            self.type,
            self.parent,
            path,
            self.schema,
            self.operation.fragments,
            request.root,
            self.operation.node,
            request.variables.coerced,
            request.context,
            is_awaitable,
            None,
            request.helpers,
            None,  # pyright: ignore[reportArgumentType]
        )
        try:
            value = self._call(row, info, request.variables)
            if is_awaitable(value):
                request.keep((value,))
                completed = then(value, self.complete, info, path, request)
            else:
                completed = self.complete(value, info, path, request)
        except Exception as error:
            return handle_error(error, self, self.type, path, request)
        if type(completed) is not CoroutineType:
            return completed
        request.keep((completed,))
        return request.later(guarded(completed, self, self.type, path, request))


class _Planner:
    """Makes the selections of an operation for one choice of its conditions."""

    def __init__(self, operation: Operation, values: VariableValues) -> None:
        self._operation = operation
        self._schema = operation.compiler.schema
        self._values = values
        self.fields = 1

    def selection(self, type_: GraphQLObjectType, sets: Sequence[SelectionSetNode], level: int) -> Selection:
        """The selection of an object type out of the selection sets of a field."""
        if level > _MAX_LEVELS:
            raise _CannotPlan
        grouped: dict[str, list[FieldNode]] = {}
        visited: set[str] = set()
        for selection_set in sets:
            self._collect(type_, selection_set, grouped, visited)
        fields = [self._field(type_, nodes, level) for nodes in grouped.values()]
        return Selection(self._schema, type_, fields)

    def _field(self, parent: GraphQLObjectType, nodes: list[FieldNode], level: int) -> Field:
        definition = self._schema.get_field(parent, nodes[0].name.value)
        self.fields += 1
        if definition is None or self.fields > _MAX_FIELDS:
            raise _CannotPlan
        type_: Any = graphql.get_named_type(definition.type)
        members: dict[str, Selection] = {}
        if not graphql.is_leaf_type(type_):
            sets = [node.selection_set for node in nodes if node.selection_set]
            is_object = graphql.is_object_type(type_)
            for each in [type_] if is_object else self._schema.get_possible_types(type_):
                members[each.name] = self.selection(each, sets, level + 1)
        return Field(self._operation, parent, nodes, definition, members, self._values)

    def _collect(
        self,
        type_: GraphQLObjectType,
        selection_set: SelectionSetNode,
        grouped: dict[str, list[FieldNode]],
        visited: set[str],
    ) -> None:
        """Group the fields by response name, as the specification's CollectFields does."""
        for node in selection_set.selections:
            if not self._is_included(node):
                continue
            if isinstance(node, FieldNode):
                grouped.setdefault((node.alias or node.name).value, []).append(node)
            elif isinstance(node, InlineFragmentNode):
                if self._applies(node, type_):
                    self._collect(type_, node.selection_set, grouped, visited)
            elif isinstance(node, FragmentSpreadNode) and node.name.value not in visited:
                fragment = self._operation.fragments[node.name.value]
                if self._applies(fragment, type_):
                    visited.add(node.name.value)
                    self._collect(type_, fragment.selection_set, grouped, visited)

    def _is_included(self, node: graphql.SelectionNode) -> bool:
        if not node.directives:
            return True
        skip = graphql.get_directive_values(GraphQLSkipDirective, node, self._values)
        include = graphql.get_directive_values(GraphQLIncludeDirective, node, self._values)
        return not (skip and skip["if"]) and not (include and not include["if"])

    def _applies(self, node: InlineFragmentNode | FragmentDefinitionNode, type_: GraphQLObjectType) -> bool:
        if node.type_condition is None:
            return True
        named: Any = graphql.type_from_ast(self._schema, node.type_condition)
        return named is type_ or (graphql.is_abstract_type(named) and self._schema.is_sub_type(named, type_))


def _nodes(roots: Sequence[Any]) -> Iterator[Any]:
    """The operation, the fragments and all selections in them."""
    stack = list(roots)
    while stack:
        node = stack.pop()
        yield node
        selection_set = getattr(node, "selection_set", None)
        if selection_set is not None:
            stack.extend(selection_set.selections)
