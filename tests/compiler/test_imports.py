"""The compiler can be taken out of the product: it imports nothing of it."""

from __future__ import annotations

import ast
from pathlib import Path

import graph.compiler

PRIVATE = ("strawberry", "graphql.pyutils", "graphql.type", "graphql.execution", "graphql.utilities")


def imported() -> set[tuple[str, str]]:
    """Each module of the compiler with each module that it imports."""
    found: set[tuple[str, str]] = set()
    for file in Path(graph.compiler.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                found.add((file.stem, node.module or ""))
            elif isinstance(node, ast.Import):
                found.update((file.stem, name.name) for name in node.names)
    return found


def test_the_compiler_imports_nothing_of_the_product() -> None:
    ours = {name for _, name in imported() if name.split(".")[0] in ("graph", "resolvers", "db")}
    assert {name for name in ours if not name.startswith("graph.compiler")} == set()
    assert len(ours) == 6


def test_only_the_adapter_knows_what_is_not_public() -> None:
    assert {module for module, name in imported() if name.startswith(PRIVATE)} == {"adapter"}
