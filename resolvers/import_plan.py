"""Which column of the run log gets its value from where: the file, the command line, or the other columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.imports import TargetColumn
from resolvers.import_columns import Reasons, check_column
from resolvers.import_errors import ImportUsageError

REQUIRED = ("site_id", "app_type")
DERIVED = ("tokens_used", "latency_ms", "status", "created_at", "finished_at")
# The server numbers the rows, and only an operator's action changes an alert.
_NOT_LOADABLE = frozenset({"id", "alert_changed_by", "alert_changed_at"})


@dataclass(frozen=True, slots=True)
class Plan:
    """`columns` are the columns that are written, in order; `sources` maps column to header title or key."""

    columns: list[TargetColumn]
    sources: dict[str, str]
    constants: dict[str, Any]
    # Columns that must hold a value in every row of the file.
    needed: list[str]
    ignored: list[str]

    def gives(self, name: str) -> bool:
        """Whether the file or the command line has this column."""
        return name in self.sources or name in self.constants


def make_plan(
    targets: Sequence[TargetColumn],
    header: Sequence[str] | None,
    columns: Mapping[str, str],
    constants: Mapping[str, str],
) -> Plan:
    """Match a file's header (None for NDJSON) with the table. Raises ImportUsageError, naming the choices."""
    known = {column.name: column for column in targets if column.name not in _NOT_LOADABLE}
    _refuse_unknown_targets(known, columns, constants)
    sources = _sources(known, header, columns, constants)
    values = {name: _constant(known[name], text) for name, text in constants.items()}
    missing = [
        column.name
        for column in known.values()
        if column.name not in sources | values
        and (column.name in REQUIRED or (column.not_null and not column.has_default))
        and column.name not in DERIVED
    ]
    if missing:
        there = "" if header is None else f"; the file's columns are {', '.join(header)}"
        raise ImportUsageError(
            f"no value for {' and '.join(missing)}: give --column NAME=SOURCE or --set NAME=VALUE{there}"
        )
    written = [c for c in known.values() if c.name in sources | values or c.name in DERIVED]
    needed = [
        c.name for c in written if c.name in REQUIRED or (c.not_null and c.name not in (*DERIVED, *constants))
    ]
    ignored = [title for title in header or () if title not in sources.values()]
    return Plan(written, sources, values, needed, ignored)


def _refuse_unknown_targets(
    known: Mapping[str, TargetColumn], columns: Mapping[str, str], constants: Mapping[str, str]
) -> None:
    for name in [*columns, *constants]:
        if name not in known:
            raise ImportUsageError(f"unknown column {name!r}; the run log has {', '.join(known)}")
        if name in columns and name in constants:
            raise ImportUsageError(f"{name} has both a --column and a --set")


def _sources(
    known: Mapping[str, TargetColumn],
    header: Sequence[str] | None,
    columns: Mapping[str, str],
    constants: Mapping[str, str],
) -> dict[str, str]:
    if header is None:
        # A key may be absent from every object, so a column's own default is not overridden with nothing.
        own = [c.name for c in known.values() if not c.not_null or not c.has_default or c.name in DERIVED]
    else:
        own = [name for name in known if name in header]
        for name, source in columns.items():
            if source not in header:
                raise ImportUsageError(
                    f"--column {name}={source}: the file has no such column; it has {', '.join(header)}"
                )
    sources = {name: name for name in own if name not in constants} | dict(columns)
    for source in sources.values():
        if header is not None and header.count(source) > 1:
            raise ImportUsageError(f"the file has more than one column {source!r}")
    return sources


def _constant(column: TargetColumn, text: str) -> Any:
    reasons: Reasons = {}
    value = check_column(column, [text or None], reasons)[0]
    if reasons:
        raise ImportUsageError(f"--set {column.name}={text}: {reasons[0]}")
    if value is None and (column.name in REQUIRED or column.not_null):
        raise ImportUsageError(f"--set {column.name}= is empty")
    return value
