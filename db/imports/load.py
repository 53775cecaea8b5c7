"""Loading run logs in bulk. Tables: biz.ai_run_logs, runglass.run_external_ids.

An import has one connection of its own outside the pool and one transaction, for as long as the file takes.
It blocks: the command line calls it, no request does. Rows go by COPY into a temporary table first, because
only when all of them are there is it known which months they need, how far their times move and which ids
stand twice.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime, timedelta
from typing import LiteralString, NamedTuple

import psycopg
from psycopg import Copy, sql
from psycopg.rows import TupleRow

from db.imports.statements import HAS_REPEATED, LOCK_KNOWN, Statements, TargetColumn, Totals
from db.postgres.errors import Unavailable, first_line
from db.sql.stored_times import HAS_STORED_ZONE

Connection = psycopg.Connection[TupleRow]

# For this transaction alone, as a pooler lends the session on to others.
PREPARE: LiteralString = """
SELECT set_config(setting.name, value, true)
FROM (VALUES
    ('TimeZone', 'UTC'), ('DateStyle', 'ISO, YMD'), ('IntervalStyle', 'postgres'), ('statement_timeout', '0'),
    ('idle_in_transaction_session_timeout', '0'), ('transaction_timeout', '0'), ('work_mem', '64MB'),
    -- A client that was killed is noticed soon, and its rows are gone.
    ('client_connection_check_interval', '2s'),
    -- Compressing pages in the write-ahead log takes a third of a bulk load; only a superuser may choose.
    ('wal_compression', 'off')
) AS setting(name, value)
JOIN pg_settings USING (name)
WHERE pg_settings.context = 'user' OR current_setting('is_superuser') = 'on'
"""

TARGET_COLUMNS: LiteralString = """
SELECT attname, base.typname, format_type(atttypid, atttypmod),
    CASE WHEN base.typname IN ('varchar', 'bpchar') AND atttypmod > 4 THEN atttypmod - 4 END,
    attnotnull, atthasdef OR attidentity <> ''
FROM pg_attribute JOIN pg_type AS own ON own.oid = atttypid
JOIN pg_type AS base ON base.oid = CASE WHEN own.typtype = 'd' THEN own.typbasetype ELSE own.oid END
WHERE attrelid = to_regclass('biz.ai_run_logs') AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""

# Making a partition locks the log for a moment, so it has a transaction of its own, on another connection.
ENSURE_MONTHS: LiteralString = """
SELECT runglass.ensure_run_log_partitions(month, month)
FROM unnest(%s::date[]) AS month, (SELECT pg_advisory_xact_lock(7864511245003)) AS one_at_a_time
ORDER BY month
"""

MISSING_MONTHS: LiteralString = """
SELECT month FROM unnest(%s::date[]) AS month
WHERE (SELECT relkind FROM pg_class WHERE oid = to_regclass('biz.ai_run_logs')) = 'p'
  AND to_regclass('biz.ai_run_logs_' || to_char(month, 'YYYY_MM')) IS NULL
"""

# Of an id whose run somebody has deleted nothing is left to protect.
FORGET_ORPHANS: LiteralString = """
DELETE FROM runglass.run_external_ids AS ids USING pg_temp.import_rows AS row
WHERE ids.site_id = row.site_id::text AND ids.external_id = row.external_id::text AND NOT EXISTS (
    SELECT FROM biz.ai_run_logs AS run WHERE run.id = ids.run_id AND run.created_at = ids.created_at
)
"""

FIND_REPEATED: LiteralString = """
CREATE TEMPORARY TABLE import_repeated ON COMMIT DROP AS
SELECT * FROM (
    SELECT line, ctid AS place, site_id::text, external_id::text,
        nullif(first_value(line) OVER same, line) AS first_line,
        row_number() OVER same > 1 AS is_second,
        EXISTS (
            SELECT FROM runglass.run_external_ids AS ids
            JOIN biz.ai_run_logs AS run ON run.id = ids.run_id AND run.created_at = ids.created_at
            WHERE ids.site_id = row.site_id::text AND ids.external_id = row.external_id::text
        ) AS is_known
    FROM pg_temp.import_rows AS row WHERE external_id IS NOT NULL
    WINDOW same AS (PARTITION BY site_id, external_id ORDER BY line, ctid)
) AS row WHERE is_second OR is_known
"""

COUNT_REPEATED: LiteralString = "SELECT count(*) FROM pg_temp.import_repeated"

FIRST_REPEATED: LiteralString = """
SELECT line, site_id, external_id, coalesce(first_line, line), is_known
FROM pg_temp.import_repeated ORDER BY line LIMIT %s
"""

DROP_REPEATED: LiteralString = """
DELETE FROM pg_temp.import_rows AS row USING pg_temp.import_repeated AS repeated
WHERE row.ctid = repeated.place
"""

PAGES: LiteralString = (
    "SELECT pg_relation_size('pg_temp.import_rows') / current_setting('block_size')::bigint"
)

# So many pages of rows take a second or two, so that progress is seen and a kill is noticed.
_PAGES_AT_ONCE = 1000
# A COPY is ended now and then, so that the rows that it may yet refuse are few.
_ROWS_OF_A_COPY = 100_000
_LOCK_TRIES = 20
# A value that is too long for an index is a row's fault too.
_REFUSALS = (
    psycopg.DataError,
    psycopg.IntegrityError,
    psycopg.errors.ProgramLimitExceeded,
    # What a trigger says.
    psycopg.errors.RaiseException,
)

Loaded = Callable[[int, int], None]
"""Called with how many of how many pages of rows are loaded."""


class RepeatedId(NamedTuple):
    """A row whose external id the file has on an earlier line, or the database has."""

    line: int
    site_id: str
    external_id: str
    first_line: int
    is_known: bool


class RowsRefused(Exception):
    """The server refused a row; nothing is loaded. `line` is None where the server does not say which one."""

    def __init__(self, reason: str, line: int | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class _IdsTaken(Exception):
    """Another import or report has loaded some of the ids meanwhile, or the file has one twice."""


class RunLogImport:
    """One import: what is written is loaded by `load` and `commit`, or not at all. Made by `open_import`."""

    def __init__(self, dsn: str, connection: Connection) -> None:
        self._dsn = dsn
        self._connection = connection
        self._copy_stack = contextlib.ExitStack()
        self._copy: Copy | None = None
        self._lines: list[Sequence[int]] = []
        self._rows_of_copy = 0
        self._statements: Statements | None = None

    def target_columns(self) -> list[TargetColumn]:
        """The columns of the run log, whose types may be an adopted table's; none where there is no log."""
        return [TargetColumn(*row) for row in self._connection.execute(TARGET_COLUMNS).fetchall()]

    def begin(self, targets: Sequence[TargetColumn], columns: Sequence[str], now: datetime) -> None:
        """Prepare for rows of a line and these columns. `now` is the created_at of rows without any time."""
        self._statements = Statements(targets, columns, now)
        self._connection.execute(self._statements.create)

    @property
    def _sql(self) -> Statements:
        assert self._statements is not None  # noqa: S101 - begin comes first
        return self._statements

    def write(self, rows: bytes, lines: Sequence[int]) -> None:
        """Take whole rows in COPY's text format. Raises RowsRefused, perhaps for rows taken earlier."""
        with self._refusals():
            if self._rows_of_copy >= _ROWS_OF_A_COPY:
                self._end_copy()
            if self._copy is None:
                cursor = self._copy_stack.enter_context(self._connection.cursor())
                self._copy = self._copy_stack.enter_context(cursor.copy(self._sql.copy))
            self._lines.append(lines)
            self._rows_of_copy += len(lines)
            self._copy.write(rows)

    def end_writing(self) -> None:
        """All rows are written. Raises RowsRefused for one of them."""
        with self._refusals():
            self._end_copy()

    def _end_copy(self) -> None:
        self._copy_stack.close()
        self._copy = None
        self._lines.clear()
        self._rows_of_copy = 0

    def repeated_ids(self, limit: int, *, drop: bool) -> tuple[int, list[RepeatedId]]:
        """How many rows have an external id that was there before, and the first few; perhaps dropped."""
        self._connection.execute(FIND_REPEATED)
        count = self._connection.execute(COUNT_REPEATED).fetchone()
        rows = self._connection.execute(FIRST_REPEATED, (limit,)).fetchall()
        if drop:
            self._connection.execute(DROP_REPEATED)
        self._connection.execute("DROP TABLE pg_temp.import_repeated")
        return (count[0] if count else 0), [RepeatedId(*row) for row in rows]

    def forget_orphans(self) -> None:
        """Free the external ids of the rows whose runs somebody has deleted."""
        self._connection.execute(FORGET_ORPHANS)

    def merge(self) -> None:
        """Make one row of those with the same external id, the later ones going first."""
        if self._connection.execute(HAS_REPEATED).fetchone() == (True,):
            self._connection.execute(self._sql.merge)
            self._connection.execute("DROP TABLE pg_temp.import_rows")
            self._connection.execute("ALTER TABLE pg_temp.import_merged RENAME TO import_rows")

    def shift_by(self, period: timedelta) -> None:
        """Move all times."""
        self._sql.shift = period

    def totals(self) -> Totals:
        """What would be loaded."""
        row = self._connection.execute(self._sql.totals).fetchone()
        assert row is not None  # noqa: S101 - a count has a row
        # A sum of bigints is numeric.
        # The session's zone may be that of adopted times.
        return Totals(row[0], int(row[1]), *(time and time.astimezone(UTC) for time in row[2:]))

    def first_rows(self, limit: int) -> tuple[list[str], list[tuple[object, ...]]]:
        """The names of the columns, `line` first, and the first rows as they would be stored."""
        cursor = self._connection.execute(self._sql.first_rows, (limit,))
        return [column.name for column in cursor.description or ()], cursor.fetchall()

    def ensure_months(self, limit: int) -> None:
        """Make and commit the partitions of the rows' newest months where they are missing."""
        months = [row[0] for row in self._connection.execute(self._sql.months, (limit,)).fetchall()]
        if not self._connection.execute(MISSING_MONTHS, (months,)).fetchall():
            return
        for attempt in range(_LOCK_TRIES):
            try:
                with contextlib.closing(_connect(self._dsn)) as other:
                    _prepare(other)
                    # While it waits, everybody else waits behind it.
                    other.execute("SET LOCAL lock_timeout = '1s'")
                    other.execute(ENSURE_MONTHS, (months,))
                    other.commit()
                return
            except psycopg.errors.LockNotAvailable:
                if attempt == _LOCK_TRIES - 1:
                    raise

    def load(self, progress: Loaded, *, update: bool) -> int | None:
        """Put the rows into the run log; gives how many runs were changed instead of added.

        None where an external id was taken, and then nothing is done yet. Raises RowsRefused.
        """
        with contextlib.suppress(_IdsTaken), self._connection.transaction():
            changed = self._change_known() if update else 0
            self._by_pages(self._sql.insert_new if update else self._sql.insert, progress)
            return changed
        return None

    def _change_known(self) -> int:
        self.forget_orphans()
        self._connection.execute(LOCK_KNOWN)
        return self._by_pages(self._sql.change_known, lambda done, total: None)

    def _by_pages(self, statement: sql.Composed, progress: Loaded) -> int:
        """Run a statement for all pages of rows, some at a time; gives how many rows it told of."""
        found = self._connection.execute(PAGES).fetchone()
        pages = found[0] if found else 0
        told = 0
        for first in range(0, pages, _PAGES_AT_ONCE):
            last = min(first + _PAGES_AT_ONCE, pages)
            try:
                with self._connection.transaction():
                    places = {"first": f"({first},0)", "last": f"({last},0)"}
                    told += self._connection.execute(statement, places).rowcount
            except psycopg.errors.UniqueViolation as error:
                if error.diag.table_name == "run_external_ids":
                    raise _IdsTaken from error
                raise self._with_line(error, statement, first, last) from error
            except _REFUSALS as error:
                raise self._with_line(error, statement, first, last) from error
            progress(last, pages)
        return told

    def _with_line(self, error: psycopg.Error, statement: sql.Composed, first: int, last: int) -> RowsRefused:
        """The refusal with the line of the first row that is refused after the others, found by halves."""
        pages = [f"({page},0)" for page in range(first, last + 1)]
        page = self._first_refused(statement, pages[0], pages)
        rows = self._connection.execute(
            "SELECT ctid::text, line FROM pg_temp.import_rows WHERE ctid >= %s::tid AND ctid < %s::tid",
            (pages[page], pages[page + 1]),
        ).fetchall()
        places = [place for place, _ in rows] + [pages[page + 1]]
        place, line = rows[self._first_refused(statement, pages[0], places)]
        return _refused(error, line, self._refused_column(place))

    def _refused_column(self, place: str) -> str | None:
        """The column that cannot hold the value of the row there; None where each of them can."""
        for name, statement in self._sql.tried_values():
            try:
                with self._connection.transaction(force_rollback=True):
                    self._connection.execute(statement, {"place": place})
            except _REFUSALS:
                return name
        return None

    def _first_refused(self, statement: sql.Composed, begin: str, places: list[str]) -> int:
        """The last place up to which the rows from `begin` on are accepted."""
        good, bad = 0, len(places) - 1
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                with self._connection.transaction(force_rollback=True):
                    self._connection.execute(statement, {"first": begin, "last": places[middle]})
                good = middle
            except _REFUSALS:
                bad = middle
        return good

    def commit(self) -> None:
        """Make it all visible. Raises RowsRefused, and then nothing is loaded."""
        with self._refusals():
            self._connection.commit()

    def abandon(self) -> None:
        """Give up what was written."""
        with contextlib.suppress(psycopg.Error):
            self._copy_stack.__exit__(_Abandoned, _Abandoned(), None)
        self._copy = None

    @contextlib.contextmanager
    def _refusals(self) -> Generator[None, None, None]:
        try:
            yield
        except _REFUSALS as error:
            where = re.search(r"COPY \w+, line (\d+)", error.diag.context or "")
            raise _refused(error, self._line(int(where[1])) if where else None) from error

    def _line(self, row: int) -> int | None:
        """The line of a row of the COPY that is under way."""
        for lines in self._lines:
            if row <= len(lines):
                return lines[row - 1]
            row -= len(lines)
        return None


def _prepare(connection: Connection) -> None:
    connection.execute(PREPARE)
    if connection.execute(HAS_STORED_ZONE).fetchone() == (True,):
        connection.execute("SELECT set_config('TimeZone', runglass.stored_time_zone(), true)")


class _Abandoned(Exception):
    """Ends a COPY whose rows are not wanted."""


@contextlib.contextmanager
def open_import(dsn: str) -> Generator[RunLogImport, None, None]:
    """An import into the database of `dsn`; given up unless it is committed.

    Raises Unavailable, with what the server says, where it cannot be reached, goes away or forbids this.
    """
    try:
        with contextlib.closing(_connect(dsn)) as connection:
            _prepare(connection)
            loading = RunLogImport(dsn, connection)
            try:
                yield loading
            finally:
                loading.abandon()
    except psycopg.Error as error:
        raise Unavailable(f"the database cannot be used: {first_line(error)}") from error


def _connect(dsn: str) -> Connection:
    # A prepared statement would stay on the connection that a pooler lends on.
    return psycopg.connect(dsn, application_name="runglass import", prepare_threshold=None)


def _refused(error: psycopg.Error, line: int | None, column: str | None = None) -> RowsRefused:
    where = re.search(r"COPY \w+, line \d+, column (\w+)", error.diag.context or "")
    reason = error.diag.message_primary or str(error)
    if isinstance(error, psycopg.errors.UniqueViolation) and error.diag.message_detail:
        reason = error.diag.message_detail
    column = where[1] if where else error.diag.column_name or column
    return RowsRefused(f"{column}: {reason}" if column else reason, line)
