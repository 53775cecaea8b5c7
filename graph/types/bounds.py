"""How long a text and a list of a request may be: declared where the argument or input field is declared.

What says nothing has the limits of the settings (`graph.execution.limits.Limits`), so that nothing is without
one. `graph.execution.input_limits` holds requests to them before any value is looked at; the schema's
descriptions say them.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from strawberry.schema.schema_converter import GraphQLCoreConverter

from resolvers.names import MAX_NAME

KEY = "bound"


class Text(StrEnum):
    """The limit that a text has, by its name among the limits."""

    FILTER = "max_text"
    REPORT = "max_report_text"


class Bound(NamedTuple):
    """`text` is a limit of the settings, or a number that the use-case itself holds the text to, as it has a
    refusal for that. `items` is the limit of a list, where it is not that of the settings.

    `is_told` is false where a text's form says how long it is, as that of a typed id or a cursor does.
    """

    text: Text | int = Text.FILTER
    items: int | None = None
    is_told: bool = True


def bound(
    *, text: Text | int = Text.FILTER, items: int | None = None, is_told: bool = True
) -> dict[str, Any]:
    """The metadata of an argument or input field with a limit of its own."""
    return {KEY: Bound(text, items, is_told)}


FORMED = bound(is_told=False)
"""The metadata of a typed id or a cursor."""
NAME = bound(text=MAX_NAME)
"""The metadata of a name that will be stored."""


def bound_of(definition: Any) -> Bound:
    """The bound of an argument or input field of the built schema."""
    declared = definition.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    metadata: Mapping[Any, Any] = getattr(declared, "metadata", {})
    return metadata.get(KEY) or Bound()
