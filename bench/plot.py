"""bench/results.svg: a panel of bars for each case, drawn by hand."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import floor, log10

from bench.cases import Case
from bench.load import Figures
from bench.report import TITLES, Run

WIDTH = 860
MARGIN = 28
GAP = 36
TOP = 84
PANEL = 192
BAR = 24
STEP = 40
LABEL = 122
BOTTOM = 44
COLOURS = {"runglass": "#2563eb", "mercurius": "#94a3b8", "plain": "#cbd5e1"}
INK, FAINT, RULE = "#0f172a", "#64748b", "#e2e8f0"


def draw(run: Run) -> str:
    """The picture as SVG; PostgreSQL's own rate is written, as its bar would dwarf the others."""
    cases = run.figures
    rows = (len(cases) + 1) // 2
    height = TOP + rows * PANEL + BOTTOM
    width = (WIDTH - 2 * MARGIN - GAP) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}"'
        f' height="{height}" role="img" aria-label="Requests a second of each server"'
        ' font-family="system-ui, -apple-system, Segoe UI, Roboto, Helvetica, Arial, sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        _text(MARGIN, 38, "Requests a second", size=20, weight=600),
        _text(
            MARGIN,
            60,
            f"more is better; medians of {run.rounds} rounds, lines from the slowest to the fastest;"
            f" {run.rows:,} run logs, one process each, 8 connections",
            fill=FAINT,
            size=12.5,
        ),
    ]
    for index, (case, figures) in enumerate(cases):
        x = MARGIN + (index % 2) * (width + GAP)
        parts += _panel(x, TOP + (index // 2) * PANEL, width, case, figures)
    where = f"{run.machine.get('Processor', '')} · {run.machine.get('Date', '')}"
    parts += [_text(MARGIN, height - 18, where, fill=FAINT, size=11.5), "</svg>"]
    return "\n".join(parts) + "\n"


def _panel(x: float, y: float, width: float, case: Case, figures: Mapping[str, Figures]) -> list[str]:
    shown = {name: figures[name] for name in COLOURS if name in figures}
    top = _round_up(max((found.fastest for found in shown.values()), default=1))
    room = width - LABEL - 52
    bottom = y + 30 + STEP * len(COLOURS)
    parts = [
        f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x + width:.1f}" y2="{y:.1f}" stroke="{RULE}"/>',
        _text(x, y + 22, case.title, size=14, weight=600),
    ]
    for index, (name, found) in enumerate(shown.items()):
        parts += _bar(x, y + 38 + index * STEP, room / top, name, found)
    if own := figures.get("postgresql"):
        text = f"{TITLES['postgresql']}, the same statements: {own.rate:,.0f}"
        parts.append(_text(x, bottom + 22, text, fill=FAINT, size=11.5))
    return parts


def _bar(x: float, y: float, scale: float, name: str, found: Figures) -> list[str]:
    left, middle = x + LABEL, y + BAR / 2
    length = max(found.rate * scale, 1)
    low, high = left + found.slowest * scale, left + found.fastest * scale
    weight = 600 if name == "runglass" else 400
    return [
        _text(x, middle + 4, TITLES[name], size=12.5, weight=weight),
        f'<rect x="{left:.1f}" y="{y:.1f}" width="{length:.1f}" height="{BAR}" rx="3"'
        f' fill="{COLOURS[name]}"/>',
        f'<line x1="{low:.1f}" y1="{middle:.1f}" x2="{high:.1f}" y2="{middle:.1f}" stroke="{INK}"'
        ' stroke-opacity="0.55" stroke-width="1.5"/>',
        _text(max(left + length, high) + 7, middle + 4, f"{found.rate:,.0f}", size=12.5, weight=weight),
    ]


def _text(x: float, y: float, text: str, *, size: float, fill: str = INK, weight: int = 400) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}">'
        f"{escape(text)}</text>"
    )


def _round_up(value: float) -> float:
    unit = 10.0 ** floor(log10(max(value, 1)))
    return next(step * unit for step in (1, 1.5, 2, 3, 4, 5, 7.5, 10) if step * unit >= value)
