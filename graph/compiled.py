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
- Fields of the root types are *resolved* as the standard executor does: mutations and root resolvers run
  once. An async resolver whose arguments are of leaf types is called directly, see ``compiled_calls``.

- A query of one such root field runs without an executor at all, see ``compiled_run``.

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

Permissions are seen only as what they are to Strawberry: ``permission_classes`` and field extensions (such a
field is not plain), schema extensions that wrap resolvers (no plan at all), a wrapped ``resolve`` or a field
class with its own ``get_result`` (not plain). A subclass of the executor that overrides ``execute_field`` is
not called for plain fields.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeArgument=false

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from graphql import (
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLResolveInfo,
    Undefined,
    default_field_resolver,
    default_type_resolver,
)
from graphql.execution.collect_fields import DeferUsage, FieldDetailsList, GroupedFieldSet
from graphql.execution.execute import assume_not_awaitable
from graphql.pyutils import AwaitableOrValue, Path, is_awaitable
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext

from graph.compiled_calls import FieldCall
from graph.compiled_leaf import Fallback
from graph.compiled_plans import PlanCache, Selection, SelectionPlan
from graph.compiled_run import Outcome

__all__ = ["CompiledExecutionContext", "plans"]

_KNOWN_AWAITABLE_TESTS = (is_awaitable, optimized_is_awaitable, assume_not_awaitable)

plans = PlanCache()
"""The process's plans."""


class CompiledExecutionContext(StrawberryGraphQLCoreExecutionContext):
    """Strawberry's executor with compiled completion: an ``execution_context_class`` (``executor_class``)."""

    plan_cache = plans
    plan: SelectionPlan | None = None
    outcome: Outcome | None = None
    """What the resolver of the only root field has given already (``compiled_run``)."""
    _calls: dict[int, tuple[GraphQLField, FieldCall]] = {}
    _completers: dict[int, tuple[GraphQLOutputType, Callable[[Any], Any]]] = {}

    def follow(self, plan: SelectionPlan) -> None:
        """Use the plan's functions and collected fields for the rest of the operation."""
        self.plan = plan
        self._completers = plan.completers
        if self.is_awaitable is not assume_not_awaitable:
            self._calls = plan.calls
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

    def execute_field(
        self,
        parent_type: GraphQLObjectType,
        source: Any,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        """Call the resolver directly where its call was prepared, else execute as the standard does."""
        if self.outcome is not None and path.prev is None:
            return self._complete_outcome(parent_type, field_details_list, path, position_context)
        known = self._calls.get(id(field_details_list))
        arguments = known[1].arguments(self.variable_values.coerced) if known is not None else None
        if known is None or arguments is None:
            return super().execute_field(parent_type, source, field_details_list, path, position_context)
        definition, call = known
        info = self.build_resolve_info(
            definition, [details.node for details in field_details_list], parent_type, path
        )
        try:
            started = call.start(source, info, arguments)
            if not self.is_awaitable(started):
                started = Outcome(started).replay()
        except Exception as error:
            started = Outcome(None, error).replay()
        return self.complete_awaitable_value(
            definition.type, field_details_list, info, path, started, position_context
        )

    def _complete_outcome(
        self,
        parent_type: GraphQLObjectType,
        field_details_list: FieldDetailsList,
        path: Path,
        position_context: Any,
    ) -> Any:
        given = cast("Outcome", self.outcome).replay()
        nodes = [details.node for details in field_details_list]
        definition = cast("GraphQLField", self.schema.get_field(parent_type, nodes[0].name.value))
        info = self.build_resolve_info(definition, nodes, parent_type, path)
        return self.complete_awaitable_value(
            definition.type, field_details_list, info, path, given, position_context
        )

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
