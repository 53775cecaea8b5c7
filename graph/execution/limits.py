"""One rule that measures a document before the standard rules see it: depth, cost, and the work for those.

Cost is the number of fields that an answer may hold: every field counts its weight, and whatever is selected
below a list counts once per row. A page's size is what the caller asks for (`first`, `last`), and the default
size of a list where nobody asks. A field tunes this by its metadata: `strawberry.field(metadata={"list_size":
7, "weight": 5})`.

Each fragment is measured once, however often it is spread: measuring takes time in proportion to the
document.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)

from graph.errors import ApiError, ErrorCode
from graph.execution.input_limits import InputTable, InputUses, Use

if TYPE_CHECKING:
    from graphql import InlineFragmentNode, NamedTypeNode

SATURATED = 10**9
"""Costs stop growing here: a bomb must not turn into arithmetic on numbers of a thousand digits."""

MAX_NESTING = 100
"""Selection sets within each other, also of introspection and inline fragments; guards the interpreter's
stack."""

MAX_INTROSPECTION_ALIASES = 5
"""Without aliases a document asks for the schema once; with fifty it would ask fifty times, unmeasured."""

NAME_CHARACTERS = 50
"""So many characters of a field's name in the answer are worth a field."""

MAX_DIGITS = 9
PAGE_ARGUMENTS = ("first", "last")
INTROSPECTION_FIELDS = ("__schema", "__type")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may cost; every number is a maximum."""

    max_depth: int = 15
    """Fields within each other; introspection is exempt."""
    max_cost: int = 50_000
    """Fields in an answer; 0.05 s to 0.35 s of execution."""
    max_aliases: int = 50
    max_directives: int = 50
    max_definitions: int = 100
    """Operations and fragments of a document: the standard rules compare each fragment with each."""
    max_comparisons: int = 10_000
    """Pairs of fields with the same response name, which the standard rules compare; 10 µs each."""
    max_tokens: int = 2_000
    max_document_length: int = 30_000
    """Characters of a document; strings and comments are few tokens."""
    max_page_size: int = 100
    """What a page's size given by a variable counts as until its value is known."""
    default_list_size: int = 20
    """Rows of a list or page whose size is neither given nor declared."""
    max_errors: int = 10
    """Errors in a reply."""
    max_list: int = 1_000
    """Items of a list in a request, where its place says no other number."""
    max_values: int = 120_000
    """Values in the variables; 0.3 s of coercion."""
    max_text: int = 500
    """Characters of a text in a request, where its place says no other number."""
    max_report_text: int = 1_000_000
    """Characters of a prompt, a response or an error message that is reported."""
    timeout_seconds: float = 30.0
    max_answer_bytes: int = 16_000_000


class LimitExceeded(ApiError):
    """The document asks for more than a limit allows; `extensions` name the limit and its maximum."""

    def __init__(self, limit: str, maximum: int, message: str) -> None:
        super().__init__(ErrorCode.QUERY_TOO_COMPLEX, message, limit=limit, maximum=maximum)


class Extent(NamedTuple):
    """What a selection set asks for: levels of fields, cost once, and cost for each row of the page around
    it."""

    depth: int
    fixed: int
    per_row: int


NOTHING = Extent(0, 0, 0)


class FieldShape(NamedTuple):
    """What the schema says about a field."""

    weight: int
    returns: GraphQLNamedType
    is_list: bool
    is_connection: bool
    list_size: int


class Measured(NamedTuple):
    """An operation's extent. `page_variables` are the variables that give the size of a page, and `inputs`
    all of them with what may stand in their places and how often they do."""

    depth: int
    cost: int
    page_variables: frozenset[str]
    inputs: tuple[tuple[Use, int], ...]


def _fields(named: GraphQLNamedType | None) -> Mapping[str, GraphQLField]:
    return named.fields if isinstance(named, GraphQLObjectType | GraphQLInterfaceType) else {}


def _is_connection(named: GraphQLNamedType | None) -> bool:
    return "pageInfo" in _fields(named)


def _metadata(definition: GraphQLField) -> Mapping[Any, Any]:
    return getattr(definition.extensions.get("strawberry-definition"), "metadata", {})


class CostTable:
    """The shapes of a schema's fields, each read once."""

    def __init__(self, schema: GraphQLSchema, limits: Limits) -> None:
        self.schema = schema
        self.limits = limits
        self.inputs = InputTable(limits)
        self._shapes: dict[int, FieldShape] = {}

    def shape(self, definition: GraphQLField) -> FieldShape:
        """The shape of a field of the schema."""
        shape = self._shapes.get(id(definition))
        if shape is None:
            shape = self._shapes[id(definition)] = self._read(definition)
        return shape

    def _read(self, definition: GraphQLField) -> FieldShape:
        output: Any = cast("Any", definition).type
        named = cast("GraphQLNamedType", get_named_type(output))
        metadata = _metadata(definition)
        list_size = int(metadata.get("list_size", self._default_size(definition)))
        return FieldShape(
            int(metadata.get("weight", 1)),
            named,
            str(output).startswith("["),
            _is_connection(named),
            list_size,
        )

    def _default_size(self, definition: GraphQLField) -> int:
        argument = definition.args.get("first")
        default: Any = getattr(argument, "default_value", None)
        return default if isinstance(default, int) and default > 0 else self.limits.default_list_size


class Measurement:
    """Measures one document; `visited` counts the selections it looked at.

    `variables` are the request's values for page sizes; without them a variable counts as the largest page.
    """

    def __init__(
        self, table: CostTable, document: DocumentNode, variables: Mapping[str, Any] | None = None
    ) -> None:
        self.visited = 0
        self.uses_introspection = False
        self._table = table
        self._limits = table.limits
        self._variables = variables
        self._fragments = {
            d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)
        }
        self._measured: dict[str, Extent] = {}
        self._open: set[str] = set()
        self._page_variables: set[str] = set()
        self._uses = InputUses(table.inputs)
        self._uses_of_fragments: dict[str, InputUses] = {}
        self._names: Counter[str] = Counter()
        self._comparisons = 0
        self._introspection_aliases = 0
        self._nesting = 0
        if len(document.definitions) > self._limits.max_definitions:
            maximum = self._limits.max_definitions
            raise LimitExceeded("definitions", maximum, f"A document may hold at most {maximum} definitions.")

    def operation(self, operation: OperationDefinitionNode) -> Measured:
        """The extent of an operation. Raises `LimitExceeded`."""
        defaults = self._variables
        if defaults is not None:
            self._variables = _page_defaults(operation) | dict(defaults)
        root = self._table.schema.get_root_type(operation.operation)
        uses = self._uses = InputUses(self._table.inputs)
        extent = self._selections(operation.selection_set, root, level=1)
        cost = extent.fixed + extent.per_row
        if cost > self._limits.max_cost and (self._variables is not None or not self._page_variables):
            self._refuse_cost()
        for definition in operation.variable_definitions or ():
            if definition.default_value is not None:
                uses.add_default(definition.variable.name.value, definition.default_value)
        inputs = tuple(uses.variables.items())
        return Measured(extent.depth, cost, frozenset(self._page_variables), inputs)

    def unused_fragments(self) -> None:
        """Measure what no operation spreads: the standard rules look at it all the same."""
        for name in self._fragments:
            self._fragment(name, level=1)

    def _refuse_cost(self) -> None:
        maximum = self._limits.max_cost
        raise LimitExceeded(
            "cost", maximum, f"The answer could hold over {maximum} fields; ask for smaller pages."
        )

    def _selections(
        self, selections: SelectionSetNode, parent: GraphQLNamedType | None, level: int
    ) -> Extent:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            self._refuse_depth()
        depth = fixed = per_row = 0
        for selection in selections.selections:
            extent = self._selection(selection, parent, level)
            depth = max(depth, extent.depth)
            fixed += extent.fixed
            per_row += extent.per_row
        self._nesting -= 1
        return Extent(depth, min(fixed, SATURATED), min(per_row, SATURATED))

    def _selection(self, selection: SelectionNode, parent: GraphQLNamedType | None, level: int) -> Extent:
        self.visited += 1
        if isinstance(selection, FieldNode):
            return self._field(selection, parent, level)
        if isinstance(selection, FragmentSpreadNode):
            return self._fragment(selection.name.value, level)
        inline = cast("InlineFragmentNode", selection)
        condition: NamedTypeNode | None = inline.type_condition
        narrowed = parent if condition is None else self._table.schema.get_type(condition.name.value)
        return self._selections(inline.selection_set, narrowed, level)

    def _fragment(self, name: str, level: int) -> Extent:
        measured = self._measured.get(name)
        if measured is None:
            definition = self._fragments.get(name)
            if definition is None or name in self._open:
                return NOTHING
            self._open.add(name)
            parent = self._table.schema.get_type(definition.type_condition.name.value)
            around, self._uses = self._uses, InputUses(self._table.inputs)
            measured = self._measured[name] = self._selections(definition.selection_set, parent, level)
            self._uses_of_fragments[name], self._uses = self._uses, around
            self._open.discard(name)
        self._uses.include(self._uses_of_fragments[name])
        if level - 1 + measured.depth > self._limits.max_depth:
            self._refuse_depth()
        return measured

    def _field(self, node: FieldNode, parent: GraphQLNamedType | None, level: int) -> Extent:
        self._count_comparisons(node)
        name = node.name.value
        if name in INTROSPECTION_FIELDS:
            self.uses_introspection = True
        if name.startswith("__") or (parent is not None and parent.name.startswith("__")):
            return self._introspection(node)
        if level > self._limits.max_depth:
            self._refuse_depth()
        definition = _fields(parent).get(name)
        if definition is not None:
            self._look_at_arguments(node, definition)
        shape = None if definition is None else self._table.shape(definition)
        below = NOTHING
        if node.selection_set is not None:
            returns = None if shape is None else shape.returns
            below = self._selections(node.selection_set, returns, level + 1)
        fixed, per_row = self._cost(node, shape, parent, below)
        # The answer repeats the name of a field in every row.
        return Extent(
            below.depth + 1, fixed + len((node.alias or node.name).value) // NAME_CHARACTERS, per_row
        )

    def _look_at_arguments(self, node: FieldNode, definition: GraphQLField) -> None:
        for argument in node.arguments or ():
            name = argument.name.value
            if name in definition.args:
                self._uses.add(name, definition.args[name], argument.value)

    def _cost(
        self, node: FieldNode, shape: FieldShape | None, parent: GraphQLNamedType | None, below: Extent
    ) -> tuple[int, int]:
        """The cost of a field once, and for each row when it lists the rows of the connection around it."""
        if shape is None:
            return 1 + below.fixed + below.per_row, 0
        if shape.is_connection:
            return min(shape.weight + below.fixed + self._page(node, shape) * below.per_row, SATURATED), 0
        own = below.fixed + below.per_row
        if not shape.is_list:
            return shape.weight + own, 0
        if _is_connection(parent) and not _page_arguments(node):
            return shape.weight, own
        return min(shape.weight + self._page(node, shape) * own, SATURATED), 0

    def _page(self, node: FieldNode, shape: FieldShape) -> int:
        sizes = [self._size(argument.value, shape) for argument in _page_arguments(node)]
        return max(sizes, default=shape.list_size)

    def _size(self, value: object, shape: FieldShape) -> int:
        if isinstance(value, IntValueNode):
            return _literal(value)
        if not isinstance(value, VariableNode):
            return shape.list_size
        name = value.name.value
        self._page_variables.add(name)
        if self._variables is None:
            return self._limits.max_page_size
        given = self._variables.get(name)
        if isinstance(given, int) and not isinstance(given, bool):
            return min(max(given, 0), SATURATED)
        return shape.list_size if given is None else self._limits.max_page_size

    def _introspection(self, node: FieldNode) -> Extent:
        if node.alias is not None and node.name.value != "__typename":
            self._count_introspection_alias()
        if node.selection_set is None:
            return Extent(0, 1, 0)
        schema_type = self._table.schema.get_type("__Type")
        below = self._selections(node.selection_set, schema_type, level=1)
        return Extent(0, 1 + below.fixed, 0)

    def _count_introspection_alias(self) -> None:
        self._introspection_aliases += 1
        maximum = MAX_INTROSPECTION_ALIASES
        if self._introspection_aliases > maximum:
            message = f"Introspection may use at most {maximum} aliases."
            raise LimitExceeded("introspection", maximum, message)

    def _count_comparisons(self, node: FieldNode) -> None:
        name = (node.alias or node.name).value
        self._comparisons += self._names[name]
        self._names[name] += 1
        maximum = self._limits.max_comparisons
        if self._comparisons > maximum:
            message = f"A document may select fields of one name in at most {maximum} pairs."
            raise LimitExceeded("comparisons", maximum, message)

    def _refuse_depth(self) -> None:
        maximum = self._limits.max_depth
        raise LimitExceeded("depth", maximum, f"A document may nest at most {maximum} fields.")


def _page_arguments(node: FieldNode) -> list[Any]:
    return [argument for argument in node.arguments or () if argument.name.value in PAGE_ARGUMENTS]


def _literal(value: IntValueNode) -> int:
    return SATURATED if len(value.value) > MAX_DIGITS else max(int(value.value), 0)


def _page_defaults(operation: OperationDefinitionNode) -> dict[str, Any]:
    definitions = operation.variable_definitions or ()
    return {
        definition.variable.name.value: _literal(definition.default_value)
        for definition in definitions
        if isinstance(definition.default_value, IntValueNode)
    }
