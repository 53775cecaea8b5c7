"""Resolvers that do their part at once and give something to await: as the standard executor has them."""

# No annotations as text here: what a resolver says that it gives is looked at.
import asyncio
from collections.abc import Awaitable, Generator
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError

from .runs import Compiled


class Later:
    """Gives a value when it is awaited, and keeps in which order that was."""

    def __init__(self, log: list[str], word: str) -> None:
        self.log = log
        self.word = word
        log.append(f"asked {word}")

    def __await__(self) -> Generator[Any, Any, str]:
        yield from asyncio.sleep(0).__await__()
        self.log.append(f"awaited {self.word}")
        if self.word == "late":
            raise GraphQLError("too late")
        return self.word


def _said(root: strawberry.Parent[Any], word: str = "word") -> Awaitable[str]:
    if word == "early":
        raise GraphQLError("too early")
    return Later(root.log, word)


def _simple(root: strawberry.Parent[Any], info: strawberry.Info) -> Awaitable[str]:
    return Later(root.log, f"{info.path.key} {info.root_value}")


def _wrong(root: strawberry.Parent[Any]) -> Awaitable[str]:
    return "at once"  # pyright: ignore[reportReturnType]


def _below(root: strawberry.Parent[Any]) -> Awaitable[Any]:
    async def later() -> Any:
        return Board(log=root.log)

    return later()


@strawberry.type
class Board:
    log: strawberry.Private[list[str]]
    plain: str = "plain"
    said: str = strawberry.field(resolver=_said)
    simple: str = strawberry.field(resolver=_simple)
    wrong: str = strawberry.field(resolver=_wrong)
    below: "Board | None" = strawberry.field(resolver=_below)

    @strawberry.field
    async def coroutine(root: strawberry.Parent[Any]) -> str:
        return await Later(root.log, "coroutine")


LOGS: list[list[str]] = []


def _at_once() -> Awaitable[Any]:
    async def later() -> Any:
        return Board(log=[])

    return later()


@strawberry.type
class Query:
    @strawberry.field
    async def boards(self) -> list[Board]:
        LOGS.append([])
        return [Board(log=LOGS[-1]) for _ in range(3)]

    at_once: Board = strawberry.field(resolver=_at_once)

    @strawberry.field
    async def board(self) -> Board:
        LOGS.append([])
        return Board(log=LOGS[-1])


SCHEMA = strawberry.Schema(Query)._schema
OPERATIONS = [
    "{ board { plain said simple other: simple } }",
    "{ board { said(word: $w) a: said(word: $w) plain } }",
    "{ board { said coroutine b: said } }",
    "{ board { below { below { said } simple } said __typename } }",
    "{ atOnce { said plain } }",
    '{ board { said c: said(word: "early") simple } }',
    '{ board { said c: said(word: "late") simple } }',
    '{ board { coroutine c: said(word: "late") d: said(word: "early") } }',
    '{ board { said(word: "early") } x: board { said(word: "late") } }',
    "{ board { said wrong } }",
]


@pytest.mark.parametrize("source", OPERATIONS)
def test_the_answer_is_that_of_the_standard_executor(source: str) -> None:
    variables = {"w": "given"} if "$w" in source else {}
    compiled = Compiled(f"query ($w: String!) {source}" if variables else source, SCHEMA)
    asyncio.run(compiled.same(variables, "root"))


def test_all_are_asked_before_the_first_is_awaited() -> None:
    compiled = Compiled('{ board { a: said(word: "a") b: said(word: "b") } }', SCHEMA)
    LOGS.clear()
    asyncio.run(compiled.same(times=2))
    assert LOGS == [["asked a", "asked b", "awaited a", "awaited b"]] * 3


def test_rows_of_a_list_are_asked_for_before_the_first_is_awaited() -> None:
    compiled = Compiled("{ boards { plain said } }", SCHEMA)
    LOGS.clear()
    asyncio.run(compiled.same(times=1))
    assert LOGS == [["asked word"] * 3 + ["awaited word"] * 3] * 2
