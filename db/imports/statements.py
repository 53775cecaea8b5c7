"""The statements of an import, composed from the columns of a run log that may have been adopted.

The rows wait in pg_temp.import_rows: the line of the file, and the columns that it or the command line gives.
What they leave out is derived here, when they are put into the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import LiteralString, NamedTuple, cast

from psycopg import sql

from db.sql.token_counts import TOKENS_OF_RUN

DERIVED = ("tokens_used", "latency_ms", "status", "created_at", "finished_at")

# Numbers and times wait in these types, whatever an adopted table has, so that one calculation fits all.
_TYPES: dict[str, LiteralString] = {
    "tokens_used": "bigint",
    "prompt_tokens": "bigint",
    "completion_tokens": "bigint",
    "cached_tokens": "bigint",
    "latency_ms": "double precision",
    "status": "text",
    "error_message": "text",
    "created_at": "timestamptz",
    "finished_at": "timestamptz",
}

# What ends more than 24 days after it began is left without a latency, as its column holds no more.
DERIVE: LiteralString = """
SELECT row.*,
    {tokens} AS final_tokens_used,
    created AS final_created_at,
    coalesce({latency_ms}, CASE
        WHEN {finished_at} >= created AND {finished_at} < created + interval '24 days'
        THEN floor(extract(epoch FROM {finished_at} - created) * 1000)
    END) AS final_latency_ms,
    state AS final_status,
    coalesce({finished_at}, CASE
        WHEN state IN ('success', 'failed', 'timeout', 'circuit_open')
        THEN created + {latency_ms} * interval '1 millisecond'
    END) AS final_finished_at
FROM pg_temp.import_rows AS row,
    LATERAL (SELECT
        coalesce({created_at}, {finished_at} - coalesce({latency_ms}, 0) * interval '1 millisecond', {now})
            AS created,
        coalesce({status}, CASE WHEN {error_message} IS NULL THEN 'success' ELSE 'failed' END) AS state
    ) AS derived
""".replace("{tokens}", TOKENS_OF_RUN)

OF_PAGES: LiteralString = " WHERE row.ctid >= %(first)s::tid AND row.ctid < %(last)s::tid"

ARE_NEW: LiteralString = """ AND NOT EXISTS (
    SELECT FROM runglass.run_external_ids AS ids
    WHERE ids.site_id = row.site_id::text AND ids.external_id = row.external_id::text
)"""

# The value takes the type of its column, without being cut as a cast would cut it.
TRY_VALUE: LiteralString = """
SELECT jsonb_populate_record(NULL::biz.ai_run_logs, jsonb_build_object({name}, {value}))
FROM ({derive}) AS row
"""

INSERT: LiteralString = "INSERT INTO biz.ai_run_logs ({columns}) SELECT {values} FROM ({derive}) AS row"

INSERT_AND_CLAIM: LiteralString = """
WITH added AS (
    {insert} RETURNING id, site_id::text AS site_id, external_id::text AS external_id, created_at
)
INSERT INTO runglass.run_external_ids (site_id, external_id, run_id, created_at)
SELECT site_id, external_id, id, created_at FROM added WHERE external_id IS NOT NULL
"""

# How far a run has come; a row that does not say it is believed.
STATE: LiteralString = "CASE {status} WHEN 'pending' THEN 0 WHEN 'running' THEN 1 ELSE 2 END"

# In the order in which reports lock them.
LOCK_KNOWN: LiteralString = """
SELECT count(*) FROM (
    SELECT FROM runglass.run_external_ids AS ids JOIN pg_temp.import_rows AS row
        ON ids.site_id = row.site_id::text AND ids.external_id = row.external_id::text
    ORDER BY ids.site_id, ids.external_id FOR UPDATE OF ids
) AS locked
"""

# What a row leaves out keeps its value. A row of an earlier state adds what is missing and changes nothing.
CHANGE_KNOWN: LiteralString = """
WITH changed AS (
    UPDATE biz.ai_run_logs AS run SET {assignments}
    FROM pg_temp.import_rows AS row JOIN runglass.run_external_ids AS ids
        ON ids.site_id = row.site_id::text AND ids.external_id = row.external_id::text
    WHERE run.id = ids.run_id AND run.created_at = ids.created_at
      AND row.ctid >= %(first)s::tid AND row.ctid < %(last)s::tid
    RETURNING ids.site_id, ids.external_id, ids.created_at AS old_created_at, run.created_at
), moved AS (
    UPDATE runglass.run_external_ids AS ids SET created_at = changed.created_at FROM changed
    WHERE ids.site_id = changed.site_id AND ids.external_id = changed.external_id
      AND changed.created_at <> changed.old_created_at
)
SELECT FROM changed
"""

HAS_REPEATED: LiteralString = """
SELECT EXISTS (
    SELECT FROM pg_temp.import_rows WHERE external_id IS NOT NULL
    GROUP BY site_id, external_id HAVING count(*) > 1
)
"""

MERGE: LiteralString = """
CREATE TEMPORARY TABLE import_merged ON COMMIT DROP AS
SELECT line, {columns} FROM pg_temp.import_rows WHERE external_id IS NULL
UNION ALL
SELECT min(line), {merged} FROM (SELECT *, ctid AS place, {state} AS state FROM pg_temp.import_rows) AS row
WHERE external_id IS NOT NULL GROUP BY site_id, external_id
ORDER BY 1
"""

LAST_GIVEN: LiteralString = (
    "(array_agg({column} ORDER BY state DESC, line DESC, place DESC) FILTER (WHERE {column} IS NOT NULL))[1]"
)


class TargetColumn(NamedTuple):
    """A column of biz.ai_run_logs. `type` is PostgreSQL's short name (int4), `full_type` what SQL writes."""

    name: str
    type: str
    full_type: str
    max_length: int | None
    not_null: bool
    has_default: bool


class Totals(NamedTuple):
    """Of the rows that wait."""

    rows: int
    tokens: int
    first_created_at: datetime | None
    last_created_at: datetime | None
    last_finished_at: datetime | None


class Statements:
    """The statements of one import. `shift` moves all times."""

    def __init__(self, targets: Sequence[TargetColumn], columns: Sequence[str], now: datetime) -> None:
        self._targets = {column.name: column for column in targets}
        self._columns = list(columns)
        self._now = now
        self.shift = timedelta()
        self.has_ids = "external_id" in columns

    def _type(self, name: str) -> sql.SQL:
        # The catalogue's own word for a type, quoted where it must be.
        full = cast(LiteralString, self._targets[name].full_type) if name in self._targets else "text"
        return sql.SQL(_TYPES.get(name, full))

    def _given(self, name: str) -> sql.Composable:
        """What a row says of a column, or NULL."""
        if name not in self._columns:
            return sql.SQL("NULL::{}").format(self._type(name))
        value = sql.SQL("row.{}").format(sql.Identifier(name))
        if self.shift and name in ("created_at", "finished_at"):
            return sql.SQL("({} + {})").format(value, sql.Literal(self.shift))
        return value

    def _stored(self, name: str, value: sql.Composable) -> sql.Composable:
        """A value as its column takes it: a word is cast where an adopted table has an enum."""
        if name == "status" and self._targets[name].type not in ("text", "varchar", "bpchar"):
            return sql.SQL("({})::text::{}").format(
                value, sql.SQL(cast(LiteralString, self._targets[name].full_type))
            )
        return value

    @property
    def _written(self) -> list[str]:
        derived = [name for name in DERIVED if name in self._targets and name not in self._columns]
        return [*self._columns, *derived]

    def _final(self, name: str) -> sql.Composable:
        if name in DERIVED:
            return self._stored(name, sql.SQL("row.{}").format(sql.Identifier(f"final_{name}")))
        return sql.SQL("row.{}").format(sql.Identifier(name))

    @property
    def _derive(self) -> sql.Composed:
        given = {name: self._given(name) for name in (*_TYPES,)}
        return sql.SQL(DERIVE).format(**given, now=sql.Literal(self._now))

    @property
    def create(self) -> sql.Composed:
        """The table of rows that wait."""
        columns = [sql.SQL("{} {}").format(sql.Identifier(name), self._type(name)) for name in self._columns]
        statement = sql.SQL("CREATE TEMPORARY TABLE import_rows (line bigint, {}) ON COMMIT DROP")
        return statement.format(sql.SQL(", ").join(columns))

    @property
    def copy(self) -> sql.SQL:
        """Rows in, in COPY's text format."""
        return sql.SQL("COPY pg_temp.import_rows FROM STDIN")

    @property
    def totals(self) -> sql.Composed:
        """A row of `Totals`."""
        statement = sql.SQL(
            "SELECT count(*), coalesce(sum(final_tokens_used), 0),"
            " min(final_created_at), max(final_created_at), max(final_finished_at) FROM ({}) AS row"
        )
        return statement.format(self._derive)

    @property
    def months(self) -> sql.Composed:
        """The newest months of the rows, no more than a number."""
        statement = sql.SQL(
            "SELECT DISTINCT date_trunc('month', final_created_at AT TIME ZONE 'UTC')::date FROM ({}) AS row"
            " ORDER BY 1 DESC LIMIT %s"
        )
        return statement.format(self._derive)

    @property
    def first_rows(self) -> sql.Composed:
        """A number of rows as they would be stored."""
        values = [
            sql.SQL("{} AS {}").format(self._final(name), sql.Identifier(name)) for name in self._written
        ]
        statement = sql.SQL("SELECT row.line, {} FROM ({}) AS row LIMIT %s")
        return statement.format(sql.SQL(", ").join(values), self._derive)

    def tried_values(self) -> list[tuple[str, sql.Composed]]:
        """For each column a statement that fails where it cannot hold the value of the row at a place."""
        derive = self._derive + sql.SQL(" WHERE row.ctid = %(place)s::tid")
        return [
            (name, sql.SQL(TRY_VALUE).format(name=sql.Literal(name), value=self._final(name), derive=derive))
            for name in self._written
        ]

    @property
    def insert(self) -> sql.Composed:
        """The rows of some pages into the log."""
        return self._insert(sql.SQL(OF_PAGES))

    @property
    def insert_new(self) -> sql.Composed:
        """Those of them whose external ids are not known."""
        return self._insert(sql.SQL(OF_PAGES + ARE_NEW))

    def _insert(self, rows: sql.SQL) -> sql.Composed:
        insert = sql.SQL(INSERT).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, self._written)),
            values=sql.SQL(", ").join(map(self._final, self._written)),
            derive=self._derive + rows,
        )
        return sql.SQL(INSERT_AND_CLAIM).format(insert=insert) if self.has_ids else insert

    @property
    def merge(self) -> sql.Composed:
        """One row of those with the same external id, in a table of its own."""
        merged = [self._last_given(name) for name in self._columns]
        return sql.SQL(MERGE).format(
            columns=sql.SQL(", ").join(map(sql.Identifier, self._columns)),
            merged=sql.SQL(", ").join(merged),
            state=sql.SQL(STATE).format(
                status=sql.Identifier("status") if "status" in self._columns else sql.SQL("NULL::text")
            ),
        )

    def _last_given(self, name: str) -> sql.Composed:
        column: sql.Composable = sql.Identifier(name)
        if name in ("site_id", "external_id"):
            return sql.SQL("{}").format(column)
        if self._targets[name].full_type.endswith("[]"):
            # Of arrays array_agg makes another array.
            text = sql.SQL(LAST_GIVEN).format(column=sql.SQL("{}::text").format(column))
            return sql.SQL("{}::{}").format(text, self._type(name))
        return sql.SQL(LAST_GIVEN).format(column=column)

    @property
    def change_known(self) -> sql.Composed:
        """The runs whose external ids are known, changed by the rows of some pages."""
        names = [name for name in self._written if name not in ("site_id", "external_id")]
        assignments = [sql.SQL("{} = {}").format(sql.Identifier(name), self._changed(name)) for name in names]
        return sql.SQL(CHANGE_KNOWN).format(assignments=sql.SQL(", ").join(assignments))

    def _newer(self, name: str) -> sql.Composable:
        """A column of the row, or of the run where the row is of an earlier state or says nothing."""
        if name not in self._targets:
            return sql.SQL("NULL")
        run = sql.SQL("run.{}").format(sql.Identifier(name))
        if name not in self._columns:
            return run
        row = self._stored(name, self._given(name))
        late = sql.SQL("{} < {}").format(self._state_of("row"), self._state_of("run"))
        return sql.SQL("CASE WHEN {late} THEN coalesce({run}, {row}) ELSE coalesce({row}, {run}) END").format(
            late=late, run=run, row=row
        )

    def _state_of(self, table: LiteralString) -> sql.Composable:
        if table == "row":
            return sql.SQL(STATE).format(status=self._given("status"))
        return sql.SQL(STATE).format(status=sql.SQL("run.status::text"))

    def _changed(self, name: str) -> sql.Composable:
        newer = {column: self._newer(column) for column in (*DERIVED, "prompt_tokens", "completion_tokens")}
        if name == "tokens_used":
            # Tokens that were the sum of their parts stay so.
            return sql.SQL(
                "CASE WHEN {row} IS NOT NULL AND ({state} >= {before} OR coalesce(run.tokens_used, 0) = 0)"
                " THEN {row} WHEN coalesce({prompt_tokens}, {completion_tokens}) IS NOT NULL AND"
                " coalesce(run.tokens_used, 0)"
                " = coalesce(run.prompt_tokens, 0) + coalesce(run.completion_tokens, 0)"
                " THEN coalesce({prompt_tokens}, 0) + coalesce({completion_tokens}, 0)"
                " ELSE run.tokens_used END"
            ).format(
                **newer,
                row=self._given("tokens_used"),
                state=self._state_of("row"),
                before=self._state_of("run"),
            )
        if name == "finished_at":
            return sql.SQL(
                "coalesce({finished_at}, CASE WHEN {state} = 2"
                " THEN {created_at} + {latency_ms} * interval '1 millisecond' END)"
            ).format(
                **newer, state=sql.SQL(STATE).format(status=sql.SQL("({})::text").format(newer["status"]))
            )
        return self._newer(name)
