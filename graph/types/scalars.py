"""Scalars that GraphQL lacks."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime
from decimal import Context, Decimal
from typing import Any, NewType

import strawberry
from graphql import FloatValueNode, GraphQLError, IntValueNode, StringValueNode, ValueNode, print_ast
from strawberry.schema.types.scalar import DEFAULT_SCALAR_REGISTRY
from strawberry.types.scalar import ScalarDefinition

BigInt = NewType("BigInt", int)
"""An integer beyond 32 bits, such as a sum of tokens."""

_LIMIT = 2**63
EXACT = Context(prec=100)


def serialize_big_int(value: Any) -> int:
    """The value itself. Raises GraphQLError for anything but an integer; a sum may have any length."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise GraphQLError(f"BigInt cannot represent {value!r}: it takes an integer.")
    return value


def parse_big_int(value: Any) -> int:
    """The value itself. Raises GraphQLError for anything but an integer of at most 64 bits."""
    if isinstance(value, bool) or not isinstance(value, int) or not -_LIMIT <= value < _LIMIT:
        raise GraphQLError(f"BigInt cannot represent {value!r}: it takes an integer of at most 64 bits.")
    return value


def _literal(node: ValueNode, _variables: dict[str, Any] | None = None) -> int:
    if not isinstance(node, IntValueNode):
        raise GraphQLError(f"BigInt cannot represent {print_ast(node)}: it takes an integer.", node)
    return parse_big_int(int(node.value))


# Each says by a public page which texts or numbers it takes and gives.
BIG_INT = strawberry.scalar(
    name="BigInt",
    specified_by_url="https://www.rfc-editor.org/rfc/rfc8259#section-6",
    description=(
        "An integer, written as a JSON integer; sums of tokens pass 32 bits. It takes up to 64 bits, and a"
        " sum of values that are that large has more."
    ),
    serialize=serialize_big_int,
    parse_value=parse_big_int,
    parse_literal=_literal,
)

_DECIMAL = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,40})?", re.ASCII)


def _decimal(value: Any) -> Decimal:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise GraphQLError(f'Decimal cannot represent {value!r}: it takes a string such as "0.15".')
    return Decimal(value)


def _decimal_literal(node: ValueNode, _variables: dict[str, Any] | None = None) -> Decimal:
    if not isinstance(node, IntValueNode | FloatValueNode | StringValueNode):
        raise GraphQLError(f"Decimal cannot represent {print_ast(node)}: it takes a number.", node)
    return _decimal(node.value)


def _decimal_text(value: Decimal) -> str:
    # Without the zeros that a column's scale adds, and never with an exponent.
    return format(value.normalize(EXACT), "f") if value else "0"


DECIMAL = strawberry.scalar(
    name="Decimal",
    specified_by_url="https://www.w3.org/TR/xmlschema11-2/#decimal",
    description='An exact decimal number, written as a string such as "0.15", so that money stays exact.',
    serialize=_decimal_text,
    parse_value=_decimal,
    parse_literal=_decimal_literal,
)

DATE = replace(
    DEFAULT_SCALAR_REGISTRY[date],
    description='A day, written as "2026-11-30".',
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
)

DATE_TIME = replace(
    DEFAULT_SCALAR_REGISTRY[datetime],
    description='A moment with its offset from UTC, written as "2026-11-30T08:15:00.250000+00:00".',
    specified_by_url="https://www.rfc-editor.org/rfc/rfc3339#section-5.6",
)

SCALARS: dict[object, ScalarDefinition] = {
    **DEFAULT_SCALAR_REGISTRY,
    BigInt: BIG_INT,
    Decimal: DECIMAL,
    date: DATE,
    datetime: DATE_TIME,
}
