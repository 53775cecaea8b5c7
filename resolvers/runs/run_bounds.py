"""What a run may hold, the same wherever one is reported or loaded: recordRuns and import.

A value beyond is a mistake of its writer, such as a time in the column of the tokens, and would spoil
every sum. Rows that other services write into an adopted table are counted as they are.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

MAX_TOKENS = 10**12
# What an integer column holds, 24 days.
MAX_LATENCY_MS = 2**31 - 1
# Beyond these PostgreSQL stores times that Python cannot read.
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# A run cannot have begun later than this from now: clocks differ, and zones are mistaken by hours.
MAX_AHEAD = timedelta(days=1)

TOKENS_TEXT = f"between 0 and {MAX_TOKENS}"
LATENCY_TEXT = f"between 0 and {MAX_LATENCY_MS} milliseconds"
TIME_TEXT = f"between {EARLIEST.year} and one day from now"


def is_token_count(value: int) -> bool:
    """Whether one run can have used so many tokens."""
    return 0 <= value <= MAX_TOKENS


def is_latency(value: int) -> bool:
    """Whether one run can have taken so many milliseconds."""
    return 0 <= value <= MAX_LATENCY_MS


def is_run_time(value: datetime, now: datetime) -> bool:
    """Whether a run can have begun or ended then; both with a zone."""
    return EARLIEST <= value <= now + MAX_AHEAD
