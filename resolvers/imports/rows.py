"""From a batch of the file's cells to rows in COPY's text format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import compress
from typing import Any

from resolvers.imports.batches import BadRow, Batch
from resolvers.imports.columns import Reasons
from resolvers.imports.plan import TIMES, Plan
from resolvers.runs.run_bounds import MAX_TOKENS, TOKENS_TEXT

_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})

Cells = dict[str, list[Any]]


@dataclass(slots=True)
class CheckedBatch:
    """The good rows of a batch, as cells by column name, and the bad ones."""

    lines: Sequence[int]
    cells: Cells
    bad: list[BadRow]


def check_batch(plan: Plan, batch: Batch) -> CheckedBatch:
    """Check every cell."""
    reasons: Reasons = {}
    cells: Cells = {}
    for column in plan.columns:
        if column.name in plan.sources:
            source = batch.columns[plan.sources[column.name]]
            cells[column.name] = plan.checks[column.name].check(source, reasons)
        else:
            cells[column.name] = [plan.constants[column.name]] * len(batch.lines)
    for name in plan.needed:
        _need(plan, name, cells[name], reasons)
    _check_times(plan, cells, reasons)
    _check_sums(cells, reasons)
    if not reasons:
        return CheckedBatch(batch.lines, cells, list(batch.bad))
    keep = [place not in reasons for place in range(len(batch.lines))]
    bad = [*batch.bad, *(BadRow(batch.lines[place], reason) for place, reason in sorted(reasons.items()))]
    cells = {name: list(compress(column, keep)) for name, column in cells.items()}
    return CheckedBatch(list(compress(batch.lines, keep)), cells, bad)


def _need(plan: Plan, name: str, cells: list[Any], reasons: Reasons) -> None:
    if None in cells:
        for place, cell in enumerate(cells):
            if cell is None:
                reasons.setdefault(place, f"{plan.checks[name].label} is empty")


def _check_times(plan: Plan, cells: Cells, reasons: Reasons) -> None:
    columns = [cells[name] for name in TIMES if name in cells]
    if len(columns) == 1 and "created_at" in cells and "created_at" in plan.sources:
        _need(plan, "created_at", columns[0], reasons)
    elif len(columns) == 1 and "finished_at" in plan.sources:
        _need(plan, "finished_at", columns[0], reasons)
    elif len(columns) == 2:
        for place, (created, finished) in enumerate(zip(*columns, strict=True)):
            if created is None and finished is None:
                reasons.setdefault(place, "created_at is empty")
            elif created is not None and finished is not None and finished < created:
                reasons.setdefault(place, "finished_at lies before created_at")


def _check_sums(cells: Cells, reasons: Reasons) -> None:
    """Where the file has no sum of the tokens, it is made of their parts."""
    prompts, completions = cells.get("prompt_tokens", []), cells.get("completion_tokens", [])
    largest = max((n or 0 for n in prompts), default=0) + max((n or 0 for n in completions), default=0)
    if "tokens_used" in cells or largest <= MAX_TOKENS:
        return
    for place, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        if (prompt or 0) + (completion or 0) > MAX_TOKENS:
            reasons.setdefault(place, f"prompt_tokens and completion_tokens together are not {TOKENS_TEXT}")


def encode_rows(plan: Plan, batch: CheckedBatch) -> bytes:
    """The rows in COPY's text format: the line, then the columns in the plan's order."""
    columns = [map(str, batch.lines), *(_encode(batch.cells[column.name]) for column in plan.columns)]
    return ("\n".join(map("\t".join, zip(*columns, strict=True))) + "\n").encode()


def _encode(cells: list[Any]) -> list[str]:
    sample = next((cell for cell in cells if cell is not None), None)
    if isinstance(sample, datetime):
        return ["\\N" if cell is None else cell.isoformat() for cell in cells]
    if isinstance(sample, int):
        return ["\\N" if cell is None else str(cell) for cell in cells]
    joined = "".join(filter(None, cells))
    if any(special in joined for special in "\\\t\n\r"):
        return ["\\N" if cell is None else cell.translate(_ESCAPES) for cell in cells]
    return ["\\N" if cell is None else cell for cell in cells]
