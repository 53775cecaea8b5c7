"""The compiled functions of operations: made from an executor's collected fields, kept in a bounded cache."""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeArgument=false

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from graphql import (
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    Node,
    OperationDefinitionNode,
    VariableNode,
)
from graphql.execution.collect_fields import CollectedFields, FieldDetailsList, GroupedFieldSet

from graph.compiled_calls import FieldCall, plan_call
from graph.compiled_code import CodeWriter, Scope
from graph.compiled_leaf import NotPlain
from graph.compiled_run import DirectRun, plan_run

if TYPE_CHECKING:
    from graph.compiled import CompiledExecutionContext

__all__ = ["PlanCache", "Selection", "SelectionPlan"]

_MAX_OPERATIONS = 512
_MAX_NODES = 20_000
_MAX_VALUATIONS = 8
_EAGER_NODES = 100
_UNPLANNED_DIRECTIVES = ("defer", "stream")

Fragments = dict[str, FragmentDefinitionNode]


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
    its value, ``calls`` to the field and its prepared call. The collected fields are kept, so that identities
    stay valid as long as the plan.
    """

    def __init__(
        self, executor: CompiledExecutionContext, root: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> None:
        self.root_fields = grouped
        self.sub_fields: dict[tuple[GraphQLObjectType, int], tuple[FieldDetailsList, CollectedFields]] = {}
        self.completers: dict[int, tuple[GraphQLOutputType, Callable[[Any], Any]]] = {}
        self.calls: dict[int, tuple[GraphQLField, FieldCall]] = {}
        self.run: DirectRun | None = None
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

    def scope(self, executor: CompiledExecutionContext) -> Scope:
        """What the operation's sub-selections are compiled against."""
        return Scope(executor.schema, executor.collect_subfields, self._cache.is_demoted, self._cache.demote)

    def _compile_selection(
        self, executor: CompiledExecutionContext, parent_type: GraphQLObjectType, grouped: GroupedFieldSet
    ) -> Selection:
        read, plain = None, []
        try:
            writer = CodeWriter(self.scope(executor))
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
            call = plan_call(executor, definition, details)
            if call is not None:
                self.calls[id(details)] = (definition, call)
            try:
                writer = CodeWriter(self.scope(executor))
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
        self.size = len(nodes)

    @property
    def weight(self) -> int:
        """Nodes kept and compiled: what the operation takes of the cache's memory, at some 1.4 KiB each."""
        return self.size * max(1, len(self.plans))

    def is_for(self, schema: GraphQLSchema, operation: OperationDefinitionNode, fragments: Fragments) -> bool:
        known = self.fragments
        return (
            self.operation is operation
            and self.schema is schema
            and len(known) == len(fragments)
            and all(mine is theirs for mine, theirs in zip(known, fragments.values(), strict=True))
        )


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
    """Plans by operation, least recently used out first.

    Holds at most `max_operations`, each with 8 valuations, and at most `max_nodes` AST nodes in all, counted
    once for each valuation (about 1.4 KiB a node), or one operation alone if that is larger. Operations are
    told apart by identity: plans are found again only if the caller caches parsed documents. Safe to use from
    several threads.
    """

    def __init__(self, max_operations: int = _MAX_OPERATIONS, max_nodes: int = _MAX_NODES) -> None:
        self._max_operations = max_operations
        self._max_nodes = max_nodes
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
            if not valuation:
                plan.run = plan_run(executor, plan, root_type)
            with self._lock:
                operation.plans[valuation] = plan
                while len(operation.plans) > _MAX_VALUATIONS:
                    operation.plans.popitem(last=False)
                self._evict()
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
            self._evict()
        return operation

    def _evict(self) -> None:
        excess = sum(operation.weight for operation in self._operations.values()) - self._max_nodes
        while len(self._operations) > self._max_operations or (excess > 0 and len(self._operations) > 1):
            _, operation = self._operations.popitem(last=False)
            excess -= operation.weight
