"""Scalars that GraphQL lacks."""

from __future__ import annotations

from typing import Any, NewType

import strawberry
from graphql import GraphQLError, IntValueNode, ValueNode, print_ast
from strawberry.schema.types.scalar import DEFAULT_SCALAR_REGISTRY
from strawberry.types.scalar import ScalarDefinition

BigInt = NewType("BigInt", int)
"""An integer beyond 32 bits, such as a sum of tokens."""

_LIMIT = 2**63


def serialize_big_int(value: Any) -> int:
    """The value itself. Raises GraphQLError for anything but an integer of at most 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not -_LIMIT <= value < _LIMIT:
        raise GraphQLError(f"BigInt cannot represent {value!r}: it takes an integer of at most 64 bits.")
    return value


def _literal(node: ValueNode, _variables: dict[str, Any] | None = None) -> int:
    if not isinstance(node, IntValueNode):
        raise GraphQLError(f"BigInt cannot represent {print_ast(node)}: it takes an integer.", node)
    return serialize_big_int(int(node.value))


BIG_INT = strawberry.scalar(
    name="BigInt",
    description="An integer of up to 64 bits, written as a JSON integer; sums of tokens pass 32 bits.",
    serialize=serialize_big_int,
    parse_value=serialize_big_int,
    parse_literal=_literal,
)

SCALARS: dict[object, ScalarDefinition] = {**DEFAULT_SCALAR_REGISTRY, BigInt: BIG_INT}
