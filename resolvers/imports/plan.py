"""Which column of the run log gets its value from where: the file, the command line, or the other columns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db.imports.statements import DERIVED, TargetColumn
from resolvers.imports.columns import LATENCY, ColumnCheck, Formats, Reasons
from resolvers.imports.errors import ImportUsageError
from resolvers.imports.escapes import cut, listed, printable, shown
from resolvers.imports.numbers import UNITS_IN_MS
from resolvers.imports.options import ImportOptions
from resolvers.imports.times import UNITS_PER_SECOND
from resolvers.imports.vocabulary import Words

REQUIRED = ("site_id", "app_type")
TIMES = ("created_at", "finished_at")
NO_TIMES = "no time of the runs: give --column created_at=SOURCE, or --created-now for the time of loading"
# The server numbers the rows, and only an operator's action changes an alert.
_NOT_LOADABLE = frozenset({"id", "alert_changed_by", "alert_changed_at"})


@dataclass(frozen=True, slots=True)
class Plan:
    """`columns` are those that something gives; `sources` maps a column to a title or key of the file."""

    columns: list[TargetColumn]
    sources: dict[str, str]
    constants: dict[str, Any]
    checks: dict[str, ColumnCheck]
    # Columns that must hold a value in every row of the file.
    needed: list[str]
    # What --column names, which some row must have.
    named: dict[str, str]


def make_plan(
    targets: Sequence[TargetColumn], header: Sequence[str] | None, options: ImportOptions, formats: Formats
) -> Plan:
    """Match a file's header (None for JSON) with the table. Raises ImportUsageError, naming the choices."""
    known = {column.name: column for column in targets if column.name not in _NOT_LOADABLE}
    _refuse_unknown(known, options)
    sources = _sources(known, header, options)
    words = {name: Words(name, options.words.get(name, {})) for name in known}

    def check(name: str) -> ColumnCheck:
        source = sources.get(name, name)
        label = name if source == name else f"{name} ({cut(source)})"
        return ColumnCheck(known[name], label, formats, words[name], options.units.get(name))

    constants = {name: _constant(check(name), text) for name, text in options.constants.items()}
    given = sources.keys() | constants.keys()
    _refuse_gaps(known.values(), given, header)
    _refuse_times(given, header, options)
    _refuse_unused(options, sources)
    columns = [column for column in known.values() if column.name in given]
    needed = [
        column.name
        for column in columns
        if column.name in sources
        and (column.name in REQUIRED or (column.not_null and column.name not in DERIVED))
    ]
    checks = {name: check(name) for name in sources}
    named = {name: source for name, source in options.columns.items() if source}
    return Plan(columns, sources, constants, checks, needed, named)


def _refuse_unknown(known: Mapping[str, TargetColumn], options: ImportOptions) -> None:
    for name in (*options.columns, *options.constants, *options.words, *options.units):
        if name not in known:
            raise ImportUsageError(f"unknown column {shown(name)}; the run log has {', '.join(known)}")
    for name in options.columns.keys() & options.constants.keys():
        raise ImportUsageError(f"{name} has both a --column and a --set")
    for name, unit in options.units.items():
        units = UNITS_IN_MS if name == LATENCY else UNITS_PER_SECOND if name in TIMES else {}
        if unit not in units:
            choices = f"give one of {', '.join(units)}" if units else "only latency_ms and times have units"
            raise ImportUsageError(f"--unit {name}={printable(unit)}: {choices}")


def _sources(
    known: Mapping[str, TargetColumn], header: Sequence[str] | None, options: ImportOptions
) -> dict[str, str]:
    taken = options.constants.keys() | options.columns.keys()
    if header is None:
        # A key may be absent from every object, so a column's own default is not overridden with nothing.
        own = [c.name for c in known.values() if not c.not_null or not c.has_default or c.name in DERIVED]
        own = [name for name in own if not (options.created_now and name in TIMES)]
    else:
        own = [name for name in known if name in header]
        for name, source in options.columns.items():
            if source and source not in header:
                raise ImportUsageError(
                    f"--column {name}={printable(source)}: the file has no such column;"
                    f" it has {listed(header)}"
                )
    sources = {name: name for name in own if name not in taken}
    sources |= {name: source for name, source in options.columns.items() if source}
    for source in sources.values():
        if header is not None and header.count(source) > 1:
            raise ImportUsageError(f"the file has more than one column {shown(source)}")
    return sources


def _refuse_gaps(known: Iterable[TargetColumn], given: Iterable[str], header: Sequence[str] | None) -> None:
    missing = [
        column.name
        for column in known
        if column.name not in given
        and (column.name in REQUIRED or (column.not_null and not column.has_default))
        and column.name not in DERIVED
    ]
    if missing:
        there = "" if header is None else f"; the file's columns are {listed(header)}"
        raise ImportUsageError(
            f"no value for {' and '.join(missing)}: give --column NAME=SOURCE or --set NAME=VALUE{there}"
        )


def _refuse_times(given: Iterable[str], header: Sequence[str] | None, options: ImportOptions) -> None:
    times = [name for name in TIMES if name in given]
    if options.created_now and times:
        raise ImportUsageError(
            f"--created-now: the file gives {' and '.join(times)}; leave it out by --column {times[0]}="
        )
    if options.created_now and options.shift_to_now:
        raise ImportUsageError("--created-now leaves no time for --shift-to-now to move")
    if not times and not options.created_now:
        there = "" if header is None else f"; the file's columns are {listed(header)}"
        raise ImportUsageError(
            "no time of the runs: give --column created_at=SOURCE, or --created-now for the time of loading"
            + there
        )


def _refuse_unused(options: ImportOptions, sources: Mapping[str, str]) -> None:
    for option, names in (("--map", options.words), ("--unit", options.units)):
        for name in names:
            if name not in sources:
                raise ImportUsageError(f"{option} {name}: nothing of the file is loaded into {name}")
    if options.update and "external_id" not in sources:
        raise ImportUsageError("--update needs external ids: give --column external_id=SOURCE")


def _constant(check: ColumnCheck, text: str) -> Any:
    reasons: Reasons = {}
    column = check.column
    value = check.check([text or None], reasons)[0]
    if reasons:
        raise ImportUsageError(f"--set {column.name}={printable(text)}: {reasons[0]}")
    if value is None and (column.name in REQUIRED or column.not_null):
        raise ImportUsageError(f"--set {column.name}= is empty")
    return value
