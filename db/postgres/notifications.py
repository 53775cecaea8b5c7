"""Notices of the database (LISTEN), on a connection of their own: the pool hands its connections round."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import LiteralString

import psycopg

from db.postgres.connection import Connection, options_of
from db.postgres.repeats import Repeats

log = logging.getLogger(__name__)

ACCESS_CHANGED: LiteralString = "runglass_access"
_RETRY_SECONDS = 1.0
_CONNECT_SECONDS = 5.0
_QUIET_SECONDS = 10.0
_ANSWER_SECONDS = 5.0


async def watch(
    dsn: str, channel: LiteralString, *, heard: Callable[[], None], listening: Callable[[bool], None]
) -> None:
    """Call `heard` for each notice of a channel until cancelled; a lost connection is made again.

    `listening` is told when notices begin and cease to arrive. What happens between is missed. The address
    must not be that of a pooler in transaction mode, which does not carry LISTEN.
    """
    losses = Repeats()
    while True:
        try:
            await _listen(dsn, channel, heard, listening)
        except (psycopg.Error, OSError) as error:
            reason = str(error).split("\n", 1)[0]
            losses.tell(log, logging.WARNING, f"notices of {channel} are lost and awaited again: {reason}")
        finally:
            listening(False)
        await asyncio.sleep(_RETRY_SECONDS)


async def _listen(
    dsn: str, channel: LiteralString, heard: Callable[[], None], listening: Callable[[bool], None]
) -> None:
    options = options_of(dsn, connect_seconds=_CONNECT_SECONDS, application_name="runglass notifications")
    connection = await Connection.connect(dsn, autocommit=True, prepare_threshold=None, **options)
    async with connection:
        connection.deadline_seconds = _ANSWER_SECONDS
        await connection.execute("LISTEN " + channel)
        listening(True)
        while True:
            async for _notice in connection.notifies(timeout=_QUIET_SECONDS):
                heard()
            # Whoever listens to a server that hangs hears nothing, as from one that has nothing to say.
            await connection.execute("SELECT 1")
