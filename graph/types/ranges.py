"""Ranges as filters take them."""

from datetime import datetime

import strawberry

from graph.context import Context
from graph.types.scalars import BigInt


@strawberry.input(description="A range of whole numbers; both ends belong to it.")
class IntRange:
    """Inclusive range."""

    min: int | None = strawberry.field(default=None, description="The smallest value.")
    max: int | None = strawberry.field(default=None, description="The largest value.")


@strawberry.input(description="A range of whole numbers of up to 64 bits; both ends belong to it.")
class BigIntRange:
    """Inclusive range."""

    min: BigInt | None = strawberry.field(default=None, description="The smallest value.")
    max: BigInt | None = strawberry.field(default=None, description="The largest value.")


@strawberry.input(description="A range of time; the start belongs to it, the end does not.")
class TimeRange:
    """Half-open range."""

    start: datetime | None = strawberry.field(
        default=None, name="from", description="The first instant. Without an offset: in the configured zone."
    )
    end: datetime | None = strawberry.field(
        default=None,
        name="to",
        description="The instant after the last. Without an offset: in the configured zone.",
    )


def time_range(given: TimeRange | None, context: Context) -> tuple[datetime | None, datetime | None]:
    """Both ends with a zone; one without an offset is taken in the configured zone."""
    if given is None:
        return None, None
    zone = context.zone()
    start, end = (
        value if value is None or value.tzinfo else value.replace(tzinfo=zone)
        for value in (given.start, given.end)
    )
    return start, end
