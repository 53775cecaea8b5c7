"""Whether the store is fit for this version: reached, new enough, migrated, and open to what we do."""

from __future__ import annotations

from db.address import connected
from db.checks import missing_privileges, server_version
from db.errors import StatementTimeout, Unavailable
from db.migrate import OLDEST_SERVER
from db.pool import Database, PoolSettings
from resolvers.maintenance import readiness


async def check_store(dsn: str, settings: PoolSettings) -> list[str]:
    """One line per check, each led by "ok" or "wrong"."""
    database = Database(dsn, settings)
    try:
        async with connected(dsn, seconds=settings.connect_seconds, purpose="check"):
            await database.open()
        async with database.connection() as connection:
            version = await server_version(connection)
            fit = version >= OLDEST_SERVER
            lines = [f"{'ok' if fit else 'wrong'}: PostgreSQL {version // 10_000} (14 or newer is needed)"]
            reason, writable = await readiness(database)
            lines.append(f"wrong: {reason}" if reason else "ok: migrations")
            if reason is None:
                missing = await missing_privileges(connection)
                lines.append(f"wrong: no right to {', '.join(missing)}" if missing else "ok: permissions")
                lines.append(
                    "ok: the database takes changes"
                    if writable
                    else "wrong: the database takes no changes: it is a standby, or read-only (reading works)"
                )
    except (StatementTimeout, Unavailable) as error:
        return [f"wrong: {error}"]
    finally:
        await database.close()
    return lines
