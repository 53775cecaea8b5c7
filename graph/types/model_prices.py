"""ModelPrice: what a model costs, from when until when."""

from datetime import datetime
from decimal import Decimal
from typing import Any

import strawberry

from db.usage.model_prices import ModelPriceRow
from graph.types.fields import resolved
from graph.types.ids import Kind, print_id
from graph.types.node import Node
from graph.types.pagination import Connection


def _id(root: strawberry.Parent[ModelPriceRow]) -> strawberry.ID:
    return strawberry.ID(print_id(Kind.PRICE, root.id))


@strawberry.type(description="What a million tokens of a model cost, in the one currency of all prices.")
class ModelPrice(Node):
    """Resolved from a `ModelPriceRow`."""

    id: strawberry.ID = resolved(_id, "The typed id, such as price_3.")
    model: str = strawberry.field(description="The model, as runs name it.")
    prompt_price: Decimal = strawberry.field(description="The price of a million prompt tokens.")
    completion_price: Decimal = strawberry.field(description="The price of a million completion tokens.")
    valid_from: datetime = strawberry.field(description="From when on it is valid.")
    valid_until: datetime | None = strawberry.field(
        description="When it ceases to be valid; null where it ends only with the next price."
    )
    created_by: str = strawberry.field(description="Who set it first.")
    created_at: datetime = strawberry.field(description="When it was set first.")
    updated_by: str = strawberry.field(description="Who set it last.")
    updated_at: datetime = strawberry.field(description="When it was set last.")

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, ModelPriceRow)


@strawberry.type(description="A page of prices.")
class ModelPriceConnection(Connection[ModelPrice]):
    """A page of prices."""
