"""The range of a batch's total holds what it promises: the total lies in it in 8 of 10 cases."""

from __future__ import annotations

from random import Random
from statistics import mean, stdev

import pytest

from resolvers.estimates import tokens_range


@pytest.mark.parametrize("calls", [5, 40, 1000])
def test_the_total_lies_in_its_range_in_eight_of_ten_cases(calls: int) -> None:
    random = Random(7)
    inside = 0
    for _ in range(400):
        history = [random.lognormvariate(6, 0.8) for _ in range(200)]
        total = sum(random.lognormvariate(6, 0.8) for _ in range(calls))
        app = {
            "calls": calls,
            "mean_tokens": mean(history),
            "tokens_deviation": stdev(history),
            "recent_calls": 200,
        }
        between = tokens_range([app])
        assert between is not None
        inside += between[0] <= total <= between[1]
    assert 0.74 < inside / 400 < 0.87
