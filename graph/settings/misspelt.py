"""Variables that look like settings of ours and are none, with the name that was probably meant."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable

# So that a slip in the prefix itself is found too.
_LOOKS_LIKE_OURS = ("RUNGL", "RUN_GL", "RUNGAL", "RUGLASS")


def misspelt(given: Iterable[str], known: Collection[str]) -> list[str]:
    """One line for each of the given variables that looks like a setting and is none."""
    names = {name.upper(): name for name in given}
    return [
        _line(names[upper], known)
        for upper in sorted(names)
        if upper.startswith(_LOOKS_LIKE_OURS) and upper not in known
    ]


def _line(name: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name.upper(), sorted(known), n=1, cutoff=0.7)
    meant = f"; {nearest[0]} was probably meant" if nearest else ""
    return f"{name} is no setting and does nothing{meant}"
