"""Does the range of an estimate hold? Tried on a trace: python -m bench.estimates [TRACE.csv]

The trace is cut into disjoint windows of n calls in a row. Each is estimated from the calls before it, and
the range of its total should hold it in 8 of 10 cases: 75 to 90 % of the windows for n up to 300. Without a
trace, and beside it, on made calls: independent ones, and ones of which neighbours are alike.
"""

from __future__ import annotations

import csv
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from resolvers.usage.estimates import SAMPLE
from resolvers.usage.margins import margin_of

FIRST = 500
"""Calls that are history before the first window."""
TARGET = (0.75, 0.9)
TARGET_UP_TO = 300
LENGTHS = (10, 30, 50, 100, 150, 200, 300, 500, 1000, 3000)


def coverage(tokens: Sequence[int], calls: int, first: int = FIRST) -> tuple[float, int]:
    """The share of windows of so many calls whose total lies in its range, and how many windows there are."""
    inside = windows = 0
    for start in range(first, len(tokens) - calls + 1, calls):
        history = tokens[max(0, start - SAMPLE) : start]
        margin = margin_of(history, calls)
        if margin is None:
            raise ValueError("the first window needs some history")
        expected, total = fmean(history) * calls, sum(tokens[start : start + calls])
        inside += max(0, expected - margin) <= total <= expected + margin
        windows += 1
    return (inside / windows if windows else math.nan), windows


def read_trace(path: Path) -> list[int]:
    """The tokens of each call of a trace with the columns ContextTokens and GeneratedTokens."""
    with path.open(newline="", encoding="utf-8") as file:
        return [int(row["ContextTokens"]) + int(row["GeneratedTokens"]) for row in csv.DictReader(file)]


def alike(calls: int, *, seed: int, memory: float) -> list[int]:
    """Made calls: uneven ones, on a level that moves slowly; `memory` 0 is independent ones."""
    source, level, tokens = random.Random(seed), 0.0, list[int]()
    for _ in range(calls):
        level = memory * level + math.sqrt(1 - memory * memory) * source.gauss(0, 1)
        tokens.append(round(math.exp(6 + 0.4 * level + 0.7 * source.gauss(0, 1))))
    return tokens


def main() -> None:
    """Print the share of windows that were held, for each length of a window."""
    rows = {
        "independent calls": alike(20_000, seed=1, memory=0),
        "calls alike for some 50": alike(20_000, seed=1, memory=0.98),
        "calls alike for some 200": alike(20_000, seed=1, memory=0.995),
    }
    for path in map(Path, sys.argv[1:]):
        rows[path.name] = read_trace(path)
    print(f"Target for up to {TARGET_UP_TO} calls of a real trace: {TARGET[0]} to {TARGET[1]}. (windows)")
    for name, tokens in rows.items():
        print(f"{name}, {len(tokens):,}")
        for calls in LENGTHS:
            share, windows = coverage(tokens, calls)
            print(f"  {calls:>5} calls: {share:.2f} ({windows})")


if __name__ == "__main__":
    main()
