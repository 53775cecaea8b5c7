"""What commands have in common: the store that they work on, and the error that ends them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from graph.settings.config import Settings

MayMigrate = Annotated[
    bool,
    typer.Option("--migrate/--no-migrate", help="Apply migrations first, or only see that none is missing."),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Where the embedded PostgreSQL keeps its data.")
]


class CommandError(Exception):
    """A command cannot go on; its message is one line."""


@contextmanager
def store(settings: Settings) -> Generator[Settings, None, None]:
    """The settings with a database that can be reached: the configured one, or the embedded one, started."""
    if settings.database_url:
        yield settings
        return
    # Imported late: a command on a configured database need not find the wheel.
    from db.embedded import server as embedded

    with embedded.start(settings.data_dir) as server:
        yield settings.model_copy(update={"database_url": server.dsn()})


def run_on_database(settings: Settings, use_case: Callable[..., Any], *values: Any) -> Any:
    """Run an async use-case that takes a database first, on a pool of its own."""
    return asyncio.run(_on_database(settings, use_case, *values))


async def _on_database(settings: Settings, use_case: Callable[..., Any], *values: Any) -> Any:
    from db.postgres.pool import Database

    database = Database(settings.dsn, settings.pool)
    await database.open()
    try:
        return await use_case(database, *values)
    finally:
        await database.close()
