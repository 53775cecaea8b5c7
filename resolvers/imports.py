"""Importing run logs from a file: everything in it is loaded, or nothing is.

Blocking, unlike the other use-cases: the command line calls it with a connection of its own. Importing a file
twice loads its rows twice, unless they have external ids: then the second time is refused.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta

from db.imports import RowsRefused, RunLogImport, open_import
from resolvers.import_columns import Reasons, check_times
from resolvers.import_errors import ImportFailed, ImportUsageError
from resolvers.import_plan import Plan, make_plan
from resolvers.import_rows import CheckedBatch, check_batch, encode_rows
from resolvers.import_source import BadRow, Source, open_source

Progress = Callable[[str, int, int], None]
"""Called with a stage (reading, loading), and how far it is, of how much."""

MOST_BAD_ROWS_KEPT = 20
# A log of more months than this has its oldest rows in the stretch before the first of them.
_MOST_MONTHS = 120
_DAY = timedelta(days=1)
_NO_TIME = timedelta()
_SHORTEST_MONTH = timedelta(days=28)


@dataclass(slots=True)
class ImportReport:
    """What an import did. Where there are `bad_rows` that were not to be skipped, nothing was loaded.

    Times are UTC; `bad` holds the first 20 bad rows, `bad_rows` counts them all.
    """

    rows: int = 0
    tokens: int = 0
    first_created_at: datetime | None = None
    last_created_at: datetime | None = None
    bad_rows: int = 0
    bad: list[BadRow] = field(default_factory=list[BadRow])
    ignored_columns: list[str] = field(default_factory=list[str])

    def add_bad(self, rows: list[BadRow]) -> None:
        """Count bad rows, and keep the first few."""
        self.bad_rows += len(rows)
        self.bad += sorted(rows)[: MOST_BAD_ROWS_KEPT - len(self.bad)]

    def add_good(self, batch: CheckedBatch) -> None:
        """Count the rows of a batch that is written."""
        created = batch.cells["created_at"]
        first, last = min(created), max(created)
        self.rows += len(created)
        self.tokens += sum(batch.cells["tokens_used"])
        self.first_created_at = min(self.first_created_at or first, first)
        self.last_created_at = max(self.last_created_at or last, last)

    def clear_good(self) -> None:
        """Nothing was loaded after all."""
        self.rows = self.tokens = 0
        self.first_created_at = self.last_created_at = None


def import_run_logs(
    dsn: str,
    file: str,
    *,
    columns: Mapping[str, str],
    constants: Mapping[str, str],
    shift_to_now: bool = False,
    skip_bad: bool = False,
    now: datetime | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> ImportReport:
    """Load a CSV or NDJSON file (`-` is standard input) into the run log, in one transaction.

    `columns` maps a column of the run log to a title or key of the file; columns of the same name match by
    themselves. `constants` gives every row the same value. `shift_to_now` moves all times by the same amount,
    so that the newest created_at is `now`. Bad rows are reported, and keep everything from being loaded
    unless `skip_bad`.

    Where the file leaves them out: tokens_used is the sum of prompt_tokens and completion_tokens; status is
    failed where there is an error_message, else success; of created_at, finished_at and latency_ms each
    follows from the other two, and created_at is `now` where a CSV has no column of times.

    Raises ImportUsageError for a wrong file, column or value; ImportFailed for an empty or damaged file;
    db.errors.Unavailable where the database is gone. Nothing is loaded then.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    with open_source(file) as source, open_import(dsn) as loading:
        targets = loading.target_columns()
        if not targets:
            raise ImportFailed("the database has no run log yet: run `runglass migrate`")
        plan = make_plan(targets, source.header, columns, constants)
        run = _Run(loading, source, plan, moment, skip_bad)
        if not shift_to_now:
            try:
                return run.load(progress, months=loading.months())
            except _MonthMissing:
                # Only now is it worth reading the file once more, to know which months it needs.
                loading.restart()
        days, last = _read_days(source, plan, moment, progress)
        if shift_to_now and last is None:
            raise ImportUsageError("--shift-to-now: the file has no created_at to shift")
        shift = moment - last if shift_to_now and last else timedelta()
        loading.ensure_months(_months(days, shift))
        return run.load(progress, shift=shift)


def _read_days(
    source: Source, plan: Plan, now: datetime, progress: Progress
) -> tuple[set[date], datetime | None]:
    """The days on which the file has runs, and its newest created_at, before anything is loaded."""
    given: datetime | None = plan.constants.get("created_at")
    if given is not None:
        return {given.date()}, given
    names = [name for name in ("created_at", "finished_at") if name in plan.sources]
    days: set[date] = set()
    last: datetime | None = None
    for batch in source.batches([plan.sources[name] for name in names[:1]]) if names else ():
        times = check_times(names[0], batch.columns[plan.sources[names[0]]], {})
        known = [moment for moment in times if moment is not None]
        days.update(moment.date() for moment in known)
        if known:
            last = max(known) if last is None else max(last, *known)
        progress("reading", batch.position, source.size)
    return days or {now.date()}, last


def _months(days: set[date], shift: timedelta) -> list[datetime]:
    # Shifted, a day lies on two; and a run may have begun the day before it finished.
    around = (-_DAY, _NO_TIME, _DAY)
    moved = [datetime.combine(day, time(), UTC) + shift + extra for day in days for extra in around]
    months = {moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0) for moment in moved}
    return sorted(months)[-_MOST_MONTHS:]


def _require_months(checked: CheckedBatch, months: set[tuple[int, int]] | None) -> None:
    if months is None:
        return
    created = checked.cells["created_at"]
    ends = min(created), max(created)
    # A batch that spans more than a month's end is looked at row by row.
    near = (ends[1] - ends[0]) < _SHORTEST_MONTH
    if any((moment.year, moment.month) not in months for moment in (ends if near else created)):
        raise _MonthMissing


class _MonthMissing(Exception):
    """A row lies in a month that has no partition of its own yet."""


class _Run:
    """One pass over the file that checks and writes."""

    def __init__(
        self,
        loading: RunLogImport,
        source: Source,
        plan: Plan,
        now: datetime,
        skip_bad: bool,
    ) -> None:
        self._loading = loading
        self._source = source
        self._plan = plan
        self._now = now
        self._skip_bad = skip_bad
        self._report = ImportReport()
        self._external_ids: dict[tuple[str, str], int] = {}
        # The line of every row written, because the server counts rows.
        self._lines = array("q")

    def load(
        self,
        progress: Progress,
        *,
        shift: timedelta = _NO_TIME,
        months: set[tuple[int, int]] | None = None,
    ) -> ImportReport:
        """Check and write the whole file. Raises _MonthMissing for a row outside `months` (None is any)."""
        self._report = ImportReport(ignored_columns=self._plan.ignored)
        self._external_ids.clear()
        self._lines = array("q")
        writing = True
        self._loading.begin([column.name for column in self._plan.columns])
        try:
            for batch in self._source.batches(sorted(set(self._plan.sources.values()))):
                checked = check_batch(self._plan, batch, now=self._now, shift=shift)
                checked.drop(self._repeated_external_ids(checked))
                self._report.add_bad(checked.bad)
                if writing and self._report.bad_rows and not self._skip_bad:
                    # From here on the file is only checked, so that every bad row is told at once.
                    writing = False
                    self._loading.abandon()
                if writing and checked.lines:
                    _require_months(checked, months)
                    self._write(checked)
                progress("loading", batch.position, self._source.size)
            if writing:
                self._loading.commit(self._period() if self._external_ids else None)
        except RowsRefused as refusal:
            self._refused(refusal)
            writing = False
        if not writing:
            self._report.clear_good()
        return self._report

    def _write(self, checked: CheckedBatch) -> None:
        self._lines.extend(checked.lines)
        self._report.add_good(checked)
        self._loading.write(encode_rows(self._plan, checked.cells))

    def _period(self) -> tuple[datetime, datetime] | None:
        first, last = self._report.first_created_at, self._report.last_created_at
        return (first, last) if first and last else None

    def _refused(self, refusal: RowsRefused) -> None:
        known = refusal.row is not None and refusal.row <= len(self._lines)
        line = self._lines[refusal.row - 1] if known and refusal.row else 0
        self._report.add_bad([BadRow(line, refusal.reason)])

    def _repeated_external_ids(self, checked: CheckedBatch) -> Reasons:
        ids = checked.cells.get("external_id")
        if not ids:
            return {}
        sites = checked.cells["site_id"]
        keys = [(str(site), id_) for site, id_ in zip(sites, ids, strict=True)]
        named = [key for key in keys if key[1] is not None]
        if not named:
            return {}
        known = self._loading.known_external_ids([key[0] for key in named], [key[1] for key in named])
        reasons: Reasons = {}
        for place, key in enumerate(keys):
            if key[1] is None:
                continue
            if key in known:
                reasons[place] = f"external id {key[1]!r} of site {key[0]!r} already exists"
            elif (line := self._external_ids.setdefault(key, checked.lines[place])) != checked.lines[place]:
                reasons[place] = f"external id {key[1]!r} of site {key[0]!r} stands on line {line} already"
        return reasons
