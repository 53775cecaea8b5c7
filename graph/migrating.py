"""Bringing the store up to date, before anything else uses it."""

from __future__ import annotations

import asyncio

from db.migrate import apply_migrations
from graph.config import Settings


def migrate_store(settings: Settings) -> list[str]:
    """Apply the migrations that are missing and give their names, oldest first."""
    return asyncio.run(apply_migrations(settings.dsn, connect_seconds=settings.connect_timeout))
