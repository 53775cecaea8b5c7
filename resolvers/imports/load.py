"""Importing run logs from a file: everything in it is loaded, or nothing is.

Blocking, unlike the other use-cases: the command line calls it with a connection of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from db.imports.load import RepeatedId, RowsRefused, RunLogImport, open_import
from resolvers.imports.batches import BadRow, Reader
from resolvers.imports.columns import Formats
from resolvers.imports.csv_rows import CsvReader, delimiter_of
from resolvers.imports.errors import ImportFailed, ImportUsageError
from resolvers.imports.escapes import listed, printable, shown
from resolvers.imports.json_rows import JsonReader
from resolvers.imports.numbers import NumberFormat
from resolvers.imports.options import ImportOptions
from resolvers.imports.plan import NO_TIMES, REQUIRED, TIMES, Plan, make_plan
from resolvers.imports.rows import check_batch, encode_rows
from resolvers.imports.streams import OpenFile, open_file
from resolvers.imports.times import TimeFormat
from resolvers.imports.vocabulary import told_unused
from resolvers.runs.run_bounds import EARLIEST, MAX_AHEAD, MAX_LATENCY_MS

Progress = Callable[[str, int, int], None]
"""Called with a stage (reading, loading), and how far it is, of how much (0 where nobody knows)."""

Say = Callable[[str], None]
"""Called with a line about what was found out."""

BAD_ROWS_KEPT = 20
ROWS_SHOWN = 5
# What a run's latency can be.
_LONGEST = timedelta(milliseconds=MAX_LATENCY_MS) + MAX_AHEAD
# The ids may be taken, or become free, while they are looked at.
_TRIES = 3
# A log of more months than this has its oldest rows in the stretch before the first of them.
_MOST_MONTHS = 120


@dataclass(slots=True)
class ImportReport:
    """What an import did. Where there are `bad_rows` that were not to be skipped, nothing was loaded.

    `rows` were loaded (or would be), of which `changed` only changed a run that was there. Times are UTC;
    `bad` holds the first 20 bad rows, `bad_rows` counts them all. `shown` are a dry run's first rows.
    """

    rows: int = 0
    changed: int = 0
    tokens: int = 0
    first_created_at: datetime | None = None
    last_created_at: datetime | None = None
    bad_rows: int = 0
    bad: list[BadRow] = field(default_factory=list[BadRow])
    not_loaded: list[str] = field(default_factory=list[str])
    remarks: list[str] = field(default_factory=list[str])
    shown: list[dict[str, object]] = field(default_factory=list[dict[str, object]])

    def add_bad(self, rows: Sequence[BadRow]) -> None:
        """Count bad rows, and keep the first few."""
        self.bad_rows += len(rows)
        self.bad += sorted(rows)[: BAD_ROWS_KEPT - len(self.bad)]


def import_run_logs(
    dsn: str,
    file: str,
    options: ImportOptions,
    *,
    now: datetime | None = None,
    progress: Progress = lambda stage, done, total: None,
    say: Say = lambda line: None,
) -> ImportReport:
    """Load a CSV or JSON file (`-` is standard input) into the run log, in one transaction.

    Columns of the run log and of the file that have the same name match by themselves. Bad rows are reported,
    and keep everything from being loaded unless they are to be skipped.

    Where the file leaves them out: tokens_used is the sum of prompt_tokens and completion_tokens, or
    unknown; status is failed where there is an error_message, else success; of created_at, finished_at and
    latency_ms each follows from the other two.

    Raises ImportUsageError for a wrong file, column or value; ImportFailed for an empty or damaged file;
    db.postgres.errors.Unavailable where the database is gone. Nothing is loaded then.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    with open_file(file) as source, open_import(dsn) as loading:
        targets = loading.target_columns()
        if not targets:
            raise ImportFailed("the database has no run log yet: run `runglass migrate`")
        reader, formats = reader_of(source, options, moment, say)
        plan = make_plan(targets, reader.header, options, formats)
        loading.begin(targets, [column.name for column in plan.columns], moment)
        run = _Run(source, reader, plan, options, loading)
        try:
            run.read(progress)
            return run.load(moment, progress)
        except RowsRefused as refusal:
            return run.refused(refusal)


def reader_of(
    file: OpenFile, options: ImportOptions, now: datetime, say: Say
) -> tuple[CsvReader | JsonReader, Formats]:
    """How a file is read and what its values look like; what was found out is said aloud."""
    encoding = file.encoding(options.encoding)
    text = file.bytes.sample.decode(encoding, "replace").removeprefix("\ufeff")
    if not text.strip():
        raise ImportFailed(f"{file.name} is empty: there is nothing to load")
    begin = text.lstrip()[:1]
    # A CSV may begin with a bracket too; a title would not go on like this.
    is_array = begin == "[" and text.lstrip()[1:].lstrip()[:1] in set('{}[]"-0123456789') | {""}
    delimiter = None if options.delimiter is None else delimiter_of(options.delimiter)
    if begin == "{" or is_array:
        if delimiter:
            raise ImportUsageError(f"--delimiter: {file.name} is JSON, which has none")
        reader: CsvReader | JsonReader = JsonReader(file, encoding, is_array=is_array)
        kind = "a JSON array" if is_array else "NDJSON"
    else:
        reader = CsvReader(file, text, encoding, delimiter)
        kind = f"CSV with {shown(reader.delimiter)} between cells"
    packed = ", unpacked from gzip" if file.is_gzip else ""
    say(f"reading {file.name} as {kind}, {encoding}{packed}, times without a zone in {options.time_zone}")
    numbers = NumberFormat(options.decimal, options.thousands, english=reader.delimiter == ",")
    times = TimeFormat(
        zone=options.time_zone,
        pattern=options.time_format,
        ambiguous=options.ambiguous,
        before_2000=options.before_2000,
        latest=None if options.shift_to_now else now,
        decimal=options.decimal or ".",
    )
    return reader, Formats(numbers, times, encoding)


class _Run:
    """One file on its way into the log."""

    def __init__(
        self, file: OpenFile, reader: Reader, plan: Plan, options: ImportOptions, loading: RunLogImport
    ) -> None:
        self._file = file
        self._reader = reader
        self._plan = plan
        self._options = options
        self._loading = loading
        self._report = ImportReport()

    @property
    def _is_refused(self) -> bool:
        return self._report.bad_rows > 0 and not self._options.skip_bad

    def read(self, progress: Progress) -> None:
        """Check the whole file, and hand its rows over while they are all good."""
        for batch in self._reader.batches(sorted(set(self._plan.sources.values()))):
            checked = check_batch(self._plan, batch)
            self._report.add_bad(checked.bad)
            # After a bad row the file is only checked, so that every one is told at once.
            if checked.lines and not self._is_refused:
                self._loading.write(encode_rows(self._plan, checked), checked.lines)
            progress("reading", self._file.position, self._file.size)
        self._loading.end_writing()
        self._file.refuse_changes()
        self._refuse_absent()
        loaded = set(self._plan.sources.values())
        parents = {source[:place] for source in loaded for place, char in enumerate(source) if char == "."}
        titles = self._reader.keys()
        self._report.not_loaded = [title for title in titles if title not in loaded | parents]
        self._report.remarks = [
            f"{mapping}: no row has it"
            for mapping in told_unused({name: check.words for name, check in self._plan.checks.items()})
        ]

    def _refuse_absent(self) -> None:
        absent = self._reader.absent()
        keys = self._reader.keys()
        there = f"the file's keys are {listed(keys)}" if keys else "no line of the file is a JSON object"
        for name, source in self._plan.named.items():
            if source in absent:
                raise ImportUsageError(f"--column {name}={printable(source)}: no row has it; {there}")
        sources = self._plan.sources
        for name in REQUIRED:
            if sources.get(name) in absent:
                raise ImportUsageError(
                    f"no value for {name}: give --column {name}=SOURCE or --set {name}=VALUE; {there}"
                )
        times = [sources[name] for name in TIMES if name in sources]
        if times and all(source in absent for source in times):
            raise ImportUsageError(f"{NO_TIMES}; {there}")

    def load(self, moment: datetime, progress: Progress) -> ImportReport:
        """Put what was read into the log."""
        if self._is_refused:
            return self._report
        has_ids = "external_id" in self._plan.sources or "external_id" in self._plan.constants
        if self._options.update:
            self._loading.merge()
        elif has_ids and (self._options.skip_bad or self._options.dry_run):
            self._tell_repeated()
            if self._is_refused:
                return self._report
        if self._options.shift_to_now:
            self._shift_to(moment)
        self._count()
        if self._options.dry_run:
            self._show()
        elif self._report.rows:
            self._insert(progress)
        return self._report

    def _shift_to(self, moment: datetime) -> None:
        """Move all times, so that the newest run that is loaded begins at that moment."""
        totals = self._loading.totals()
        if totals.last_created_at is None or totals.first_created_at is None:
            return
        period = moment - totals.last_created_at
        is_possible = totals.last_created_at - totals.first_created_at < moment - EARLIEST
        if not is_possible or (
            totals.last_finished_at and totals.last_finished_at + period > moment + _LONGEST
        ):
            raise ImportFailed("--shift-to-now: the file's times lie too far apart to be moved together")
        self._loading.shift_by(period)

    def _insert(self, progress: Progress) -> None:
        self._loading.ensure_months(_MOST_MONTHS)
        for _ in range(_TRIES):
            changed = self._loading.load(
                lambda done, total: progress("loading", done, total), update=self._options.update
            )
            if changed is not None:
                self._loading.commit()
                self._report.changed = changed
                return
            if self._options.update:
                continue
            self._tell_repeated()
            if self._is_refused:
                self._report = ImportReport(bad=self._report.bad, bad_rows=self._report.bad_rows)
                return
            self._loading.forget_orphans()
            self._count()
        raise ImportFailed("others report the same external ids all the time: nothing was loaded")

    def _tell_repeated(self) -> None:
        count, rows = self._loading.repeated_ids(BAD_ROWS_KEPT, drop=self._options.skip_bad)
        self._report.add_bad([BadRow(row.line, _repeated(row)) for row in rows])
        self._report.bad_rows += count - len(rows)

    def _count(self) -> None:
        totals = self._loading.totals()
        self._report.rows, self._report.tokens = totals.rows, totals.tokens
        self._report.first_created_at = totals.first_created_at
        self._report.last_created_at = totals.last_created_at

    def _show(self) -> None:
        names, rows = self._loading.first_rows(ROWS_SHOWN)
        self._report.shown = [dict(zip(names, row, strict=True)) for row in rows]

    def refused(self, refusal: RowsRefused) -> ImportReport:
        """The report where the server refused a row."""
        report = ImportReport(bad_rows=self._report.bad_rows, bad=self._report.bad)
        report.add_bad([BadRow(refusal.line or 0, printable(refusal.reason))])
        return report


def _repeated(row: RepeatedId) -> str:
    name = f"external_id {shown(row.external_id)} of site {shown(row.site_id)}"
    if row.is_known:
        return f"{name} was loaded before: --update changes that run"
    return f"{name} stands on line {row.first_line} already: --update takes both for one run"
