"""Statements as PostgreSQL prepares them, to look at their plans."""

from __future__ import annotations

import re
from typing import Any

from psycopg import sql

from db.postgres.connection import Connection

_PLACEHOLDER = re.compile(r"%(?:\((\w+)\)s|%)")


def numbered(sql: str) -> tuple[bytes, tuple[str, ...]]:
    """The statement with $1, $2, … for its `%(name)s`, and the names in that order."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        name = match[1]
        return "%" if name is None else f"${names.setdefault(name, len(names) + 1)}"

    return _PLACEHOLDER.sub(number, sql).encode(), tuple(names)


async def explain(
    connection: Connection, text: str, values: Any, options: str, *, custom_plan: bool = False
) -> list[Any]:
    """What EXPLAIN tells of a statement as the app runs it: for any values, or for these (`custom_plan`).

    `options` are those of EXPLAIN.
    """
    query, names = numbered(text)
    given = sql.SQL(", ").join(sql.Literal(values[name]) for name in names)
    mode = "force_custom_plan" if custom_plan else "force_generic_plan"
    await connection.execute(f"SET plan_cache_mode = {mode}")
    await connection.execute(b"PREPARE planned AS " + query)
    call = sql.SQL("({})").format(given) if names else sql.SQL("")
    statement = sql.SQL("EXPLAIN ({}) EXECUTE planned{}").format(sql.SQL(options), call)
    rows = await (await connection.execute(statement)).fetchall()
    await connection.execute("DEALLOCATE planned")
    await connection.execute("SET plan_cache_mode = force_generic_plan")
    return [line for (line,) in rows]
