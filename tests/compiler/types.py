"""Scalars, enums, small types and awaitables of the differential tests' schema."""

from __future__ import annotations

import asyncio
import enum
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, NewType

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.permission import BasePermission

BigInt = NewType("BigInt", int)
Money = NewType("Money", int)
Void = NewType("Void", str)


def serialize_money(value: int) -> str:
    if value < 0:
        raise ValueError(f"no negative money: {value}")
    return f"{value / 100:.2f}"


SCALARS: dict[object, Any] = {
    BigInt: strawberry.scalar(name="BigInt", serialize=int, parse_value=int),
    Money: strawberry.scalar(name="Money", serialize=serialize_money, parse_value=int),
    Void: strawberry.scalar(name="Nothing", serialize=lambda _value: None, parse_value=str),
}


@strawberry.enum
class Color(enum.Enum):
    RED = 1
    GREEN = 2
    DARK_BLUE = 3


@strawberry.enum
class Level(enum.StrEnum):
    LOW = "low"
    HIGH = "high"


class Denied(BasePermission):
    message = "not for you"
    error_extensions = {"code": "FORBIDDEN"}

    def has_permission(self, source: Any, info: strawberry.Info, **_kwargs: Any) -> bool:
        return False


class Shout(FieldExtension):
    def resolve(self, next_: Any, source: Any, info: strawberry.Info, **kwargs: Any) -> Any:
        return str(next_(source, info, **kwargs)).upper()


class CodedError(Exception):
    extensions = {"code": "CODED"}


@strawberry.interface
class Node:
    id: strawberry.ID


@strawberry.interface
class Named:
    name: str

    @strawberry.field
    def shout(self) -> str:
        return self.name.upper()


class UserRow(NamedTuple):
    id: Any
    name: Any
    level: Any = Level.LOW


@strawberry.type
class User(Node, Named):
    level: Level = Level.LOW

    @classmethod
    def is_type_of(cls, value: object, _info: object) -> bool:
        return isinstance(value, (cls, UserRow))


@strawberry.type
class Bot(Node):
    name: str | None
    version: int = 1


@strawberry.type
class Nosy(Node):
    """Its predicate needs the real info."""

    @classmethod
    def is_type_of(cls, value: object, info: Any) -> bool:
        return isinstance(value, cls) and info.path.key != "forbidden"


@strawberry.type
class Post:
    title: str
    author: User | None = None


Found = Annotated[User | Bot | Post, strawberry.union("Found")]


@strawberry.type
class Cell:
    x: int
    y: int | None = None


@dataclass(slots=True)
class PlainCell:
    x: Any
    y: Any = None


class Ready:
    """An awaitable that is no coroutine, as a loader's future."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield from asyncio.sleep(0).__await__()
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


async def later(value: Any) -> Any:
    await asyncio.sleep(0)
    if isinstance(value, Exception):
        raise value
    return value
