"""How far the total of an app's next calls may lie from what its newest calls make expected.

Calls of an app that follow each other are alike: one user asks for long answers for a quarter of an hour, a
prompt changes for an afternoon. So the means of 100 calls in a row differ much more than they would if the
calls were independent, and a range from the deviation of single calls is too narrow (on a real trace it held
the next 300 calls in 5 of 10 cases, and the next 1,000 in 3).

Here the history itself says by how much: it is cut into blocks of 1, 2, 4 … calls in a row while there are
at least six blocks. The variance of the blocks' means, times the length of a block, would be the same for
every length if calls were independent; what it grows by is how much calls go together. Beyond the longest
block it is taken to grow on as it grew so far, and not by less than a power of 0.2. `bench/estimates.py`
tries it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import log, sqrt
from statistics import variance

SMALLEST_SAMPLE = 10
"""Fewer calls say too little of how calls differ."""
_FEWEST_BLOCKS = 6
_LEAST_GROWTH, _GREATEST_GROWTH = 0.2, 0.6
# Student's: of a value whose variance is known from so many blocks, a tenth lies above so many deviations.
_TENTH = {6: 1.476, 7: 1.440, 8: 1.415, 9: 1.397, 10: 1.383, 11: 1.372}


def margin_of(history: Sequence[float], calls: int) -> float | None:
    """Between the mean times `calls`, minus and plus this, the total of the next calls lies in 8 of 10 cases.

    `history` has the oldest first. None where it is too short.
    """
    known = len(history)
    if known < SMALLEST_SAMPLE:
        return None
    spreads = _spreads(history)
    longest, blocks, _ = spreads[-1]
    single = spreads[0][2]
    greatest = max(spread for _, _, spread in spreads)
    if not greatest:
        return 0.0
    growth = _LEAST_GROWTH
    if longest > 1 and single:
        growth = min(max(log(greatest / single) / log(longest), growth), _GREATEST_GROWTH)

    def spread_of(length: int) -> float:
        if length > longest:
            return greatest * (length / longest) ** growth
        return max(spread for block, _, spread in spreads if block <= length)

    # The total varies by itself, and the mean that it is expected from is that of a sample.
    squared = calls * spread_of(calls) + calls * calls * spread_of(known) / known
    return _TENTH[blocks] * sqrt(squared)


def _spreads(history: Sequence[float]) -> list[tuple[int, int, float]]:
    """For each length of a block: how many blocks there are, and their means' variance times the length."""
    sums = [0.0, *accumulate(history)]
    found: list[tuple[int, int, float]] = []
    length = 1
    while (blocks := len(history) // length) >= _FEWEST_BLOCKS:
        # Of the newest calls, where the last block would not be whole.
        ends = range(len(history) - blocks * length, len(history) + 1, length)
        means = [(sums[end] - sums[end - length]) / length for end in ends[1:]]
        found.append((length, blocks, variance(means) * length))
        length *= 2
    return found
