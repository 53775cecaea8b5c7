"""Compiled completion: plain selections become one Python function, compiled once per document.

A plain account of when it applies and when it falls back
---------------------------------------------------------
graphql-core spends about 7 µs on every leaf of every row. :class:`CompiledExecutionContext` gives results
equal to the standard executor's (data, errors, paths, locations, and the order of both) but completes *plain*
fields by a function written for the selection.

A field is plain when it takes no argument, has no extension and no permission, and is either read by the
default resolver (an attribute, or a dictionary's key) or by a synchronous Strawberry method that takes only
the row (``self``, ``root``, ``Parent``). Its type may be anything: scalars, enums, objects, lists,
interfaces, unions, and non-null at every level; an object's own selection must be plain too.

- The value of *any* field whose whole sub-selection is plain is completed by one function, also when the
  field itself is not plain (an async resolver of the root, say): this is the hot path.
- In a mixed selection the plain fields are completed by one function, the others by the standard executor.
- Fields of the root types are always *resolved* by the standard executor: mutations and root resolvers run
  once.

The standard executor does the whole operation when schema middleware, a custom default resolver, a custom
type resolver or a custom test for awaitables is in use, when the document holds ``@defer``, ``@stream`` or
fragment variables, when a variable of ``@skip`` or ``@include`` has no value, and when a document of more
than 100 nodes is seen for the first time (compiling costs some 40 µs a field). It completes a single value
again, from the same value, when the compiled function meets something unusual: an exception, null in a
non-null place, an awaitable, a generator or any iterable but list and tuple, a value of the wrong type, a
type predicate that reads more of ``info`` than the schema and the field's name. Therefore a plain method
may be called more than once for one row (once more for each level that falls back): it must be a getter
without effects, and so must ``is_type_of``, ``resolve_type`` and the serialisers of scalars. A field found
to give awaitables is treated as not plain from then on.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeArgument=false

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from threading import Lock
from typing import Any, cast

from graphql import (
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    Undefined,
    VariableNode,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution.collect_fields import CollectedFields, DeferUsage, FieldDetailsList, GroupedFieldSet
from graphql.execution.execute import assume_not_awaitable
from graphql.pyutils import AwaitableOrValue, Path, is_awaitable
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.compiled_code import CodeWriter, Scope
from graph.compiled_leaf import Fallback, NotPlain

__all__ = ["CompiledExecutionContext", "PlanCache", "Selection", "SelectionPlan", "plans"]

_MAX_OPERATIONS = 512
_MAX_VALUATIONS = 8
_EAGER_NODES = 100
_KNOWN_AWAITABLE_TESTS = (is_awaitable, optimized_is_awaitable, assume_not_awaitable)
_UNPLANNED_DIRECTIVES = ("defer", "stream")


class Selection:
    """One collected selection set: `read` completes its plain fields from a row, `rest` are the others."""

    __slots__ = ("grouped", "order", "read", "rest")

    def __init__(
        self,
        grouped: GroupedFieldSet,
        read: Callable[[Any], dict[str, Any]] | None,
        plain: Sequence[str],
    ) -> None:
        self.grouped = grouped
        self.read = read
        self.order = tuple(grouped)
        self.rest = {name: details for name, details in grouped.items() if name not in plain}

    def merge(self, plain: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
        """Both parts in the selection's order; fields the schema does not know are in neither."""
        return {
            name: plain[name] if name in plain else others[name]
            for name in self.order
            if name in plain or name in others
        }


class SelectionPlan:
    """The compiled functions of one operation under one valuation of its @skip and @include variables.

    ``completers`` maps the identity of a field's details to the field's type and the function that completes
    its value. The collected fields are kept, so that identities stay valid as long as the plan.
    """

    def __init__(
        self, executor: CompiledExecutionContext, root: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> None:
        self.root_fields = grouped
        self.sub_fields: dict[tuple[GraphQLObjectType, int], tuple[FieldDetailsList, CollectedFields]] = {}
        self.completers: dict[int, tuple[GraphQLOutputType, Callable[[Any], Any]]] = {}
        self._selections: dict[int, Selection] = {}
        self._cache = executor.plan_cache
        executor.follow(self)
        self._compile_values(executor, root, grouped)

    def selection(
        self, executor: CompiledExecutionContext, parent_type: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> Selection:
        """The compiled form of a collected selection set of this plan."""
        known = self._selections.get(id(grouped))
        return known if known is not None else self._compile_selection(executor, parent_type, grouped)

    def _scope(self, executor: CompiledExecutionContext) -> Scope:
        return Scope(executor.schema, executor.collect_subfields, self._cache.is_demoted, self._cache.demote)

    def _compile_selection(
        self, executor: CompiledExecutionContext, parent_type: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> Selection:
        read, plain = None, []
        try:
            writer = CodeWriter(self._scope(executor))
            name, plain = writer.fields_function(parent_type, grouped)
            read = writer.finish()[name] if plain else None
        except RecursionError:
            plain = []
        selection = Selection(grouped, read, plain)
        self._compile_values(executor, parent_type, selection.rest)
        self._selections[id(grouped)] = selection
        return selection

    def _compile_values(
        self, executor: CompiledExecutionContext, parent_type: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> None:
        for details in grouped.values():
            definition = executor.schema.get_field(parent_type, details[0].node.name.value)
            if definition is None:
                continue
            try:
                writer = CodeWriter(self._scope(executor))
                name = writer.value_function(definition.type, details)
                self.completers[id(details)] = (definition.type, writer.finish()[name])
            except (NotPlain, RecursionError):
                continue


class _Operation:
    """What is known of one operation: the variables that choose its fields, and a plan for each choice."""

    def __init__(
        self, schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Fragments
    ) -> None:
        self.schema = schema
        self.operation = operation
        self.fragments = tuple(fragments.values())
        self.plans: OrderedDict[tuple[bool, ...], SelectionPlan] = OrderedDict()
        nodes = list(_nodes((operation, *self.fragments)))
        self.can_be_planned = not any(
            fragment.variable_definitions for fragment in self.fragments
        ) and not any(node.name.value in _UNPLANNED_DIRECTIVES for node in nodes if node.kind == "directive")
        self.condition_names = tuple(sorted({name for node in nodes for name in _condition_names(node)}))
        # Compiling costs some 40 µs a field: a large document must come twice before it is worth that.
        self.is_due = len(nodes) <= _EAGER_NODES

    def is_for(self, schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Fragments) -> bool:
        known = self.fragments
        return (
            self.operation is operation
            and self.schema is schema
            and len(known) == len(fragments)
            and all(mine is theirs for mine, theirs in zip(known, fragments.values(), strict=True))
        )


Fragments = dict[str, FragmentDefinitionNode]


def _nodes(roots: Sequence[Node]) -> Iterator[Any]:
    """Every AST node below the roots that can carry or be a directive, without recursion."""
    stack: list[Any] = list(roots)
    while stack:
        node = stack.pop()
        yield node
        stack.extend(getattr(node, "directives", None) or ())
        selection_set = getattr(node, "selection_set", None)
        if selection_set is not None:
            stack.extend(selection_set.selections)


def _condition_names(node: Any) -> Iterator[str]:
    if node.kind == "directive" and node.name.value in ("skip", "include"):
        for argument in node.arguments:
            if isinstance(argument.value, VariableNode):
                yield argument.value.name.value


class PlanCache:
    """Plans by operation, least recently used out first: at most `max_operations`, each with 8 valuations.

    Operations are told apart by identity: plans are found again only if the caller caches parsed documents.
    Safe to use from several threads.
    """

    def __init__(self, max_operations: int = _MAX_OPERATIONS) -> None:
        self._max_operations = max_operations
        self._operations: OrderedDict[int, _Operation] = OrderedDict()
        self._demoted: dict[int, GraphQLField] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._operations)

    def is_demoted(self, definition: GraphQLField) -> bool:
        """Whether the field was seen to give awaitables."""
        return id(definition) in self._demoted

    def demote(self, definition: GraphQLField) -> None:
        """Treat the field as not plain from now on; every plan is made anew."""
        with self._lock:
            if id(definition) not in self._demoted:
                self._demoted[id(definition)] = definition
                self._operations.clear()

    def plan_for(
        self, executor: CompiledExecutionContext, root_type: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> SelectionPlan | None:
        """The plan of the executor's operation, made if need be; None if the standard must do it all."""
        operation = self._operation(executor)
        if not operation.can_be_planned or not operation.is_due:
            operation.is_due = True
            return None
        coerced = executor.variable_values.coerced
        valuation = tuple([coerced.get(name) for name in operation.condition_names])
        for value in valuation:
            if value is not True and value is not False:
                return None
        valuation = cast("tuple[bool, ...]", valuation)
        plan = operation.plans.get(valuation)
        if plan is None:
            plan = SelectionPlan(executor, root_type, grouped)
            with self._lock:
                operation.plans[valuation] = plan
                while len(operation.plans) > _MAX_VALUATIONS:
                    operation.plans.popitem(last=False)
        return plan

    def _operation(self, executor: CompiledExecutionContext) -> _Operation:
        schema, node, fragments = executor.schema, executor.operation, executor.fragment_definitions
        with self._lock:
            known = self._operations.get(id(node))
            if known is not None and known.is_for(schema, node, fragments):
                self._operations.move_to_end(id(node))
                return known
        operation = _Operation(schema, node, fragments)
        with self._lock:
            self._operations[id(node)] = operation
            while len(self._operations) > self._max_operations:
                self._operations.popitem(last=False)
        return operation


plans = PlanCache()
"""The process's plans."""


class CompiledExecutionContext(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's executor with compiled completion: an ``execution_context_class`` (``executor_class``)."""

    plan_cache = plans
    plan: SelectionPlan | None = None
    _completers: dict[int, tuple[GraphQLOutputType, Callable[[Any], Any]]] = {}

    def follow(self, plan: SelectionPlan) -> None:
        """Use the plan's functions and collected fields for the rest of the operation."""
        self.plan = plan
        self._completers = plan.completers
        self._relevant_sub_fields = plan.sub_fields

    def _may_be_planned(self) -> bool:
        middleware = self.middleware_manager
        return (
            (middleware is None or not middleware.middlewares)
            and self.field_resolver is default_field_resolver
            and self.type_resolver is default_type_resolver
            and self.is_awaitable in _KNOWN_AWAITABLE_TESTS
        )

    def execute_collected_root_fields(
        self,
        root_type: GraphQLObjectType,
        root_value: Any,
        grouped_field_set: GroupedFieldSet,
        serially: bool,
        new_defer_usages: Sequence[DeferUsage],
    ) -> AwaitableOrValue[dict[str, Any]]:
        """Find the operation's plan, then execute as the standard does, with the plan's collected fields."""
        if self._may_be_planned() and not new_defer_usages:
            plan = self.plan_cache.plan_for(self, root_type, grouped_field_set)
            if plan is not None:
                self.follow(plan)
                grouped_field_set = plan.root_fields
        return super().execute_collected_root_fields(
            root_type, root_value, grouped_field_set, serially, new_defer_usages
        )

    def execute_fields(
        self,
        parent_type: GraphQLObjectType,
        source_value: Any,
        path: Path | None,
        grouped_field_set: GroupedFieldSet,
        position_context: Any,
    ) -> AwaitableOrValue[dict[str, Any]]:
        """Complete the plain fields by the compiled function and the others, or all, by the standard one."""
        plan = self.plan
        if plan is None or path is None:
            return super().execute_fields(
                parent_type, source_value, path, grouped_field_set, position_context
            )
        selection = plan.selection(self, parent_type, grouped_field_set)
        plain = _attempt(selection.read, source_value)
        if plain is Undefined:
            return super().execute_fields(
                parent_type, source_value, path, grouped_field_set, position_context
            )
        if not selection.rest:
            return plain
        others = super().execute_fields(parent_type, source_value, path, selection.rest, position_context)
        if self.is_awaitable(others):
            return _merge_later(selection, plain, others)
        return selection.merge(plain, cast("dict[str, Any]", others))

    def complete_value(
        self,
        return_type: GraphQLOutputType,
        field_details_list: FieldDetailsList,
        info: GraphQLResolveInfo,
        path: Path,
        result: Any,
        position_context: Any,
    ) -> AwaitableOrValue[Any]:
        """Complete by the compiled function if there is one for the field, else as the standard does."""
        completer = self._completers.get(id(field_details_list))
        if completer is not None and completer[0] is return_type:
            completed = _attempt(completer[1], result)
            if completed is not Undefined:
                return completed
        return super().complete_value(return_type, field_details_list, info, path, result, position_context)


def _attempt(function: Callable[[Any], Any] | None, value: Any) -> Any:
    """The function's result, or Undefined when the standard executor must do the work."""
    if function is None:
        return Undefined
    try:
        return function(value)
    except (Exception, Fallback):
        return Undefined


async def _merge_later(
    selection: Selection, plain: dict[str, Any], others: Awaitable[dict[str, Any]]
) -> dict[str, Any]:
    return selection.merge(plain, await others)
