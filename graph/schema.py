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

from graph.mutations import Mutation
from graph.queries import Query
from graph.refusals import EXCEPTION_HANDLERS
from graph.scalars import SCALARS
from graph.types.alerts import Alert
from graph.types.api_keys import ApiKey
from graph.types.audit_log import AuditEntry
from graph.types.batches import Batch
from graph.types.budgets import BudgetEvent, BudgetLimit
from graph.types.cache import CacheEntry
from graph.types.run_logs import RunLog
from graph.types.trigger_jobs import TriggerJob

schema = strawberry.Schema(
    Query,
    Mutation,
    # What `node` may give.
    types=[RunLog, TriggerJob, Alert, Batch, CacheEntry, ApiKey, AuditEntry, BudgetLimit, BudgetEvent],
    config=StrawberryConfig(scalar_map=SCALARS),
    exception_handlers=EXCEPTION_HANDLERS,
)


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
    leaves out is None all the same. An argument that says nothing itself is described by its type.
    """
    for each in _inputs(built):
        if each.default_value is None:
            each.default_value = Undefined
        named = cast("GraphQLNamedType", get_named_type(each.type))
        each.description = each.description or named.description


_tidy(schema._schema)  # pyright: ignore[reportPrivateUsage]


def print_sdl() -> str:
    """The schema in the schema definition language, in the order in which it is written."""
    return schema.as_str() + "\n"
