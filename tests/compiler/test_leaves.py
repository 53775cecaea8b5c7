"""The leaf shortcuts say what the scalars say."""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import strawberry
from graphql import Undefined
from hypothesis import given, settings
from hypothesis import strategies as st
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from .runs import Compiled
from .types import SCALARS, BigInt, Color, Level, Money


class Other(enum.Enum):
    OTHER = 1


@strawberry.type
class Leaves:
    id: strawberry.ID | None
    text: str | None
    number: int | None
    ratio: float | None
    flag: bool | None
    big: BigInt | None
    money: Money | None
    color: Color | None
    level: Level | None
    when: dt.datetime | None
    day: dt.date | None
    price: Decimal | None
    anything: JSON | None


@strawberry.type
class LeafQuery:
    row: Leaves


LEAF_SCHEMA = strawberry.Schema(query=LeafQuery, config=StrawberryConfig(scalar_map=SCALARS))._schema
LEAVES = list(LEAF_SCHEMA.type_map["Leaves"].fields)  # type: ignore[attr-defined]
OPERATIONS = [Compiled(f"{{ row {{ {name} }} }}", LEAF_SCHEMA) for name in LEAVES]
ODD_ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30, seconds=15))
ANY_VALUE = st.one_of(
    *(st.integers(), st.floats(), st.booleans(), st.none(), st.binary(max_size=3), st.dates(), st.decimals()),
    st.text(max_size=4) | st.sampled_from(["low", "HIGH", "1", "2.5", "true"]),
    st.integers(-(2**31) - 1, -(2**31) + 1) | st.integers(2**31 - 2, 2**31 + 1) | st.integers(0, 4),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC, ODD_ZONE])),
    st.sampled_from([*Color, *Level, *Other]),
    st.lists(st.integers(), max_size=2)
    | st.builds(ValueError)
    | st.just(Undefined)
    | st.just(strawberry.UNSET),
)


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(value=ANY_VALUE)
def test_any_value_in_any_leaf(value: Any) -> None:
    root = SimpleNamespace(row=SimpleNamespace(**dict.fromkeys(LEAVES, value)))

    async def compare() -> None:
        for operation in OPERATIONS:
            await operation.same(root=root, times=1)

    asyncio.run(compare())
