"""When two documents are the same although clients print them otherwise, and documents of several files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from graphql import (
    DocumentNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    Lexer,
    OperationDefinitionNode,
    Source,
    TokenKind,
    Visitor,
    parse,
    print_ast,
    visit,
)

Tokens = list[tuple[TokenKind, str | None]]
_TYPENAME = (TokenKind.NAME, "__typename")
_NOT_A_FIELD_AFTER = (TokenKind.COLON, TokenKind.DOLLAR, TokenKind.SPREAD, TokenKind.AT)
_NOT_PLAIN_BEFORE = (TokenKind.COLON, TokenKind.AT, TokenKind.PAREN_L)


class LinkError(Exception):
    """A file that cannot be read, parsed or linked; the message names the file and the fault."""


def normal_form(text: str) -> bytes:
    """A digest, the same for documents that differ in white space, comments, order or plain `__typename`.

    Clients print documents anew and add that field to each selection; it tells what the answer shows anyway.
    Raises GraphQLError for a text without tokens of GraphQL.
    """
    tokens = _tokens(text)
    definitions = sorted(json.dumps(each) for each in _definitions(_without_typename(tokens)))
    return hashlib.sha256("\n".join(definitions).encode("utf-8", "surrogatepass")).digest()


def _tokens(text: str) -> Tokens:
    lexer = Lexer(Source(text))
    tokens: Tokens = []
    while (token := lexer.advance()).kind is not TokenKind.EOF:
        tokens.append((token.kind, token.value))
    return tokens


def _without_typename(tokens: Tokens) -> Tokens:
    ends = [(TokenKind.SOF, None), *tokens, (TokenKind.EOF, None)]
    return [
        token
        for before, token, after in zip(ends, ends[1:], ends[2:], strict=False)
        if token != _TYPENAME or before[0] in _NOT_A_FIELD_AFTER or after[0] in _NOT_PLAIN_BEFORE
    ]


def _definitions(tokens: Tokens) -> Iterator[list[str]]:
    definition: list[str] = []
    depth = 0
    for kind, value in tokens:
        depth += (kind is TokenKind.BRACE_L) - (kind is TokenKind.BRACE_R)
        definition.append(kind.value if value is None else f"{kind.value} {value}")
        if kind is TokenKind.BRACE_R and not depth:
            # `query {` is `{`.
            yield definition[1:] if definition[:2] == ["Name query", "{"] else definition
            definition = []
    if definition:
        yield definition


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
