"""Runs with a number in a range that few runs have: found by that number, not in the order of time.

PostgreSQL cannot be left to choose. A statement that is prepared for any values takes every range for a third
of the log, and one that is planned for its values for a share that it guesses from a hundred steps; where
either is wrong it reads the whole log for a page. So the runs in the range are counted, no further than FEW.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, LiteralString, NamedTuple, cast

from db.postgres.pool import Connection, fetch_count
from db.sql.scope import Scope, SiteStatement

FEW = 10_000
"""More runs than this lie close enough together in time. Not less than what a total is counted to."""

_COUNTED = cast(LiteralString, str(FEW + 1))
# With room for runs that come after the count.
_READ = cast(LiteralString, str(2 * FEW))

_RANGES: dict[LiteralString, dict[str, LiteralString]] = {
    "latency_ms": {
        "latency_min": "latency_ms >= %(latency_min)s",
        "latency_max": "latency_ms <= %(latency_max)s",
    },
    "tokens_used": {
        "tokens_min": "tokens_used >= %(tokens_min)s",
        "tokens_max": "tokens_used <= %(tokens_max)s",
    },
}

RANGE_CONDITIONS: dict[str, LiteralString] = {
    name: sql for bounds in _RANGES.values() for name, sql in bounds.items()
}
"""The condition of each bound that a filter may have."""


class InRange(NamedTuple):
    """How many runs lie in a range, counted no further than FEW + 1; if few, `source` gives them to FROM."""

    counted: int
    source: LiteralString | None = None


async def runs_in_range(connection: Connection, scope: Scope, given: Mapping[str, Any]) -> InRange | None:
    """The runs of the scope in one of the given ranges, in few if one has few; None where no range is given.

    `given` holds the values of the filter's conditions by their names.
    """
    found: InRange | None = None
    one_site = scope.sites is not None and len(scope.sites) == 1
    for column, bounds in _RANGES.items():
        conditions_of = tuple(sql for name, sql in bounds.items() if name in given)
        if not conditions_of:
            continue
        # The columns of the index alone, so that no row of the log is read.
        source = _source(f"site_id, {column}", column, conditions_of, one_site).sql(scope)
        count = SiteStatement(
            f"SELECT count(*) FROM (SELECT FROM {source} WHERE {{scope}} LIMIT {_COUNTED}) AS r"
        )
        found = InRange(await fetch_count(connection, count, scope, given))
        if found.counted <= FEW:
            return found._replace(source=_source("*", column, conditions_of, one_site).sql(scope))
    return found


def is_one_range(given: Iterable[str]) -> bool:
    """Whether these conditions, by their names, are nothing but the bounds of one range."""
    return any(bounds.keys() >= set(given) for bounds in _RANGES.values())


@lru_cache(maxsize=32)
def _source(
    selected: LiteralString, column: LiteralString, conditions: tuple[LiteralString, ...], one_site: bool
) -> SiteStatement:
    # The order leaves PostgreSQL no other index than that of the site and the column.
    rest: LiteralString = f"{{scope}} AND {' AND '.join(conditions)} ORDER BY {column} LIMIT {_READ}"
    if one_site:
        return SiteStatement(f"(SELECT {selected} FROM biz.ai_run_logs WHERE {rest}) AS run")
    # It has the rows of one site in order, so this goes from site to site; adopted rows may be of none.
    return SiteStatement(
        f"""(
    WITH RECURSIVE sites (of_site) AS (
        (SELECT site_id FROM biz.ai_run_logs WHERE site_id IS NOT NULL ORDER BY site_id LIMIT 1)
        UNION ALL
        SELECT (SELECT site_id FROM biz.ai_run_logs WHERE site_id > of_site ORDER BY site_id LIMIT 1)
        FROM sites WHERE of_site IS NOT NULL
    )
    SELECT run.* FROM sites CROSS JOIN LATERAL (
        SELECT {selected} FROM biz.ai_run_logs WHERE site_id = of_site AND {rest}
    ) AS run
    UNION ALL (SELECT {selected} FROM biz.ai_run_logs WHERE site_id IS NULL AND {rest})
) AS run"""
    )
