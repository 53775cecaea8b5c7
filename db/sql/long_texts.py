"""Long texts are cut by the statement that reads them, so that no stored row makes an answer too large.

A statement with one of these has its limit in `longest_text`, which the connection gives it: that of lists,
or another one where few rows are read by their ids.
"""

from __future__ import annotations

from typing import LiteralString

LIMIT = "longest_text"
_LIMIT: LiteralString = "%(longest_text)s::integer"


def cut(column: LiteralString) -> LiteralString:
    """A column of text as far as the limit; PostgreSQL reads no more of it than that."""
    return f"left({column}, {_LIMIT})"


def is_cut(column: LiteralString) -> LiteralString:
    """Whether there is more of the text, false where there is none."""
    return f"coalesce(length(left({column}, {_LIMIT} + 1)) > {_LIMIT}, false)"


def name(column: LiteralString) -> LiteralString:
    """A column of a name, which an adopted table may hold in any length, as far as names of ours may go."""
    return f"left({column}::text, 200)"


def chain(column: LiteralString) -> LiteralString:
    """The apps of a chain; of one whose text is longer than the limit the first hundred, as a list."""
    return f"""CASE WHEN length({column}::text) <= {_LIMIT} THEN runglass.readable_json({column}) ELSE (
        SELECT coalesce(jsonb_agg({name("app")} ORDER BY place), '[]')
        FROM unnest(runglass.chain_apps(runglass.readable_json({column})))
            WITH ORDINALITY AS listed(app, place)
        WHERE place <= 100 AND {column} IS NOT NULL
    ) END"""


def json_text(column: LiteralString) -> LiteralString:
    """The JSON text of a column of whatever type; that of a text is a string.

    Unlike `to_jsonb` it takes whatever a column of the type json holds.
    """
    return f"to_json({column})::text"
