"""Whether the store is fit for this version: reached, new enough, migrated, and open to what we do."""

from __future__ import annotations

from db.address import connected
from db.checks import missing_privileges, server_version
from db.errors import Unavailable
from db.pool import Database, PoolSettings
from resolvers.maintenance import not_ready_because

OLDEST = 140_000


async def check_store(dsn: str, settings: PoolSettings) -> list[str]:
    """One line per check, each led by "ok" or "wrong"."""
    database = Database(dsn, settings)
    try:
        async with connected(dsn, seconds=settings.connect_seconds, purpose="check"):
            await database.open()
        async with database.connection() as connection:
            version = await server_version(connection)
            fit = version >= OLDEST
            lines = [f"{'ok' if fit else 'wrong'}: PostgreSQL {version // 10_000} (14 or newer is needed)"]
            reason = await not_ready_because(database)
            lines.append(f"wrong: {reason}" if reason else "ok: migrations")
            if reason is None:
                missing = await missing_privileges(connection)
                lines.append(f"wrong: no right to {missing[0]}" if missing else "ok: permissions")
    except Unavailable as error:
        return [f"wrong: {error}"]
    finally:
        await database.close()
    return lines
