"""The range of a batch's total holds what it promises, also where calls that follow each other are alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.estimates import TARGET, alike, coverage, read_trace
from resolvers.usage.margins import margin_of


@pytest.fixture
def trace(repository: Path) -> list[int]:
    """The tokens of the calls of a real trace, in their order."""
    path = repository.parent / "shared" / "data" / "AzureLLMInferenceTrace_code.csv"
    if not path.exists():
        pytest.skip("the trace lies beside the project only where it is developed")
    return read_trace(path)


@pytest.mark.parametrize("calls", [10, 30, 50, 100, 150, 200, 300])
def test_on_a_real_trace_the_range_holds_as_many_totals_as_promised(trace: list[int], calls: int) -> None:
    share, windows = coverage(trace, calls)
    assert windows > 25
    assert TARGET[0] <= share <= TARGET[1]


@pytest.mark.parametrize("memory", [0.98, 0.995])
@pytest.mark.parametrize("calls", [30, 100, 300])
def test_where_calls_in_a_row_are_alike_the_range_is_wide_enough(calls: int, memory: float) -> None:
    tokens = alike(40 * calls + 500, seed=1, memory=memory) + alike(40 * calls, seed=2, memory=memory)
    share, windows = coverage(tokens, calls)
    assert windows == 80
    assert 0.72 <= share <= 0.93


@pytest.mark.parametrize("calls", [5, 40, 300])
def test_of_independent_calls_the_range_is_not_much_too_wide(calls: int) -> None:
    tokens = alike(100 * calls + 1000, seed=3, memory=0)
    share, _ = coverage(tokens, calls, first=1000)
    assert 0.75 <= share <= 0.97
    history = tokens[:1000]
    deviation = (sum((each - sum(history) / 1000) ** 2 for each in history) / 999) ** 0.5
    independent = 1.2816 * deviation * (calls + calls**2 / 1000) ** 0.5
    margin = margin_of(history, calls)
    assert margin is not None
    assert independent < margin < 2.5 * independent


def test_equal_calls_have_no_margin_and_too_few_have_none_known() -> None:
    assert margin_of([7.0] * 10, 1000) == 0
    assert margin_of([7.0] * 9, 1000) is None
