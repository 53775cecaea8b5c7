"""A schema with a field for every way a value can be completed, well or badly."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, cast

import strawberry
from strawberry.scalars import JSON
from strawberry.schema.config import StrawberryConfig

from .types import (
    SCALARS,
    BigInt,
    Bot,
    Cell,
    CodedError,
    Color,
    Denied,
    Found,
    Level,
    Money,
    Named,
    Node,
    Nosy,
    PlainCell,
    Post,
    Ready,
    Shout,
    User,
    UserRow,
    Void,
    later,
)


@strawberry.type
class Thing:
    id: strawberry.ID
    text: str = 'été "quoted" \\ \u2028'
    text_or_null: str | None = None
    number: int = 7
    number_or_null: int | None = None
    number_text: int = cast("int", "12")
    ratio: float = 0.5
    ratio_int: float = 3
    flag: bool = True
    flag_number: bool = cast("bool", 1)
    big: BigInt = BigInt(2**40)
    money: Money = Money(1234)
    money_bad: Money | None = Money(-1)
    nothing: Void | None = None
    nothing_bad: Void | None = Void("x")
    color: Color = Color.DARK_BLUE
    color_or_null: Color | None = None
    color_value: Color = cast("Color", 2)
    color_bad: Color | None = cast("Color", 9)
    level: Level = Level.HIGH
    level_word: Level = cast("Level", "low")
    when: dt.datetime = dt.datetime(2026, 11, 24, 5, 44, 0, 123456, tzinfo=dt.UTC)
    when_naive: dt.datetime | None = dt.datetime(2026, 11, 24, 5, 44)  # noqa: DTZ001
    when_bad: dt.datetime | None = cast("dt.datetime", "yesterday")
    day: dt.date = dt.date(2026, 11, 24)
    clock: dt.time = dt.time(5, 44)
    price: Decimal = Decimal("1.50")
    key: uuid.UUID = uuid.UUID(int=5)
    anything: JSON = cast("JSON", None)
    id_number: strawberry.ID = cast("strawberry.ID", 12)
    text_number: str = cast("str", 12)
    text_bad: str | None = cast("str", object)
    int_huge: int | None = 2**31
    int_bad: int | None = cast("int", "x")
    float_nan: float | None = float("nan")
    float_infinite: float | None = float("inf")
    bool_bad: bool | None = cast("bool", "yes")
    error_value: str | None = cast("str", CodedError("stored"))
    required_null: str = cast("str", None)
    tags: list[str] = field(default_factory=lambda: ["a", "b"])
    tags_tuple: list[str] = field(default_factory=lambda: cast("list[str]", ("a", "b")))
    tags_null: list[str | None] | None = field(default_factory=lambda: ["a", None])
    tags_bad: list[str] | None = field(default_factory=lambda: cast("list[str]", ["a", None, "c"]))
    tags_text: list[str] | None = cast("list[str]", "abc")
    tags_set: list[str] | None = field(default_factory=lambda: cast("list[str]", {"only"}))
    numbers_bad: list[int | None] = field(
        default_factory=lambda: cast("list[int | None]", [1, "x", None, 2**40])
    )
    matrix: list[list[int]] = field(default_factory=lambda: [[1, 2], [], [3]])
    matrix_bad: list[list[int] | None] | None = field(
        default_factory=lambda: cast("list[list[int] | None]", [[1], [2, None], None])
    )
    cube: list[list[list[Cell | None]] | None] = field(
        default_factory=lambda: [[[Cell(x=1), None], []], None, [[Cell(x=2, y=3)]]]
    )
    colors: list[Color] = field(default_factory=lambda: [Color.RED, Color.GREEN])
    cell: Cell = field(default_factory=lambda: cast("Cell", PlainCell(1, 2)))
    cell_null: Cell | None = None
    cell_bad: Cell | None = field(default_factory=lambda: cast("Cell", PlainCell(None)))
    cell_incomplete: Cell | None = field(default_factory=lambda: cast("Cell", object()))
    cells: list[Cell] = field(default_factory=lambda: [Cell(x=1), cast("Cell", PlainCell(2, 3))])
    cells_bad: list[Cell | None] = field(
        default_factory=lambda: cast(
            "list[Cell | None]", [PlainCell(1), PlainCell("z"), PlainCell(3, "z"), None]
        )
    )
    owner: Node | None = field(default_factory=lambda: cast("Node", UserRow("u1", "Ada")))
    nosy: Node | None = field(default_factory=lambda: Nosy(id=strawberry.ID("n")))
    forbidden: Node | None = field(default_factory=lambda: Nosy(id=strawberry.ID("n")))
    nobody: Node | None = field(default_factory=lambda: cast("Node", 5))
    named: Named | None = field(default_factory=lambda: User(id=strawberry.ID("u2"), name="Bob"))
    nodes: list[Node] = field(
        default_factory=lambda: [
            User(id=strawberry.ID("u2"), name="Bob"),
            Bot(id=strawberry.ID("b1"), name=None),
            cast("Node", UserRow("u3", "Cy")),
        ]
    )
    found: list[Found] = field(
        default_factory=lambda: [
            User(id=strawberry.ID("u2"), name="Bob", level=Level.HIGH),
            Bot(id=strawberry.ID("b1"), name="beep"),
            Post(title="t", author=User(id=strawberry.ID("u4"), name="Di")),
        ]
    )
    found_row: Found | None = field(default_factory=lambda: cast("User", UserRow("u5", "Ed")))
    found_bad: Found | None = field(default_factory=lambda: cast("User", Cell(x=1)))
    user_bad: User | None = field(default_factory=lambda: cast("User", Bot(id=strawberry.ID("b"), name="x")))
    child: Thing | None = None
    children: list[Thing] = field(default_factory=list)
    stored_awaitable: str | None = field(default_factory=lambda: cast("str", Ready("ready")))

    @strawberry.field
    def label(self) -> str:
        return f"{self.id}: {self.text}"

    @strawberry.field
    def cell_made(self) -> Cell:
        return Cell(x=self.number, y=None)

    @strawberry.field
    def cells_made(self) -> list[Cell]:
        return [Cell(x=n) for n in range(3)]

    @strawberry.field
    def boom(self) -> str | None:
        raise ValueError("boom")

    @strawberry.field
    def boom_coded(self) -> str | None:
        raise CodedError("coded")

    @strawberry.field
    def boom_required(self) -> str:
        raise ValueError("boom required")

    @strawberry.field
    def null_made(self) -> Cell:
        return cast("Cell", None)

    @strawberry.field
    def generated(self) -> list[int]:
        return cast("list[int]", iter([1, 2, 3]))

    @strawberry.field
    def streamed(self) -> list[int]:
        async def numbers() -> AsyncIterator[int]:
            yield 1
            yield 2

        return cast("list[int]", numbers())

    @strawberry.field
    def loaded(self) -> str | None:
        return cast("str", Ready("loaded"))

    @strawberry.field
    def loaded_cell(self) -> Cell | None:
        return cast("Cell", later(Cell(x=3)))

    @strawberry.field
    def loaded_bad(self) -> str:
        return cast("str", later(ValueError("late")))

    @strawberry.field
    async def loaded_list(self) -> list[str | None]:
        return cast("list[str | None]", [later("a"), "b", later(ValueError("late item"))])

    @strawberry.field
    async def awaited(self) -> str:
        return await later("awaited")

    @strawberry.field
    async def awaited_cells(self) -> list[Cell]:
        return await later([Cell(x=1), Cell(x=2)])

    @strawberry.field
    async def awaited_bad(self) -> list[Cell]:
        return await later([Cell(x=1), None])

    @strawberry.field
    async def awaited_null_bad(self) -> list[Cell] | None:
        return await later([Cell(x=1), None])

    @strawberry.field
    async def awaited_boom(self) -> int | None:
        return await later(CodedError("late and coded"))

    @strawberry.field
    def informed(self, info: strawberry.Info) -> str:
        return "/".join(str(key) for key in info.path.as_list())

    @strawberry.field
    def echo(self, text: str = "none", times: int = 1) -> str:
        return text * times

    @strawberry.field(permission_classes=[Denied])
    def denied(self) -> str | None:
        return "secret"

    @strawberry.field(extensions=[Shout()])
    def shouted(self) -> str:
        return "loud"


def parent_label(parent: strawberry.Parent[Thing]) -> str:
    return f"parent {parent.number}"


def root_label(root: Any) -> str:
    return f"root {root.number}"


def no_argument() -> str:
    return "constant"


@strawberry.type
class Wrapped(Thing):
    parent_label: str = strawberry.field(resolver=parent_label)
    root_label: str = strawberry.field(resolver=root_label)
    constant: str = strawberry.field(resolver=no_argument)


def make_thing(name: str = "t", depth: int = 2) -> Thing:
    thing = Thing(id=strawberry.ID(name))
    if depth:
        thing.child = make_thing(f"{name}c", depth - 1)
        thing.children = [make_thing(f"{name}{n}", depth - 1) for n in range(2)]
        thing.children[1].text = cast("str", None)
        thing.text_or_null = "here"
        thing.number_or_null = 3
    return thing


@strawberry.type
class PageInfo:
    has_next_page: bool
    end_cursor: str | None


@strawberry.type
class UserEdge:
    cursor: str
    node: User


@strawberry.type
class UserConnection:
    edges: list[UserEdge]
    page_info: PageInfo


@dataclass(slots=True)
class Edge:
    cursor: str
    node: UserRow


@strawberry.type
class Query:
    @strawberry.field
    async def users(self, first: int = 20) -> UserConnection:
        edges = [Edge(f"c{n}", UserRow(f"u{n}", f"User {n}")) for n in range(first)]
        page = PageInfo(has_next_page=True, end_cursor=f"c{first - 1}")
        return await later(UserConnection(edges=cast("list[UserEdge]", edges), page_info=page))

    @strawberry.field
    async def things(self, count: int = 3) -> list[Thing]:
        return await later([make_thing(f"t{n}", 1) for n in range(count)])

    @strawberry.field
    async def thing(self) -> Thing:
        return await later(make_thing())

    @strawberry.field
    def sync_thing(self) -> Thing | None:
        return make_thing("s")

    @strawberry.field
    def wrapped(self) -> Wrapped:
        return Wrapped(id=strawberry.ID("w"))

    @strawberry.field
    async def missing(self) -> Thing | None:
        return None

    @strawberry.field
    async def required_missing(self) -> Thing:
        return cast("Thing", None)

    @strawberry.field
    async def failing(self) -> Thing | None:
        raise CodedError("root failed")

    @strawberry.field
    async def node(self, id: strawberry.ID) -> Node | None:
        return cast("Node", UserRow(id, "row")) if id != "bot" else Bot(id=id, name="bot")

    @strawberry.field
    async def search(self) -> list[Found]:
        return make_thing().found


@strawberry.type
class Mutation:
    @strawberry.mutation
    async def touch(self, info: strawberry.Info, name: str) -> Thing:
        info.context.append(name)
        return make_thing(name, 1)

    @strawberry.mutation
    def touch_now(self, info: strawberry.Info) -> Thing:
        info.context.append("now")
        return make_thing("now", 1)


CONFIG = StrawberryConfig(scalar_map=SCALARS)
schema = strawberry.Schema(query=Query, mutation=Mutation, types=[User, Bot, Nosy], config=CONFIG)
