"""How the columns of this database spell ids and names, so that each has one canonical form.

An adopted table may hold sites or members as integers. PostgreSQL then takes "7", "07" and "+7" for the same
one, and our own tables, whose ids are text, would not. So every id is brought into the form that its column
prints before anything looks at it.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from psycopg import AsyncConnection

from db.sql.stored_times import read_stored_zone

Table = Literal["ai_run_logs", "ai_trigger_jobs", "ai_cache"]
FilterType = TypeVar("FilterType")

_UTC = ZoneInfo("UTC")
_INTEGER = re.compile(r"[+-]?[0-9]{1,200}", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,200}(\.[0-9]{1,200})?", re.ASCII)
_UUID = re.compile(r"\{?[0-9a-fA-F]{4}(-?[0-9a-fA-F]{4}){7}\}?", re.ASCII)
_BITS = {"int2": 16, "int4": 32, "int8": 64}

READ_FORMS = """
WITH RECURSIVE columns AS (
    SELECT c.relname, a.attname, a.atttypid AS type_id, a.atttypmod AS modifier
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = 'biz'
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relname IN ('ai_run_logs', 'ai_trigger_jobs', 'ai_cache')
    UNION ALL
    -- A domain has the form of the type that it is made of.
    SELECT relname, attname, t.typbasetype, t.typtypmod
    FROM columns JOIN pg_catalog.pg_type AS t ON t.oid = type_id AND t.typtype = 'd'
)
SELECT relname, attname, t.typname,
    CASE WHEN t.typname IN ('varchar', 'bpchar') AND modifier > 4 THEN modifier - 4 END
FROM columns JOIN pg_catalog.pg_type AS t ON t.oid = type_id AND t.typtype <> 'd'
"""


class ColumnForm(NamedTuple):
    """What a column can hold. `length` is in characters; None is no limit.

    An integer lies between `low` and `high`, both included.
    """

    kind: Literal["text", "integer", "number", "uuid"] = "text"
    length: int | None = None
    low: int = 0
    high: int = 0

    def canonical(self, value: str) -> str | None:
        """The value as the column prints it; None where the column cannot hold it."""
        match self.kind:
            case "integer":
                number = int(value) if _INTEGER.fullmatch(value) else None
                return None if number is None or not self.low <= number <= self.high else str(number)
            case "number":
                return _plain_number(value) if _NUMBER.fullmatch(value) else None
            case "uuid":
                return str(UUID(value)) if _UUID.fullmatch(value) else None
            case "text":
                return value if self.length is None or len(value) <= self.length else None

    @property
    def description(self) -> str:
        """What the column holds, for a message: a whole number, a number, a UUID, or a text."""
        match self.kind:
            case "integer":
                return f"a whole number from {self.low} to {self.high}"
            case "number":
                return "a number"
            case "uuid":
                return "a UUID"
            case "text":
                return f"a text of at most {self.length} characters"


TEXT = ColumnForm()


class ColumnForms:
    """The forms of the columns of the three tables; those that are not known hold any text."""

    def __init__(
        self, forms: Mapping[tuple[str, str], ColumnForm] | None = None, zone: ZoneInfo = _UTC
    ) -> None:
        self.zone = zone
        """In which times without a zone are stored."""
        self._forms = {place: form for place, form in (forms or {}).items() if form != TEXT}
        self.site = self._common("site_id", ("ai_run_logs", "ai_trigger_jobs", "ai_cache"))
        """Of a site's id, in all three tables."""
        self.member = self._common("member_id", ("ai_run_logs", "ai_trigger_jobs"))
        """Of a member's id, in runs and jobs."""

    def of(self, table: Table, column: str) -> ColumnForm:
        """The form of one column."""
        if column == "site_id":
            return self.site
        return self._forms.get((table, column), TEXT)

    def canonical_filter(self, table: Table, given: FilterType) -> tuple[FilterType, bool]:
        """The filter with its values in canonical form, and whether the columns can hold all of them.

        `given` is a dataclass whose attributes have the names of the columns. A value that no row can have is
        left out, for PostgreSQL would refuse to compare it.
        """
        changes: dict[str, Any] = {}
        for (owner, column), form in self._forms.items():
            value = getattr(given, column, None)
            if owner == table and isinstance(value, str):
                changes[column] = form.canonical(value)
        fits = None not in changes.values()
        return (dataclasses.replace(given, **changes) if changes else given), fits  # type: ignore[type-var]  # pyright: ignore[reportArgumentType,reportUnknownVariableType]

    def _common(self, column: str, tables: Iterable[str]) -> ColumnForm:
        """What all tables can hold: the narrowest of their forms."""
        forms = [self._forms[table, column] for table in tables if (table, column) in self._forms]
        typed = [form for form in forms if form.kind != "text"]
        if not typed:
            return min(forms, key=lambda form: form.length or 0, default=TEXT)
        integers = [form for form in typed if form.kind == "integer"]
        return min(integers or typed, key=lambda form: form.high)


ANY_TEXT = ColumnForms()
"""The forms of a database of our own making, whose ids are text."""


async def read_column_forms(connection: AsyncConnection[Any]) -> ColumnForms | None:
    """The forms of the columns as they are now; None where the tables do not exist yet."""
    cursor = await connection.execute(READ_FORMS)
    rows = await cursor.fetchall()
    if not rows:
        return None
    forms = {(table, column): _form(type_name, length) for table, column, type_name, length in rows}
    return ColumnForms(forms, await read_stored_zone(connection) or _UTC)


def _form(type_name: str, length: int | None) -> ColumnForm:
    if bits := _BITS.get(type_name):
        return ColumnForm("integer", low=-(2 ** (bits - 1)), high=2 ** (bits - 1) - 1)
    if type_name == "numeric":
        return ColumnForm("number")
    if type_name == "uuid":
        return ColumnForm("uuid")
    return ColumnForm(length=length)


def _plain_number(value: str) -> str:
    number = Decimal(value)
    return str(int(number)) if number == number.to_integral_value() else format(number.normalize(), "f")
