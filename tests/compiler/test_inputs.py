"""Inputs of resolvers are made as Strawberry makes them."""

from dataclasses import field as dataclass_field
from enum import Enum
from typing import Annotated, Any

import pytest
import strawberry
from strawberry.types.arguments import convert_argument
from strawberry.types.maybe import Maybe

from graph.compiler.adapter import GraphQLCoreConverter, argument_of


@strawberry.enum
class Colour(Enum):
    """Any words."""

    RED = "red"


@strawberry.input
class Leaf:
    """An input of leaves, with each kind of default."""

    name: str
    count: int | None = 3
    colour: Colour = Colour.RED
    tags: list[str] = dataclass_field(default_factory=list)
    note: str | None = strawberry.UNSET
    maybe: Maybe[str | None] = None


@strawberry.input
class Tree:
    """An input that holds itself, another one, and lists of both."""

    leaf: Leaf | None = None
    leaves: list[Leaf | None] | None = None
    trees: list[Annotated["Tree", strawberry.lazy("tests.compiler.test_inputs")]] | None = None
    deep: list[list[int]] | None = strawberry.field(name="veryDeep", default=None)


@strawberry.type
class Query:
    """Takes a tree."""

    @strawberry.field
    def count(self, tree: Tree | None = None) -> int:
        """Not called here."""
        return 0 if tree is None else 1


_SCHEMA = strawberry.Schema(Query)
_LEAF = {"name": "a"}


@pytest.mark.parametrize(
    "given",
    [
        None,
        {},
        {"leaf": None},
        {"leaf": _LEAF},
        {"leaf": _LEAF | {"count": None, "note": None, "maybe": None, "tags": ["x"], "colour": Colour.RED}},
        {"leaf": _LEAF | {"maybe": "y", "note": "z", "count": 9}},
        {"leaves": [_LEAF, None, _LEAF], "veryDeep": [[1, 2], []]},
        {"trees": [{"trees": [{"leaf": _LEAF}], "veryDeep": None}, {}]},
    ],
    ids=str,
)
def test_inputs_are_those_that_strawberry_makes(given: Any) -> None:
    built: Any = vars(_SCHEMA)["_schema"]
    argument = built.get_type("Query").fields["count"].args["tree"]
    known = argument.extensions[GraphQLCoreConverter.DEFINITION_BACKREF]
    converter = _SCHEMA.schema_converter
    prepared = argument_of(built, argument)
    assert prepared is not None
    for _ in range(2):
        theirs = convert_argument(given, known.type, converter.scalar_registry, converter.config)
        assert prepared.convert(given) == theirs
        assert type(prepared.convert(given)) is type(theirs)
