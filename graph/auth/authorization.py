"""What a caller may not do is refused before anything of its variables is looked at.

Permissions are declared on fields and checked where a field is executed, which is after all variables have
been coerced. Those of an operation's root fields need neither a row nor a value, so they are checked first:
an operation that would come to nothing is not begun, and of several mutations none is done.
"""

# graphql-core's generic types are bare, so that strict checking calls everything from it partly unknown.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from graphql import (
    BooleanValueNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLObjectType,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    VariableNode,
    is_non_null_type,
)

from graph.auth.permissions import permissions_of

__all__ = ["GuardedField", "guarded_fields"]


class GuardedField(NamedTuple):
    """A root field that needs a permission, and without which there is no data; `conditions` are the
    directives @include and @skip around it."""

    node: FieldNode
    definition: GraphQLField
    conditions: tuple[Any, ...]

    @property
    def name(self) -> str:
        """Its name in the answer."""
        return (self.node.alias or self.node.name).value

    def is_selected(self, variables: Mapping[str, Any]) -> bool:
        """Whether it is surely executed; a variable that is neither true nor false leaves that open."""
        return all(_is_met(directive, variables) for directive in self.conditions)


def _is_met(directive: Any, variables: Mapping[str, Any]) -> bool:
    condition: Any = next((each.value for each in directive.arguments if each.name.value == "if"), None)
    value = None
    if isinstance(condition, BooleanValueNode):
        value = condition.value
    elif isinstance(condition, VariableNode):
        value = variables.get(condition.name.value)
    return value is (directive.name.value == "include")


def guarded_fields(
    document: DocumentNode, selection: SelectionSetNode, root: GraphQLObjectType | None
) -> tuple[GuardedField, ...]:
    """The guarded root fields of an operation of a valid document."""
    if root is None:
        return ()
    fragments = {d.name.value: d for d in document.definitions if isinstance(d, FragmentDefinitionNode)}
    fields: list[GuardedField] = []
    for node, conditions in _fields(selection, fragments, (), set()):
        definition = root.fields.get(node.name.value)
        if definition is not None and permissions_of(definition) and is_non_null_type(definition.type):
            fields.append(GuardedField(node, definition, conditions))
    return tuple(fields)


def _fields(
    selection: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    conditions: tuple[Any, ...],
    seen: set[str],
) -> Iterator[tuple[FieldNode, tuple[Any, ...]]]:
    for node in selection.selections:
        own = (*conditions, *_conditions(node))
        if isinstance(node, FieldNode):
            yield node, own
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, fragments, own, seen)
        elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
            # Once each, or fragments of fragments would take for ever; what that misses the executor checks.
            seen.add(node.name.value)
            yield from _fields(fragments[node.name.value].selection_set, fragments, own, seen)


def _conditions(node: SelectionNode) -> Iterator[Any]:
    for directive in cast("Any", node).directives or ():
        if directive.name.value in ("include", "skip"):
            yield directive
