"""An error or a cancellation leaves nothing running, and nothing that was never awaited."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
import strawberry
from graphql import GraphQLError

from .runs import Compiled


@strawberry.type
class Row:
    log: strawberry.Private[list[str]]

    @strawberry.field
    async def forever(root: strawberry.Parent[Row]) -> str | None:
        return await waiting(root.log, "row")

    @strawberry.field
    async def fails(self) -> str:
        await asyncio.sleep(0)
        raise GraphQLError("row failed")


async def waiting(log: list[str], name: str) -> Any:
    log.append(f"{name} started")
    try:
        await asyncio.get_running_loop().create_future()
    finally:
        log.append(f"{name} ended")


@strawberry.type
class Query:
    @strawberry.field
    async def forever(self, info: strawberry.Info) -> str | None:
        return await waiting(info.context, "root")

    @strawberry.field
    async def rows(self, info: strawberry.Info, count: int = 2) -> list[Row]:
        return [Row(log=info.context) for _ in range(count)]

    @strawberry.field
    async def optional(self, info: strawberry.Info) -> list[Row] | None:
        return [Row(log=info.context) for _ in range(2)]

    @strawberry.field
    async def fails(self) -> str:
        await asyncio.sleep(0)
        raise GraphQLError("root failed")

    @strawberry.field
    def fails_now(self) -> str:
        raise GraphQLError("root failed now")


SCHEMA = strawberry.Schema(Query)._schema


async def alone() -> None:
    """Nothing but the test itself runs."""
    gc.collect()
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("source", "log", "data"),
    [
        ("{ forever fails }", ["root started", "root ended"], "null"),
        ("{ forever failsNow }", [], "null"),
        ("{ rows { forever } failsNow }", [], "null"),
        ("{ rows { fails forever } }", ["row started", "row started", "row ended", "row ended"], "null"),
        ("{ optional { forever fails } }", ["row started", "row started", "row ended", "row ended"], None),
    ],
)
def test_a_null_that_rises_ends_what_it_makes_needless(source: str, log: list[str], data: str | None) -> None:
    compiled = Compiled(source, SCHEMA)

    async def scenario() -> None:
        seen: list[str] = []
        answer = await compiled.run(context=seen)
        assert answer[0] == (data or '{"optional": null}')
        assert len(answer) == 2
        assert seen == log
        await alone()

    for _ in range(2):
        asyncio.run(scenario())


@pytest.mark.parametrize("source", ["{ forever }", "{ forever rows(count: 3) { forever } }"])
def test_a_cancelled_request_ends_all_that_it_started(source: str) -> None:
    compiled = Compiled(source, SCHEMA)

    async def scenario() -> None:
        seen: list[str] = []
        request = asyncio.ensure_future(compiled.run(context=seen))
        for _ in range(10):  # rounds of the loop, in which all that waits for nothing gets on
            await asyncio.sleep(0)
        assert len(seen) == source.count("forever") + 2 * source.count("rows")
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        assert sorted(seen) == sorted(
            event
            for each in seen
            if each.endswith("started")
            for event in (each, each.replace("started", "ended"))
        )
        await alone()

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_before_it_begins_leaves_nothing() -> None:
    compiled = Compiled("{ forever rows { forever } }", SCHEMA)

    async def scenario() -> None:
        seen: list[str] = []
        request = asyncio.ensure_future(compiled.run(context=seen))
        await asyncio.sleep(0)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await alone()

    asyncio.run(scenario())
