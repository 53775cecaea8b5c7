"""Whether the store is fit for this version: reached, new enough, migrated, and open to what we do."""

from __future__ import annotations

from db.budgets.reservations import MOST_COUNTED, count_unmoved_jobs
from db.migrations.adopted_columns import columns_in_the_way, count_odd_rows, list_odd_sites
from db.migrations.runner import OLDEST_SERVER
from db.postgres.checks import missing_ownerships, missing_privileges, server_version, stands_behind_pooler
from db.postgres.errors import StatementTimeout, Unavailable
from db.postgres.pool import Connection, Database, Pooler, PoolSettings
from db.sql.stored_times import read_stored_zone
from db.usage.rollup_checks import compare_days, list_doubts, uncounted_tables
from resolvers.worker.installation import copy_problem
from resolvers.worker.maintenance import RESERVATION_SECONDS, readiness

# Of a role without any right hundreds are missing.
_LISTED = 5


async def pooler_problem(dsn: str, settings: PoolSettings) -> str | None:
    """What the settings do not say of a pooler before the database; None where they fit.

    Raises Unavailable where the server cannot be reached.
    """
    seconds = settings.connect_seconds
    if settings.pooler is Pooler.NONE and await stands_behind_pooler(dsn, seconds=seconds):
        return "a pooler stands before the database: set RUNGLASS_POOLER to transaction, or to session"
    if settings.direct_dsn and await stands_behind_pooler(settings.direct_dsn, seconds=seconds):
        return "RUNGLASS_DIRECT_DATABASE_URL leads to a pooler too: give the server's own address"
    return None


async def check_store(
    dsn: str, settings: PoolSettings, *, unmoved_seconds: float = RESERVATION_SECONDS
) -> list[str]:
    """One line per check, each led by "ok" or "wrong"; of jobs, whether any has not moved for long."""
    database = Database(dsn, settings)
    lines: list[str] = []
    try:
        lines += await _permissions(dsn, settings)
        await database.open()
        async with database.connection() as connection:
            version = await server_version(connection)
            fit = version >= OLDEST_SERVER
            problem = await pooler_problem(dsn, settings)
            between = "no pooler" if settings.pooler is Pooler.NONE else f"a pooler in {settings.pooler} mode"
            lines.append(f"wrong: {problem}" if problem else f"ok: {between}")
            lines.append(
                f"{'ok' if fit else 'wrong'}: PostgreSQL {version // 10_000} (14 or newer is needed)"
            )
            reason, writable = await readiness(database)
            lines.append(f"wrong: {reason}" if reason else "ok: migrations")
            if reason is None:
                copied = await copy_problem(database)
                lines.append(f"wrong: {copied}" if copied else "ok: installation")
                lines += await _partitions(connection)
                lines.append(
                    "ok: the database takes changes"
                    if writable
                    else "wrong: the database takes no changes: it is a standby, or read-only (reading works)"
                )
                lines += await _adopted(connection)
                lines += await _sums(connection)
                lines += await _jobs(connection, unmoved_seconds)
    except (StatementTimeout, Unavailable) as error:
        lines.append(f"wrong: {error}")
    finally:
        await database.close()
    return lines


async def _permissions(dsn: str, settings: PoolSettings) -> list[str]:
    missing = await missing_privileges(dsn, seconds=settings.connect_seconds)
    if not missing:
        return ["ok: permissions"]
    more = f" and {len(missing) - _LISTED} more" if len(missing) > _LISTED else ""
    return [f"wrong: no right to {'; '.join(missing[:_LISTED])}{more}: grant what docs/roles.md says"]


async def _partitions(connection: Connection) -> list[str]:
    return [
        f"wrong: partitions of run logs cannot be made: {lack}"
        for lack in await missing_ownerships(connection)
    ]


async def _adopted(connection: Connection) -> list[str]:
    """What is odd about tables that others made."""
    lines = [f"wrong: {problem}, which cannot be served" for problem in await columns_in_the_way(connection)]
    zone = await read_stored_zone(connection)
    if zone is not None and zone.key != "UTC":
        lines.append(f"ok: times without a zone are read and written in {zone.key}")
    odd = await count_odd_rows(connection)
    if any(odd):
        lines.append(
            f"ok: {odd.runs:,} runs, {odd.jobs:,} jobs and {odd.cached_answers:,} cached answers have no"
            " usable time of creation: no list or sum has them"
        )
    odd_sites = await list_odd_sites(connection)
    if odd_sites:
        shown = ", ".join(f"{site!r} of {name}" for name, site in odd_sites[:20])
        more = " and more" if len(odd_sites) > 20 else ""
        lines.append(f"ok: no run can be of these sites, as their column holds no such id: {shown}{more}")
    return lines


async def _sums(connection: Connection) -> list[str]:
    """Whether sums are exact: all writes counted, and some days equal to their rows."""
    lines = [
        f"wrong: writes of {table} are not all counted: a trigger is off or missing; once it is on, run"
        " `runglass rollup rebuild`"
        for table in await uncounted_tables(connection)
    ]
    compared, differing = await compare_days(connection)
    lines += [
        f"wrong: sums of {day} are not those of its rows: run `runglass rollup rebuild`" for day in differing
    ]
    if not lines:
        lines.append(f"ok: sums of {compared} days are those of their rows")
    for doubts in await list_doubts(connection):
        if doubts.waiting:
            lines.append(f"wrong: {doubts.waiting} days wait to be counted again: {doubts.reason}")
        if doubts.differed:
            when = f"{doubts.noticed_at:%Y-%m-%d %H:%M}"
            lines.append(f"ok: {doubts.differed} days were counted again since {when}: {doubts.reason}")
    return lines


async def _jobs(connection: Connection, seconds: float) -> list[str]:
    """Whether somebody moves the jobs that wait or run."""
    jobs, released = await count_unmoved_jobs(connection, seconds=seconds)
    if not jobs:
        return [f"ok: every job that waits or runs has moved within {seconds:,.0f} s"]
    count = f"{jobs:,} jobs" if jobs < MOST_COUNTED else f"{jobs:,} jobs or more"
    return [
        f"wrong: {count} that wait or run have not moved for {seconds:,.0f} s; reservations of {released:,}"
        " are released. See to their dispatcher, or end them by cancelJobs or failJobs"
    ]
