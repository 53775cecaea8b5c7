"""When two documents are the same although clients print them otherwise, and documents of several files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from graphql import (
    DefinitionNode,
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    Node,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    Visitor,
    parse,
    print_ast,
    visit,
)


class LinkError(Exception):
    """A file that cannot be read, parsed or linked; the message names the file and the fault."""


def normal_form(text: str) -> bytes:
    """A digest, the same for documents that differ in white space, comments, order or plain `__typename`.

    Clients and their tools print documents anew, sort them and add that field. Raises GraphQLError, or
    RecursionError, for a text that is no document.
    """
    definitions = sorted(map(_definition, parse(text, no_location=True).definitions))
    return hashlib.sha256("\n".join(definitions).encode("utf-8", "surrogatepass")).digest()


def _definition(node: DefinitionNode) -> str:
    if isinstance(node, OperationDefinitionNode):
        name = node.name.value if node.name else ""
        head = f"{node.operation.value} {name}({_sorted(node.variable_definitions)})"
    elif isinstance(node, FragmentDefinitionNode):
        head = f"fragment {node.name.value} on {node.type_condition.name.value}"
    else:
        return print_ast(node)
    return f"{head}{_sorted(node.directives)}{_selections(node.selection_set)}"


def _selections(node: SelectionSetNode | None) -> str:
    if node is None:
        return ""
    return (
        "{" + " ".join(sorted(_selection(each) for each in node.selections if not _is_typename(each))) + "}"
    )


def _selection(node: SelectionNode) -> str:
    if isinstance(node, FieldNode):
        alias = f"{node.alias.value}:" if node.alias else ""
        head = f"{alias}{node.name.value}({_sorted(node.arguments)})"
        return f"{head}{_sorted(node.directives)}{_selections(node.selection_set)}"
    if isinstance(node, InlineFragmentNode):
        on = node.type_condition.name.value if node.type_condition else ""
        return f"... on {on}{_sorted(node.directives)}{_selections(node.selection_set)}"
    return print_ast(node)


def _is_typename(node: SelectionNode) -> bool:
    if not isinstance(node, FieldNode) or node.name.value != "__typename":
        return False
    return not node.alias and not node.arguments and not node.directives


def _sorted(nodes: Iterable[Node] | None) -> str:
    return " ".join(sorted(map(print_ast, nodes or ())))


def linked_documents(files: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """The documents of some files, with the file of each.

    A file that needs no other one is a document byte for byte. Each operation of another file, and each of
    several in one, is a document with the fragments that it spreads, of whichever file. Raises LinkError.
    """
    parsed = {file: _parsed(file) for file in files}
    fragments = _fragments({file: document for file, (_, document) in parsed.items()})
    for file, (text, document) in parsed.items():
        operations = [each for each in document.definitions if isinstance(each, OperationDefinitionNode)]
        own = {each.name.value for each in document.definitions if isinstance(each, FragmentDefinitionNode)}
        spread = {id(each): _reached(file, each, fragments) for each in operations}
        if operations and all(own.issuperset(names) for names in spread.values()):
            yield file, text
            if len(operations) == 1:
                continue
        for operation in operations:
            parts = [operation, *(fragments[name] for name in spread[id(operation)])]
            yield file, "\n\n".join(map(print_ast, parts))


def _parsed(file: Path) -> tuple[str, DocumentNode]:
    try:
        text = file.read_bytes().decode("utf-8")
        return text, parse(text, no_location=True)
    except (OSError, UnicodeDecodeError, GraphQLError) as error:
        raise LinkError(f"{file}: {getattr(error, 'message', error)}") from None


def _fragments(documents: Mapping[Path, DocumentNode]) -> dict[str, FragmentDefinitionNode]:
    fragments: dict[str, FragmentDefinitionNode] = {}
    for file, document in documents.items():
        for each in document.definitions:
            if isinstance(each, FragmentDefinitionNode):
                known = fragments.setdefault(each.name.value, each)
                if print_ast(known) != print_ast(each):
                    raise LinkError(f"{file}: another file has another fragment {each.name.value}")
    return fragments


class _Spreads(Visitor):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def enter_fragment_spread(self, node: FragmentSpreadNode, *_: object) -> None:
        self.names.append(node.name.value)


def _reached(
    file: Path, operation: OperationDefinitionNode, fragments: Mapping[str, FragmentDefinitionNode]
) -> list[str]:
    """The fragments that an operation spreads, directly or by others, each once."""
    reached: dict[str, None] = {}
    waiting: list[OperationDefinitionNode | FragmentDefinitionNode] = [operation]
    while waiting:
        spreads = _Spreads()
        visit(waiting.pop(), spreads)
        for name in spreads.names:
            if name not in fragments:
                raise LinkError(f"{file}: no file has the fragment {name}")
            if name not in reached:
                reached[name] = None
                waiting.append(fragments[name])
    return list(reached)
