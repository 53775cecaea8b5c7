"""Long texts: whole where their object is asked for by its id, cut in lists and in what hangs on others."""

import json
from functools import reduce
from math import isfinite
from typing import Any, cast

import strawberry

from graph.context import Info
from graph.encoding import encode
from graph.types.fields import resolved

WEIGHT = 10
"""What a long text weighs: as many characters as some hundred plain fields, in a tenth of their time."""

CUT = (
    "Cut after 2,000 characters, unless configured otherwise, where the object is not asked for by its own id"
    " (as by `node`)."
)
TRUNCATED = "Whether that text is cut; ask for the object by its id to have it whole."


def long_text(description: str) -> Any:
    """A field of a text of a row."""
    return strawberry.field(description=f"{description} {CUT}", metadata={"weight": WEIGHT})


def truncated(field: str) -> Any:
    """The field beside one of a long text that says whether it is cut."""
    return strawberry.field(description=f"{TRUNCATED} Concerns {field}.")


def long_json(attribute: str, description: str) -> Any:
    """A field of a JSON text of a row."""
    mark = f"{attribute}_truncated"

    def resolve(root: strawberry.Parent[Any]) -> Any:
        return json_value(getattr(root, attribute), is_cut=getattr(root, mark))

    return resolved(resolve, f"{description} {CUT_JSON}", weight=WEIGHT)


CUT_JSON = f"{CUT} It is then the beginning of its JSON text, as a string."


_LEVELS = 150
"""How deep in an answer a value may stand."""


def json_value(text: str | None, *, is_cut: bool) -> Any:
    """The value of a JSON text, or the text itself where it is cut, or has what our answers cannot hold.

    Other services store what they like: numbers that are no double, half characters, a thousand levels.
    """
    if text is None or is_cut:
        return text
    try:
        value: Any = json.loads(text, parse_float=_finite)
        encode({"value": reduce(lambda inner, _: [inner], range(_LEVELS), value)})
    except (ValueError, TypeError, RecursionError):
        return text
    return value


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError("no double")
    return number


def is_asked_by_id(info: Info) -> bool:
    """Whether the object whose field is resolved is what a root field gave."""
    path = cast("Any", info).path
    return path.prev is not None and path.prev.prev is None
