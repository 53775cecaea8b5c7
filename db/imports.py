"""Loading run logs in bulk by COPY. Tables: biz.ai_run_logs, runglass.run_external_ids.

An import has a connection of its own outside the pool, because it holds one transaction for as long as the
file takes. It blocks: the command line calls it, no request does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Generator, Iterable, Sequence
from datetime import datetime
from typing import LiteralString, NamedTuple

import psycopg
from psycopg import sql
from psycopg.copy import Copy, QueuedLibpqWriter
from psycopg.rows import TupleRow

from db.errors import Unavailable

Connection = psycopg.Connection[TupleRow]

TARGET_COLUMNS: LiteralString = """
SELECT attname, base.typname,
    CASE WHEN base.typname IN ('varchar', 'bpchar') AND atttypmod > 4 THEN atttypmod - 4 END,
    attnotnull, atthasdef OR attidentity <> ''
FROM pg_attribute JOIN pg_type AS own ON own.oid = atttypid
JOIN pg_type AS base ON base.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END
WHERE attrelid = to_regclass('biz.ai_run_logs') AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""

# Making a partition locks the log for a moment, so it has a transaction of its own before the import's.
ENSURE_MONTHS: LiteralString = """
SELECT runglass.ensure_run_log_partitions(month, month)
FROM unnest(%s::date[]) AS month, (SELECT pg_advisory_xact_lock(7864511245003)) AS one_at_a_time
ORDER BY month
"""

RUN_LOG_MONTHS: LiteralString = """
SELECT split_part(relname, '_', 4)::integer, split_part(relname, '_', 5)::integer
FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = 'biz.ai_run_logs'::regclass AND relname ~ '^ai_run_logs_[0-9]{4}_[0-9]{2}$'
"""

RUN_LOG_IS_PARTITIONED: LiteralString = """
SELECT relkind = 'p' FROM pg_class WHERE oid = 'biz.ai_run_logs'::regclass
"""

KNOWN_EXTERNAL_IDS: LiteralString = """
SELECT site_id, external_id FROM runglass.run_external_ids
JOIN unnest(%s::text[], %s::text[]) AS row(site_id, external_id) USING (site_id, external_id)
"""

# xmin tells our rows from those that others have added to the same period meanwhile.
CLAIM_EXTERNAL_IDS: LiteralString = """
INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
SELECT site_id::text, external_id, id, created_at FROM biz.ai_run_logs
WHERE external_id IS NOT NULL AND created_at BETWEEN %s AND %s AND xmin = pg_current_xact_id()::xid
"""


class TargetColumn(NamedTuple):
    """A column of biz.ai_run_logs. `type` is PostgreSQL's short name (int4, text); lengths in characters."""

    name: str
    type: str
    max_length: int | None
    not_null: bool
    has_default: bool


class RowsRefused(Exception):
    """The server refused the rows; nothing is loaded.

    `row` counts the rows written so far from 1, or is None where the server does not say which one it was.
    """

    def __init__(self, reason: str, row: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.row = row


class RunLogImport:
    """One import: everything written is loaded by `commit`, or nothing is. Made by `open_import`."""

    def __init__(self, dsn: str, connection: Connection) -> None:
        self._dsn = dsn
        self._connection = connection
        self._stack = contextlib.ExitStack()
        self._lookups: Connection | None = None
        self._copy: Copy | None = None

    def target_columns(self) -> list[TargetColumn]:
        """The columns of the run log, whose types may be an adopted table's."""
        rows = self._connection.execute(TARGET_COLUMNS).fetchall()
        return [TargetColumn(*row) for row in rows]

    def months(self) -> set[tuple[int, int]] | None:
        """The (year, month) that have a partition of their own, or None where the log has no partitions."""
        if self._connection.execute(RUN_LOG_IS_PARTITIONED).fetchone() != (True,):
            return None
        return {(year, month) for year, month in self._connection.execute(RUN_LOG_MONTHS).fetchall()}

    def ensure_months(self, months: Iterable[datetime]) -> None:
        """Make and commit the partitions of these months (any moment within each) where they are missing."""
        self._connection.execute(ENSURE_MONTHS, ([month.date() for month in months],))
        self._connection.commit()

    def begin(self, columns: Sequence[str]) -> None:
        """Begin to COPY rows with these columns."""
        statement = sql.SQL("COPY biz.ai_run_logs ({}) FROM STDIN").format(
            sql.SQL(", ").join(map(sql.Identifier, columns))
        )
        cursor = self._stack.enter_context(self._connection.cursor())
        # The writer's thread waits for the socket while ours checks the next rows.
        self._copy = self._stack.enter_context(cursor.copy(statement, writer=QueuedLibpqWriter(cursor)))

    def write(self, rows: bytes) -> None:
        """Write whole rows in COPY's text format. Raises RowsRefused, perhaps for rows written earlier."""
        assert self._copy is not None  # noqa: S101 - begin comes first
        with _refusals():
            self._copy.write(rows)

    def known_external_ids(self, sites: list[str], ids: list[str]) -> set[tuple[str, str]]:
        """Which of these (site, external id) pairs the database already has."""
        if self._lookups is None:
            # Our own connection is in the middle of a COPY.
            self._lookups = self._stack.enter_context(_connect(self._dsn))
            self._lookups.autocommit = True
        rows = self._lookups.execute(KNOWN_EXTERNAL_IDS, (sites, ids)).fetchall()
        return {(site, external_id) for site, external_id in rows}

    def commit(self, external_ids_between: tuple[datetime, datetime] | None) -> None:
        """End the COPY and commit. Where rows have external ids, say between which created_at they lie.

        Raises RowsRefused, and then nothing is loaded.
        """
        with _refusals():
            self._stack.close()
            if external_ids_between is not None:
                self._connection.execute(CLAIM_EXTERNAL_IDS, external_ids_between)
            self._connection.commit()

    def abandon(self) -> None:
        """Give up what was written."""
        with contextlib.suppress(psycopg.Error):
            self._stack.__exit__(_Abandoned, _Abandoned(), None)
        self._lookups = None

    def restart(self) -> None:
        """Give up what was written, to begin again."""
        self.abandon()
        self._connection.rollback()


class _Abandoned(Exception):
    """Ends a COPY whose rows are not wanted."""


@contextlib.contextmanager
def open_import(dsn: str) -> Generator[RunLogImport, None, None]:
    """An import into the database of `dsn`; given up unless it is committed.

    Raises Unavailable where the server cannot be reached or goes away.
    """
    try:
        with contextlib.closing(_connect(dsn)) as connection:
            _prepare(connection)
            loading = RunLogImport(dsn, connection)
            try:
                yield loading
            finally:
                loading.abandon()
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable(f"the database cannot be used: {str(error).strip().splitlines()[0]}") from error


def _connect(dsn: str) -> Connection:
    return psycopg.connect(dsn, application_name="runglass import")


def _prepare(connection: Connection) -> None:
    connection.autocommit = True
    connection.execute(
        "SELECT set_config('TimeZone', 'UTC', false), set_config('statement_timeout', '0', false)"
    )
    # Compressing pages in the write-ahead log takes a third of a bulk load; only a superuser may choose.
    with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
        connection.execute("SET wal_compression = off")
    connection.autocommit = False


@contextlib.contextmanager
def _refusals() -> Generator[None, None, None]:
    try:
        yield
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        raise _refused(error) from error
    except psycopg.OperationalError as error:
        # A full index row or disk is the rows' matter; a lost server has no code.
        if error.sqlstate is None or not error.sqlstate.startswith("54"):
            raise
        raise _refused(error) from error


def _refused(error: psycopg.Error) -> RowsRefused:
    where = re.search(r"COPY \w+, line (\d+)(?:, column (\w+))?", error.diag.context or "")
    reason = error.diag.message_primary or str(error)
    if isinstance(error, psycopg.errors.UniqueViolation) and error.diag.message_detail:
        reason = error.diag.message_detail
    if where and where[2]:
        reason = f"{where[2]}: {reason}"
    return RowsRefused(reason, int(where[1]) if where else None)
