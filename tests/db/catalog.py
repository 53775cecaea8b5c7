"""What a database's schemas biz and runglass hold, as lines of text that can be compared.

Months come and go, so the partitions of months are told as one; the text of a function is told by its hash.
"""

from __future__ import annotations

import hashlib
import re

import psycopg

_OF_OURS = "IN ('biz'::regnamespace, 'runglass'::regnamespace)"
_LINES = f"""
SELECT format(
    '%s %s%s%s (%s)%s',
    CASE relkind WHEN 'S' THEN 'sequence' WHEN 'v' THEN 'view' ELSE 'table' END, oid::regclass,
    CASE relpersistence WHEN 'u' THEN ' unlogged' END,
    coalesce(' partition ' || pg_get_expr(relpartbound, oid), ' partitioned by ' || pg_get_partkeydef(oid)),
    (
        SELECT string_agg(concat_ws(
            ' ', attname, format_type(atttypid, atttypmod), CASE WHEN attnotnull THEN 'NOT NULL' END,
            'DEFAULT ' || pg_get_expr(adbin, adrelid), nullif('IDENTITY ' || attidentity::text, 'IDENTITY '),
            nullif('GENERATED ' || attgenerated::text, 'GENERATED '),
            CASE WHEN attcollation <> typcollation THEN 'COLLATE ' || attcollation::regcollation END,
            '/* ' || col_description(attrelid, attnum) || ' */'
        ), ', ' ORDER BY attnum)
        FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
    ),
    ' WITH ' || reloptions::text
), NULL
FROM pg_class WHERE relnamespace {_OF_OURS} AND relkind IN ('r', 'p', 'v', 'm', 'S')
UNION ALL
SELECT concat_ws(
    ' ', CASE WHEN indisvalid THEN 'index' ELSE 'invalid index' END,
    CASE WHEN inhparent IS NULL THEN pg_get_indexdef(indexrelid)
        ELSE format('of %s on %s', inhparent::regclass, indrelid::regclass) END,
    CASE WHEN indisprimary THEN 'primary' END, reloptions::text
), NULL
FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid LEFT JOIN pg_inherits ON inhrelid = indexrelid
WHERE relnamespace {_OF_OURS}
UNION ALL
SELECT format('constraint %s on %s: %s', CASE WHEN conparentid = 0 THEN conname ELSE 'of a parent' END,
    conrelid::regclass, pg_get_constraintdef(oid)), NULL
FROM pg_constraint WHERE connamespace {_OF_OURS} AND contype <> 'n'
UNION ALL
SELECT format('trigger %s: %s', tgenabled, pg_get_triggerdef(pg_trigger.oid)), NULL
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace {_OF_OURS} AND NOT tgisinternal
UNION ALL
SELECT format('function %s returns %s', oid::regprocedure, pg_get_function_result(oid)),
    pg_get_functiondef(oid)
FROM pg_proc WHERE pronamespace {_OF_OURS}
"""


def catalog(dsn: str) -> set[str]:
    """A line for each table, sequence, index, constraint, trigger and function."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET search_path = pg_catalog; SET TimeZone = 'UTC'")
        return {_told(*line) for line in connection.execute(_LINES).fetchall()}


def _told(line: str, text: str | None) -> str:
    if text is not None:
        line = f"{line} {hashlib.sha256(text.encode()).hexdigest()[:16]}"
    line = re.sub(r"ai_run_logs_\d{4}_\d\d", "ai_run_logs_<month>", line)
    return re.sub(r"'\d{4}-\d\d-01 00:00:00(\+00)?'", "<month>", line)
