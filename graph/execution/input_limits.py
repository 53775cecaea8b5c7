"""Lists and texts of a request are bounded before they are coerced.

graphql-core makes a value of each item, and Strawberry an object, before a resolver may refuse any of them:
60,000 reports took 2.4 s. So what is sent is only counted here, by what the schema says about its place.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from graphql import (
    GraphQLArgument,
    GraphQLInputField,
    ListValueNode,
    ObjectValueNode,
    StringValueNode,
    ValueNode,
    VariableNode,
    get_named_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
)

from graph.errors import ApiError, ErrorCode
from graph.types.bounds import Text, bound_of

if TYPE_CHECKING:
    from graph.execution.limits import Limits

__all__ = ["InputTable", "InputUses", "Use", "check_variables"]


class _Exceeded(Exception):
    """A value is larger than its place allows; `path` leads there from the value that was measured."""

    def __init__(self, size: int, maximum: int, noun: str) -> None:
        super().__init__()
        self.path: list[str] = []
        self.size, self.maximum, self.noun = size, maximum, noun

    def told(self, where: str, argument: str) -> ApiError:
        """The coded error; `argument` is what the value stands for, and `where` is it or its variable."""
        names = [argument, *[step[1:] for step in self.path if step.startswith(".")]]
        place = where + "".join(self.path)
        message = f"{place} has {self.size:,} {self.noun}; it may have {self.maximum:,} at most."
        return ApiError(ErrorCode.BAD_USER_INPUT, message, argument=names[-1], maximum=self.maximum)


class Shape(Protocol):
    """What may stand in a place."""

    def measure(self, value: Any) -> int:
        """How many values the value has below it. Raises `_Exceeded`."""
        ...


class _Leaf:
    __slots__ = ("longest",)

    def __init__(self, longest: int | None) -> None:
        self.longest = longest

    def measure(self, value: Any) -> int:
        if self.longest is not None and isinstance(value, str) and len(value) > self.longest:
            raise _Exceeded(len(value), self.longest, "characters")
        return 0


class _List:
    __slots__ = ("item", "longest")

    def __init__(self, longest: int, item: Shape) -> None:
        self.longest = longest
        self.item = item

    def measure(self, value: Any) -> int:
        if not isinstance(value, list):
            return self.item.measure(value)
        items = cast("list[Any]", value)
        self.check_size(items)
        measure, total = self.item.measure, len(items)
        for index, item in enumerate(items):
            try:
                total += measure(item)
            except _Exceeded as exceeded:
                exceeded.path.insert(0, f"[{index}]")
                raise
        return total

    def check_size(self, items: Sequence[Any]) -> None:
        if len(items) > self.longest:
            raise _Exceeded(len(items), self.longest, "items")


class _Object:
    """An input object; it counts for all of its type's fields, as coercing it looks at each of them."""

    __slots__ = ("fields",)

    def __init__(self) -> None:
        self.fields: Mapping[str, Shape] = {}

    def measure(self, value: Any) -> int:
        if not isinstance(value, dict):
            return 0
        total = len(self.fields)
        for name, given in cast("dict[str, Any]", value).items():
            shape = self.fields.get(name)
            if shape is None:
                continue
            try:
                total += shape.measure(given)
            except _Exceeded as exceeded:
                exceeded.path.insert(0, f".{name}")
                raise
        return total


class Use(NamedTuple):
    """Where a variable stands: in the place of an argument or input field of that name."""

    variable: str
    argument: str
    shape: Shape


class InputTable:
    """The shapes of a schema's arguments and input fields, each made once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._shapes: dict[int, Shape] = {}
        self._objects: dict[str, _Object] = {}

    def shape(self, definition: GraphQLArgument | GraphQLInputField) -> Shape:
        """What may stand in the place of an argument or input field."""
        shape = self._shapes.get(id(definition))
        if shape is None:
            shape = self._shapes[id(definition)] = self._read(definition)
        return shape

    def _read(self, definition: GraphQLArgument | GraphQLInputField) -> Shape:
        bound = bound_of(definition)
        longest: int | None = getattr(self._limits, bound.text) if isinstance(bound.text, Text) else None
        type_: Any = cast("Any", definition).type
        named: Any = get_named_type(type_)
        shape: Shape = self._object(named) if is_input_object_type(named) else _Leaf(longest)
        while is_list_type(type_) or is_non_null_type(type_):
            if is_list_type(type_):
                shape = _List(self._limits.max_list if bound.items is None else bound.items, shape)
            type_ = type_.of_type
        return shape

    def _object(self, named: Any) -> _Object:
        known = self._objects.get(named.name)
        if known is None:
            # Kept before its fields are read, as one of them may be of the same type.
            known = self._objects[named.name] = _Object()
            known.fields = {name: self.shape(field) for name, field in named.fields.items()}
        return known


class InputUses:
    """The literals of a selection, held to their bounds, and which variables stand where, how many times."""

    def __init__(self, table: InputTable) -> None:
        self._table = table
        self.variables: Counter[Use] = Counter()

    def add(self, name: str, definition: GraphQLArgument, node: ValueNode) -> None:
        """An argument as it stands in the document. Raises `ApiError`."""
        self._add(name, name, self._table.shape(definition), node)

    def include(self, other: InputUses) -> None:
        """Another selection that is spread in this one."""
        self.variables.update(other.variables)

    def add_default(self, name: str, node: ValueNode) -> None:
        """The default of a variable, once its uses are known. Raises `ApiError`."""
        for use in list(self.variables):
            if use.variable == name:
                self._add(f"${name}", use.argument, use.shape, node)

    def _add(self, where: str, argument: str, shape: Shape, node: ValueNode) -> None:
        try:
            self._look(argument, shape, node)
        except _Exceeded as exceeded:
            raise exceeded.told(where, argument) from None

    def _look(self, argument: str, shape: Shape, node: ValueNode) -> None:
        if isinstance(node, VariableNode):
            self.variables[Use(node.name.value, argument, shape)] += 1
        elif isinstance(node, StringValueNode):
            shape.measure(node.value)
        elif isinstance(shape, _List):
            self._look_into_list(argument, shape, node)
        elif isinstance(node, ObjectValueNode) and isinstance(shape, _Object):
            for field in node.fields:
                name = field.name.value
                if name in shape.fields:
                    self._below(f".{name}", name, shape.fields[name], field.value)

    def _look_into_list(self, argument: str, shape: _List, node: ValueNode) -> None:
        if not isinstance(node, ListValueNode):
            self._look(argument, shape.item, node)
            return
        shape.check_size(node.values)
        for index, item in enumerate(node.values):
            self._below(f"[{index}]", argument, shape.item, item)

    def _below(self, step: str, argument: str, shape: Shape, node: ValueNode) -> None:
        try:
            self._look(argument, shape, node)
        except _Exceeded as exceeded:
            exceeded.path.insert(0, step)
            raise


def check_variables(uses: Sequence[tuple[Use, int]], variables: Mapping[str, Any], max_values: int) -> None:
    """Raise `ApiError` where a variable is larger than a place that it stands in allows, or all of them are
    together, each as often as it is used."""
    total = 0
    for (name, argument, shape), times in uses:
        value = variables.get(name)
        if value is None:
            continue
        try:
            total += (1 + shape.measure(value)) * times
        except _Exceeded as exceeded:
            where = f"${name}" if exceeded.path else f"{argument} (${name})"
            raise exceeded.told(where, argument) from None
        if total > max_values:
            message = (
                f"With ${name} the variables have over {max_values:,} values, each counted as often as it is"
                " used; send fewer at once."
            )
            raise ApiError(ErrorCode.BAD_USER_INPUT, message, argument=argument, maximum=max_values)
