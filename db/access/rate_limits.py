"""How much of its allowance a caller has taken. Table: runglass.rate_limits."""

from __future__ import annotations

from typing import NamedTuple

from db.postgres.pool import Connection, fetch_unscoped

# The database's clock decides, so that processes on several machines agree on the period.
TAKE_SLICE = """
INSERT INTO runglass.rate_limits AS known (caller, period, taken)
VALUES (%(caller)s, floor(extract(epoch FROM now()) / %(seconds)s::integer), %(count)s)
ON CONFLICT (caller) DO UPDATE SET
    taken = CASE WHEN known.period = excluded.period THEN known.taken ELSE 0 END + excluded.taken,
    period = excluded.period
RETURNING taken, ((period + 1) * %(seconds)s::integer - extract(epoch FROM now()))::float8
"""


class TakenRow(NamedTuple):
    """What a caller has taken in the period, in requests, and the seconds until the next one."""

    taken: int
    seconds_left: float


async def take_slice(connection: Connection, *, caller: str, seconds: int, count: int) -> TakenRow:
    """Take `count` more of a caller's allowance, also where it is used up; periods last `seconds`."""
    parameters = {"caller": caller, "seconds": seconds, "count": count}
    return (await fetch_unscoped(connection, TakenRow, TAKE_SLICE, parameters))[0]
