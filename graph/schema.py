"""The schema, and its text for `schema.graphql`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import strawberry
from graphql import (
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    Undefined,
    get_named_type,
)
from strawberry.schema.config import StrawberryConfig

from graph.execution.limits import Limits
from graph.operations.root import Mutation, Query
from graph.types.alerts import Alert
from graph.types.api_keys import ApiKey
from graph.types.audit_log import AuditEntry
from graph.types.batches import Batch
from graph.types.bounds import Text, bound_of
from graph.types.budgets import BudgetEvent, BudgetLimit
from graph.types.cache import CacheEntry
from graph.types.model_prices import ModelPrice
from graph.types.refusals import EXCEPTION_HANDLERS
from graph.types.run_logs import RunLog
from graph.types.scalars import SCALARS
from graph.types.trigger_jobs import TriggerJob

schema = strawberry.Schema(
    Query,
    Mutation,
    # What `node` may give.
    types=[
        RunLog,
        TriggerJob,
        Alert,
        Batch,
        CacheEntry,
        ApiKey,
        AuditEntry,
        BudgetLimit,
        BudgetEvent,
        ModelPrice,
    ],
    config=StrawberryConfig(scalar_map=SCALARS),
    exception_handlers=EXCEPTION_HANDLERS,
)


_LIMITS = Limits()
_TEXTS = ("ID", "String")


def _inputs(built: GraphQLSchema) -> Iterator[Any]:
    """Every argument of a field and every field of an input."""
    for named in built.type_map.values():
        if isinstance(named, GraphQLInputObjectType):
            yield from named.fields.values()
        elif isinstance(named, GraphQLObjectType | GraphQLInterfaceType):
            for field in named.fields.values():
                yield from field.args.values()


def _tidy(built: GraphQLSchema) -> None:
    """What a reader of the schema sees of inputs.

    A Python default of None makes an input optional; `= null` beside that would be noise, and what a caller
    leaves out is None all the same. An argument that says nothing itself is described by its type. How long a
    text or a list may be is said of each, where its description does not say it already.
    """
    for each in _inputs(built):
        if each.default_value is None:
            each.default_value = Undefined
        named = cast("GraphQLNamedType", get_named_type(each.type))
        description = each.description or named.description or ""
        each.description = " ".join([description, *_bounds_told(each, named.name, description)])


def _bounds_told(definition: Any, type_name: str, description: str) -> Iterator[str]:
    bound, is_list = bound_of(definition), "[" in str(definition.type)
    if is_list and (bound.items is None or f"{bound.items:,}" not in description):
        yield _at_most(bound.items, _LIMITS.max_list, "items")
    if type_name in _TEXTS and bound.is_told and "characters" not in description:
        own = None if isinstance(bound.text, Text) else bound.text
        given = getattr(_LIMITS, bound.text) if isinstance(bound.text, Text) else 0
        yield _at_most(own, given, "characters each" if is_list else "characters")


def _at_most(own: int | None, configured: int, noun: str) -> str:
    if own is not None:
        return f"At most {own:,} {noun}."
    return f"At most {configured:,} {noun} unless configured otherwise."


_tidy(schema._schema)  # pyright: ignore[reportPrivateUsage]


def print_sdl() -> str:
    """The schema in the schema definition language, in the order in which it is written."""
    return schema.as_str() + "\n"
