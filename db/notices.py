"""Notices of the database (LISTEN), on a connection of their own: the pool hands its connections round."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import LiteralString

import psycopg

log = logging.getLogger(__name__)

ACCESS_CHANGED: LiteralString = "runglass_access"
_RETRY_SECONDS = 1.0


async def watch(
    dsn: str, channel: LiteralString, *, heard: Callable[[], None], listening: Callable[[bool], None]
) -> None:
    """Call `heard` for each notice of a channel until cancelled; a lost connection is made again.

    `listening` is told when notices begin and cease to arrive. What happens between is missed, and so is
    everything behind a pooler in transaction mode, which does not carry LISTEN.
    """
    while True:
        try:
            await _listen(dsn, channel, heard, listening)
        except (psycopg.Error, OSError) as error:
            log.warning("notices of %s are lost and awaited again: %s", channel, str(error).split("\n", 1)[0])
        finally:
            listening(False)
        await asyncio.sleep(_RETRY_SECONDS)


async def _listen(
    dsn: str, channel: LiteralString, heard: Callable[[], None], listening: Callable[[bool], None]
) -> None:
    connection = await psycopg.AsyncConnection.connect(
        dsn,
        autocommit=True,
        prepare_threshold=None,
        application_name="runglass notices",
        connect_timeout=5,
        # A peer that vanished without a word is noticed within some ten seconds.
        keepalives_idle=5,
        keepalives_interval=2,
        keepalives_count=3,
    )
    async with connection:
        await connection.execute("LISTEN " + channel)
        listening(True)
        async for _notice in connection.notifies():
            heard()
