"""Runs operations: parses, measures and validates a document once, then executes with nothing in between."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import strawberry
from graphql import (
    ASTValidationRule,
    DocumentNode,
    Executor,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)
from strawberry.execution import optimized_is_awaitable
from strawberry.schema.schema import StrawberryGraphQLCoreExecutionContext
from strawberry.schema.validation_rules.maybe_null import MaybeNullValidationRule
from strawberry.schema.validation_rules.one_of import OneOfInputValidationRule

from graph.auth.authorization import GuardedField, guarded_fields
from graph.auth.permissions import refusal_at
from graph.compiler import make_compiler
from graph.documents.cache import SegmentedCache
from graph.errors import (
    ApiError,
    ErrorCode,
    ErrorFormatter,
    RequestRefused,
    coded,
    refusal,
    without_suggestion,
)
from graph.execution.input_limits import Use, check_variables
from graph.execution.lexical_limits import check_text
from graph.execution.limits import CostTable, LimitExceeded, Limits, Measurement

if TYPE_CHECKING:
    from graph.compiler.plan import Operation as CompiledOperation
    from graph.compiler.plan import Run

BYTES_PER_CHARACTER = 250
"""Memory that a parsed document takes for each character of its text; 206 measured."""

CACHE_BYTES = 64 * 1024 * 1024
REFUSED_CACHE_CHARACTERS = 1_000_000
COSTS_PER_OPERATION = 64

Result: TypeAlias = dict[str, Any]
"""An answer in the form of the specification: `data`, `errors`, `extensions`."""


@dataclass(slots=True)
class PreparedOperation:
    """One operation of a valid document. `cost` takes a page whose size is a variable for the largest
    page. `compiled` is there from the second run on, if the compiler can run it."""

    document: DocumentNode
    operation: OperationDefinitionNode
    operation_type: OperationType
    name: str | None
    cost: int
    depth: int
    page_variables: frozenset[str]
    inputs: tuple[tuple[Use, int], ...]
    guarded: tuple[GuardedField, ...]
    uses_introspection: bool
    compiled: "CompiledOperation | None" = None
    runs: int = 0
    costs: dict[tuple[object, ...], int] = field(default_factory=dict[tuple[object, ...], int])


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """The operations of a valid document by name, and the only one if there is one."""

    operations: Mapping[str | None, PreparedOperation]
    only: PreparedOperation | None

    def select(self, name: str | None) -> PreparedOperation:
        """The operation to run, as the specification's GetOperation finds it."""
        if name is None:
            if self.only is None:
                raise refusal(
                    ErrorCode.OPERATION_RESOLUTION_FAILURE,
                    "The document holds several operations: name the one to run in operationName.",
                )
            return self.only
        operation = self.operations.get(name)
        if operation is None:
            raise refusal(
                ErrorCode.OPERATION_RESOLUTION_FAILURE, "The document holds no operation of this name."
            )
        return operation


class Engine:
    """Prepares and executes operations of a schema.

    `rules` run after the limits and before the standard rules. `execution_context_class` is a graphql-core
    executor class; the schema's own is the default. `cache_size` is the memory for parsed documents in bytes.
    With `fast_paths` the compiler runs what it can from the second time on that it is asked for, unless there
    is an executor class. A schema with Strawberry's schema extensions is refused: they would not run.
    """

    def __init__(
        self,
        schema: strawberry.Schema,
        *,
        rules: Collection[type[ASTValidationRule]] = (),
        execution_context_class: type[Executor[Any]] | None = None,
        cache_size: int = CACHE_BYTES,
        limits: Limits | None = None,
        errors: ErrorFormatter | None = None,
        fast_paths: bool = True,
    ) -> None:
        if schema.extensions:
            raise ValueError("the engine does not run Strawberry's schema extensions")
        self.limits = limits or Limits()
        self.errors = errors or ErrorFormatter()
        self._schema = schema._schema  # pyright: ignore[reportPrivateUsage]
        self._executor: Any = execution_context_class or cast("Any", schema).execution_context_class
        self._rules = (*rules, *specified_rules, MaybeNullValidationRule, OneOfInputValidationRule)
        self._table = CostTable(self._schema, self.limits)
        self._documents: SegmentedCache[str, PreparedDocument] = SegmentedCache(cache_size)
        self._refused: SegmentedCache[str, RequestRefused] = SegmentedCache(REFUSED_CACHE_CHARACTERS)
        self._options: dict[str, Any] = {
            "is_awaitable": optimized_is_awaitable,
            "max_coercion_errors": self.limits.max_errors,
            "hide_suggestions": not self.errors.show_suggestions,
        }
        is_standard = self._executor is StrawberryGraphQLCoreExecutionContext
        if issubclass(self._executor, StrawberryGraphQLCoreExecutionContext):
            self._options["operation_extensions"] = None
        self._compiler = None
        if fast_paths and is_standard:
            self._compiler = make_compiler(self._schema, hide_suggestions=not self.errors.show_suggestions)

    def prepare(
        self, query: str, operation_name: str | None = None, *, may_introspect: bool = True
    ) -> PreparedOperation:
        """The operation to run out of a document.

        Raises `RequestRefused` for a document that is malformed, invalid or too complex, an operation that
        cannot be found, and introspection by a caller that may not, who sees no suggestions of names either.
        """
        document = self._documents.get(query)
        if document is None:
            document = self._prepare_new(query, may_introspect)
        operation = document.select(operation_name)
        if operation.uses_introspection and not may_introspect:
            raise refusal(ErrorCode.INTROSPECTION_DISABLED, "Introspection is off for this caller.")
        return operation

    def cost(self, prepared: PreparedOperation, variables: Mapping[str, Any]) -> int:
        """The operation's cost with these variables. Raises `RequestRefused` when it is above the limit."""
        if not prepared.page_variables:
            return prepared.cost
        key = tuple([_size_key(variables, name) for name in prepared.page_variables])
        cost = prepared.costs.get(key)
        if cost is None:
            sizes = {name: variables[name] for name in prepared.page_variables if name in variables}
            cost = self._measure_with(prepared, sizes)
            if len(prepared.costs) >= COSTS_PER_OPERATION:
                prepared.costs.clear()
            prepared.costs[key] = cost
        return cost

    async def execute(
        self,
        prepared: PreparedOperation,
        variables: dict[str, Any] | None,
        context_value: Any,
        root_value: Any = None,
    ) -> Result:
        """Run an operation; errors of fields are in the answer, formatted.

        Raises `RequestRefused` for variables that do not fit, a cost above the limit, and a subscription. How
        long it may take is the caller's to say.
        """
        if prepared.operation_type is OperationType.SUBSCRIPTION:
            raise refusal(
                ErrorCode.SUBSCRIPTIONS_NOT_SUPPORTED, "Subscriptions do not run over this transport."
            )
        if prepared.guarded and (refused := self._refused_fields(prepared, variables or {}, context_value)):
            return self._with_errors(None, refused)
        if variables and prepared.inputs:
            self._check_variables(prepared, variables)
        if prepared.page_variables:
            self.cost(prepared, variables or {})
        run = self._compiled_run(prepared, variables)
        if run is not None:
            data, errors = await run(context_value, root_value)
            return self._with_errors(data, errors) if errors else {"data": data}
        executor: Any = self._executor.build(
            self._schema,
            prepared.document,
            root_value,
            context_value,
            variables,
            prepared.name,
            **self._options,
        )
        if isinstance(executor, list):
            raise self.errors.request(
                cast("list[GraphQLError]", executor), ErrorCode.BAD_USER_INPUT, self.limits.max_errors
            )
        result: Any = executor.execute_operation()
        if isawaitable(result):
            result = await result
        if result.errors is None:
            return {"data": result.data}
        return self._with_errors(result.data, result.errors)

    def _compiled_run(self, prepared: PreparedOperation, variables: dict[str, Any] | None) -> "Run | None":
        """How the compiler runs the operation; None where the standard executor does."""
        if self._compiler is None:
            return None
        prepared.runs += 1
        if prepared.runs == 1:
            # Most documents that are sent once are never sent again, and planning takes longer than a run.
            return None
        if prepared.runs == 2:
            prepared.compiled = self._compiler.operation(prepared.document, prepared.operation)
        return None if prepared.compiled is None else prepared.compiled.run(variables)

    def _refused_fields(
        self, prepared: PreparedOperation, variables: dict[str, Any], context: Any
    ) -> list[GraphQLError]:
        """What the caller may not have of the operation's root fields, as the executor would say it."""
        return [
            GraphQLError(str(refused), [field.node], path=[field.name], original_error=refused)
            for field in prepared.guarded
            if (refused := refusal_at(field.definition, context.caller)) and field.is_selected(variables)
        ]

    def _check_variables(self, prepared: PreparedOperation, variables: dict[str, Any]) -> None:
        try:
            check_variables(prepared.inputs, variables, self.limits.max_values)
        except ApiError as exceeded:
            raise RequestRefused([coded(exceeded)]) from None

    def _with_errors(self, data: dict[str, Any] | None, errors: list[GraphQLError]) -> Result:
        shown, omitted = self.errors.fields(errors, self.limits.max_errors)
        result: Result = {"errors": shown, "data": data}
        if omitted:
            result["extensions"] = {"errorsOmitted": omitted}
        return result

    def _prepare_new(self, query: str, may_introspect: bool) -> PreparedDocument:
        known = self._refused.get(query)
        if known is None:
            try:
                document = self._checked(query)
            except RequestRefused as refused:
                # A copy, as the exception's traceback and context keep the whole document alive.
                known = RequestRefused(refused.errors, refused.omitted)
                self._refused.put(query, known, len(query) + 1_000)
            else:
                self._documents.put(query, document, (len(query) + 20) * BYTES_PER_CHARACTER)
                return document
        errors = known.errors if may_introspect else _without_suggestions(known)
        raise RequestRefused(errors, known.omitted)

    def _checked(self, query: str) -> PreparedDocument:
        try:
            document = self._parsed(query)
            prepared = self._measured(document)
        except ApiError as found:
            raise RequestRefused([coded(found)]) from None
        errors = validate(
            self._schema,
            document,
            self._rules,
            max_errors=self.limits.max_errors,
            hide_suggestions=not self.errors.show_suggestions,
        )
        if errors:
            raise self.errors.request(errors, ErrorCode.GRAPHQL_VALIDATION_FAILED, self.limits.max_errors)
        for operation in prepared.operations.values():
            root = self._schema.get_root_type(operation.operation_type)
            operation.guarded = guarded_fields(document, operation.operation.selection_set, root)
        return prepared

    def _parsed(self, query: str) -> DocumentNode:
        check_text(query, self.limits)
        try:
            return parse(query, max_tokens=self.limits.max_tokens)
        except GraphQLError as error:
            raise self.errors.request([error], ErrorCode.GRAPHQL_PARSE_FAILED, 1) from None

    def _measured(self, document: DocumentNode) -> PreparedDocument:
        measurement = Measurement(self._table, document)
        nodes = [node for node in document.definitions if isinstance(node, OperationDefinitionNode)]
        extents = [measurement.operation(node) for node in nodes]
        measurement.unused_fragments()
        operations = [
            PreparedOperation(
                document=document,
                operation=node,
                operation_type=node.operation,
                name=node.name.value if node.name else None,
                cost=extent.cost,
                depth=extent.depth,
                page_variables=extent.page_variables,
                inputs=extent.inputs,
                guarded=(),
                uses_introspection=measurement.uses_introspection,
            )
            for node, extent in zip(nodes, extents, strict=True)
        ]
        only = operations[0] if len(operations) == 1 else None
        return PreparedDocument({operation.name: operation for operation in operations}, only)

    def _measure_with(self, prepared: PreparedOperation, sizes: dict[str, Any]) -> int:
        try:
            return Measurement(self._table, prepared.document, sizes).operation(prepared.operation).cost
        except LimitExceeded as limit:
            raise RequestRefused([coded(limit)]) from None


def _size_key(sizes: Mapping[str, object], name: str) -> object:
    """What the size of a page depends on in its variable: a number, null, its absence, or anything else."""
    if name not in sizes:
        return "absent"
    value = sizes[name]
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number or value is None else "wrong"


def _without_suggestions(refused: RequestRefused) -> list[dict[str, Any]]:
    return [error | {"message": without_suggestion(error["message"])} for error in refused.errors]
