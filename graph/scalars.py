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


def _in_range(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -_LIMIT <= value < _LIMIT:
        raise GraphQLError(f"BigInt cannot represent {value!r}: it takes an integer of at most 64 bits.")
    return value


def _literal(node: ValueNode, _variables: dict[str, Any] | None = None) -> int:
    if not isinstance(node, IntValueNode):
        raise GraphQLError(f"BigInt cannot represent {print_ast(node)}: it takes an integer.", node)
    return _in_range(int(node.value))


BIG_INT = strawberry.scalar(
    name="BigInt",
    description="An integer of up to 64 bits, written as a JSON integer; sums of tokens pass 32 bits.",
    serialize=_in_range,
    parse_value=_in_range,
    parse_literal=_literal,
)

SCALARS: dict[object, ScalarDefinition] = {**DEFAULT_SCALAR_REGISTRY, BigInt: BIG_INT}
