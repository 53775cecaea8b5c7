"""From a batch of the file's cells to rows in COPY's text format: checks, derived values, escapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import compress
from typing import Any

from resolvers.import_columns import Reasons, check_column
from resolvers.import_plan import Plan
from resolvers.import_source import BadRow, Batch
from resolvers.run_logs import FINISHED

_LONGEST_LATENCY = 2**31 - 1
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_MILLISECOND = timedelta(milliseconds=1)

Cells = dict[str, list[Any]]


@dataclass(slots=True)
class CheckedBatch:
    """The good rows of a batch, as cells by column name, and the bad ones."""

    lines: Sequence[int]
    cells: Cells
    bad: list[BadRow]

    def drop(self, reasons: Reasons) -> None:
        """Move rows, named by their place, from the good to the bad."""
        if not reasons:
            return
        keep = [place not in reasons for place in range(len(self.lines))]
        self.bad += [BadRow(self.lines[place], reason) for place, reason in sorted(reasons.items())]
        self.lines = list(compress(self.lines, keep))
        self.cells = {name: list(compress(cells, keep)) for name, cells in self.cells.items()}


def check_batch(plan: Plan, batch: Batch, *, now: datetime, shift: timedelta) -> CheckedBatch:
    """Check every cell and fill in what the file leaves out. All times are in UTC."""
    count = len(batch.lines)
    reasons: Reasons = {}
    cells: Cells = {}
    for column in plan.columns:
        if column.name in plan.constants:
            cells[column.name] = [plan.constants[column.name]] * count
        elif column.name in plan.sources:
            cells[column.name] = check_column(column, batch.columns[plan.sources[column.name]], reasons)
    for name in plan.needed:
        _need(name, cells[name], reasons)
    if plan.gives("created_at"):
        finished = cells.get("finished_at", [None] * count)
        _need("created_at", [a or b for a, b in zip(cells["created_at"], finished, strict=True)], reasons)
    checked = CheckedBatch(batch.lines, cells, list(batch.bad))
    checked.drop(reasons)
    _derive(checked.cells, len(checked.lines), now)
    if shift:
        for name in ("created_at", "finished_at"):
            checked.cells[name] = [None if time is None else time + shift for time in checked.cells[name]]
    return checked


def _need(name: str, cells: list[Any], reasons: Reasons) -> None:
    if None in cells:
        for place, cell in enumerate(cells):
            if cell is None:
                reasons.setdefault(place, f"{name} is empty")


def _derive(cells: Cells, count: int, now: datetime) -> None:
    nothing: list[Any] = [None] * count
    if None in cells.get("tokens_used", nothing):
        cells["tokens_used"] = [
            (prompt or 0) + (completion or 0) if tokens is None else tokens
            for tokens, prompt, completion in zip(
                cells.get("tokens_used", nothing),
                cells.get("prompt_tokens", nothing),
                cells.get("completion_tokens", nothing),
                strict=True,
            )
        ]
    if None in cells.get("status", nothing):
        # A log of calls tells what is over; only an error says that it went wrong.
        cells["status"] = [
            status or ("success" if error is None else "failed")
            for status, error in zip(
                cells.get("status", nothing), cells.get("error_message", nothing), strict=True
            )
        ]
    _derive_times(cells, nothing, now)


def _derive_times(cells: Cells, nothing: list[Any], now: datetime) -> None:
    for name in ("created_at", "finished_at", "latency_ms"):
        cells.setdefault(name, nothing)
    if None in cells["created_at"]:
        cells["created_at"] = [
            created or (finished - (latency or 0) * _MILLISECOND if finished else now)
            for created, finished, latency in zip(
                cells["created_at"], cells["finished_at"], cells["latency_ms"], strict=True
            )
        ]
    if None in cells["latency_ms"]:
        cells["latency_ms"] = [
            _latency(created, finished) if latency is None else latency
            for latency, created, finished in zip(
                cells["latency_ms"], cells["created_at"], cells["finished_at"], strict=True
            )
        ]
    if None in cells["finished_at"]:
        cells["finished_at"] = [
            created + latency * _MILLISECOND
            if finished is None and latency is not None and status in FINISHED
            else finished
            for finished, created, latency, status in zip(
                cells["finished_at"], cells["created_at"], cells["latency_ms"], cells["status"], strict=True
            )
        ]


def _latency(created: datetime, finished: datetime | None) -> int | None:
    # Clocks differ: a run that ended before it began has no latency.
    if finished is None or finished < created:
        return None
    latency = (finished - created) // _MILLISECOND
    return latency if latency <= _LONGEST_LATENCY else None


def encode_rows(plan: Plan, cells: Cells) -> bytes:
    """The rows in COPY's text format, columns in the plan's order."""
    columns = [_encode_column(cells[column.name]) for column in plan.columns]
    return ("\n".join(map("\t".join, zip(*columns, strict=True))) + "\n").encode()


def _encode_column(cells: list[Any]) -> list[str]:
    sample = next((cell for cell in cells if cell is not None), None)
    if isinstance(sample, datetime):
        return ["\\N" if cell is None else cell.isoformat() for cell in cells]
    if isinstance(sample, int):
        return ["\\N" if cell is None else str(cell) for cell in cells]
    joined = "".join(filter(None, cells))
    if any(special in joined for special in "\\\t\n\r"):
        return ["\\N" if cell is None else cell.translate(_ESCAPES) for cell in cells]
    return ["\\N" if cell is None else cell for cell in cells]
