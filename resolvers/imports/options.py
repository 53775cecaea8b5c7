"""What the person who imports says of a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

NONE: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How a file is to be read and loaded; what is None is found out, and told.

    `columns` maps a column of the run log to a title, key or dotted path of the file ("" leaves it out);
    `constants` gives every row the same value; `words` maps words of a column's cells to others ("" is no
    value); `units` says in what a number is counted (s, ms, us, ns, min). Times without a zone are of
    `time_zone`; `ambiguous` says which of two instants a time is that exists twice there. `time_format` is
    strptime's, or "spreadsheet" for day numbers. `shift_to_now` moves all times by the same amount, so that
    the newest created_at that is loaded is now; `created_now` gives every row the time of loading. `update`
    changes the runs whose external ids are known. `dry_run` changes nothing.
    """

    columns: Mapping[str, str] = field(default_factory=lambda: NONE)
    constants: Mapping[str, str] = field(default_factory=lambda: NONE)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    units: Mapping[str, str] = field(default_factory=lambda: NONE)
    time_zone: str = "UTC"
    time_format: str | None = None
    ambiguous: Literal["earlier", "later"] | None = None
    before_2000: bool = False
    created_now: bool = False
    shift_to_now: bool = False
    delimiter: str | None = None
    encoding: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    skip_bad: bool = False
    update: bool = False
    dry_run: bool = False
