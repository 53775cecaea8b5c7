"""Runs a plan as the GraphQL specification says: executes selections, completes values, handles errors.

What has to be awaited is returned as a coroutine, and everything else as it is; no completed value is a
coroutine. The fields of a selection and the items of a list are all started before they are awaited together,
so that the loads that they ask for can be made together.
"""

# Not strict: graphql-core's generic types are bare, so that everything would be partly unknown.
# pyright: basic
from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from inspect import CORO_CREATED, getcoroutinestate
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import graphql
from graphql import GraphQLError, GraphQLObjectType, GraphQLResolveInfo, Undefined, VariableValues

from graph.compiler.adapter import Path, inspect, is_async_iterable, is_awaitable, is_iterable

if TYPE_CHECKING:
    from graph.compiler.plan import Field, Selection


class Request:
    """One run of a plan: what differs between two runs, and the errors that were found."""

    __slots__ = ("_coroutines", "context", "errors", "helpers", "root", "variables")

    def __init__(self, variables: VariableValues, context: Any, root: Any) -> None:
        self.variables = variables
        self.context = context
        self.root = root
        self.errors: list[GraphQLError] = []
        self.helpers = graphql.GraphQLResolveInfoHelpers(gather=_gather, track=self.keep)
        self._coroutines: list[Any] = []

    def keep(self, values: Iterable[Any]) -> None:
        """Note awaitables that an error may keep from being awaited."""
        self._coroutines.extend(values)

    def later(self, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
        """Note one coroutine; itself."""
        self._coroutines.append(coroutine)
        return coroutine

    def close_unstarted(self) -> None:
        """Close the coroutines that an error or a cancellation has kept from being started."""
        for coroutine in self._coroutines:
            if isinstance(coroutine, CoroutineType) and getcoroutinestate(coroutine) == CORO_CREATED:
                coroutine.close()


Complete = Callable[[Any, GraphQLResolveInfo, Path, Request], Any]
"""Completes a value at a path: gives the value of the answer, or a coroutine of it. Raises its error."""


async def execute_operation(
    selection: Selection, request: Request, *, in_series: bool
) -> tuple[dict[str, Any] | None, list[GraphQLError]]:
    """The answer's data and errors. `in_series` ends each root field before the next starts (mutations)."""
    data: dict[str, Any] | None
    try:
        if in_series:
            data = {}
            for field in selection.fields:
                data[field.name] = await _settled(field.execute(request.root, None, request))
        else:
            data = await _settled(execute_selection(selection, request.root, None, request))
    except GraphQLError as error:
        request.errors.append(error)
        data = None
    except BaseException:
        request.close_unstarted()
        raise
    if request.errors:
        request.close_unstarted()
    return data, request.errors


def execute_selection(selection: Selection, row: Any, path: Path | None, request: Request) -> Any:
    """The object of the answer, or a coroutine of it. One function reads the getters first."""
    fields, read, results = selection.calls, selection.read, None
    if read is not None:
        try:
            results = read(row)  # with null for all other fields, so that all are in order
        except Exception:
            results = None
    if results is None:
        fields, results = selection.fields, {}
    awaited: list[str] = []
    for field in fields:
        value = results[field.name] = field.execute(row, path, request)
        if type(value) is CoroutineType:
            awaited.append(field.name)
    if not awaited:
        return results
    return request.later(_with_awaited(results, awaited, in_turn=selection.is_awaited_in_turn))


async def _with_awaited(results: Any, awaited: list[Any], *, in_turn: bool = False) -> Any:
    """A list or dictionary whose values that are coroutines have been awaited, together or in turn."""
    if in_turn or len(awaited) == 1:
        for key in awaited:
            results[key] = await results[key]
    else:
        for key, value in zip(awaited, await _gather([results[key] for key in awaited]), strict=True):
            results[key] = value
    return results


async def _gather(awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
    """What all give. If one raises, the others are cancelled and waited for."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        return await asyncio.gather(*tasks)
    except Exception:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _settled(completed: Any) -> Any:
    return await completed if type(completed) is CoroutineType else completed


async def then(awaitable: Awaitable[Any], complete: Callable[..., Any], *arguments: Any) -> Any:
    """Complete what an awaitable gives."""
    completed = complete(await awaitable, *arguments)
    return await completed if type(completed) is CoroutineType else completed


async def guarded(completed: Awaitable[Any], field: Field, type_: Any, path: Path, request: Request) -> Any:
    """Await a value of a type, and handle its error."""
    try:
        return await completed
    except Exception as error:
        return handle_error(error, field, type_, path, request)


def handle_error(error: Exception, field: Field, type_: Any, path: Path, request: Request) -> None:
    """Note the error where the type may be null, as the value then is; else raise it, located."""
    located = graphql.located_error(error, field.nodes, path.as_list())
    if graphql.is_non_null_type(type_):
        raise located
    request.errors.append(located)


def completer(type_: Any, field: Field) -> Complete:
    """How a value of a type is completed at a field."""
    if graphql.is_non_null_type(type_):
        return _non_null_completer(completer(type_.of_type, field), field)
    if graphql.is_leaf_type(type_):
        complete = _leaf_completer(type_)
    elif graphql.is_list_type(type_):
        complete = _list_completer(type_.of_type, field)
    elif graphql.is_object_type(type_):
        complete = _object_completer(type_, field)
    else:
        complete = _abstract_completer(type_, field)

    def complete_nullable(value: Any, info: GraphQLResolveInfo, path: Path, request: Request) -> Any:
        if isinstance(value, Exception):
            raise value
        if value is None or value is Undefined:
            return None
        return complete(value, info, path, request)

    return complete_nullable


def _non_null_completer(inner: Complete, field: Field) -> Complete:
    message = f"Cannot return null for non-nullable field {field.parent}.{field.field_name}."

    def complete(value: Any, info: GraphQLResolveInfo, path: Path, request: Request) -> Any:
        completed = inner(value, info, path, request)
        if completed is None:
            raise TypeError(message)
        return completed

    return complete


def _leaf_completer(type_: Any) -> Complete:
    def complete(value: Any, *_: Any) -> Any:
        completed = type_.coerce_output_value(value)
        if completed is None or completed is Undefined:
            message = f"Expected `{inspect(type_)}.coerce_output_value({inspect(value)})` to return"
            raise TypeError(f"{message} non-nullable value, returned: {inspect(completed)}")
        return completed

    return complete


def _list_completer(item_type: Any, field: Field) -> Complete:
    complete_item = completer(item_type, field)

    async def collected(items: Any) -> list[Any]:
        return [item async for item in items]

    def complete(value: Any, info: GraphQLResolveInfo, path: Path, request: Request) -> Any:
        if is_async_iterable(value):
            return request.later(then(collected(value), complete, info, path, request))
        if not is_iterable(value):
            name = f"{field.parent}.{field.field_name}"
            raise GraphQLError(f"Expected Iterable, but did not find one for field '{name}'.")
        results: list[Any] = []
        awaited: list[int] = []
        items = iter(value)
        try:
            for index, item in enumerate(items):
                item_path = Path(path, index, None)
                try:
                    if is_awaitable(item):
                        request.keep((item,))
                        completed = then(item, complete_item, info, item_path, request)
                    else:
                        completed = complete_item(item, info, item_path, request)
                    if type(completed) is CoroutineType:
                        request.keep((completed,))
                        completed = request.later(guarded(completed, field, item_type, item_path, request))
                        awaited.append(index)
                except Exception as error:
                    completed = handle_error(error, field, item_type, item_path, request)
                results.append(completed)
        except Exception:
            request.keep(items)
            raise
        return request.later(_with_awaited(results, awaited)) if awaited else results

    return complete


def _object_completer(type_: GraphQLObjectType, field: Field) -> Complete:
    selection, is_type_of = field.members[type_.name], type_.is_type_of

    def complete_if(answer: Any, value: Any, path: Path, request: Request) -> Any:
        if not answer:
            raise GraphQLError(f"Expected value of type '{type_}' but got: {inspect(value)}.", field.nodes)
        return execute_selection(selection, value, path, request)

    def complete(value: Any, info: GraphQLResolveInfo, path: Path, request: Request) -> Any:
        answer: Any = is_type_of is None or is_type_of(value, info)
        if is_awaitable(answer):
            return request.later(then(answer, complete_if, value, path, request))
        return complete_if(answer, value, path, request)

    return complete


def _abstract_completer(type_: Any, field: Field) -> Complete:
    resolve_type = type_.resolve_type or graphql.default_type_resolver
    completers = {name: _object_completer(selection.type, field) for name, selection in field.members.items()}

    def complete_as(name: Any, value: Any, info: GraphQLResolveInfo, path: Path, request: Request) -> Any:
        complete = completers.get(name) if isinstance(name, str) else None
        if complete is None:
            text = f"{inspect(value)} of abstract type '{type_}' is said to be of type {inspect(name)}"
            raise GraphQLError(f"{text}, which is none of its types.", field.nodes)
        return complete(value, info, path, request)

    def complete(value: Any, info: GraphQLResolveInfo, path: Path, request: Request) -> Any:
        name: Any = resolve_type(value, info, type_)
        if is_awaitable(name):
            return request.later(then(name, complete_as, value, info, path, request))
        return complete_as(name, value, info, path, request)

    return complete
