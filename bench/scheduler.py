"""The kernel's scheduler, as servers know it: without groups of processes by session.

Linux gives the processes of each session a group with a share of its own, for desktops, and PostgreSQL makes
each of its processes a session. In a container or a service, which have groups of their own, that does not
apply. Where it applies, a statement waits 30 to 200 ms now and then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

AUTOGROUPS = Path("/proc/sys/kernel/sched_autogroup_enabled")


@contextmanager
def without_autogroups(setting: Path = AUTOGROUPS) -> Iterator[str]:
    """Switch them off for a block, as only root may; gives what to say of it in a report."""
    try:
        before = setting.read_text()
        setting.write_text("0\n")
    except FileNotFoundError:
        yield "no groups by session"
    except OSError:
        yield "groups by session, which only root may switch off"
    else:
        try:
            yield "groups by session switched off, as in a container or a service"
        finally:
            setting.write_text(before)
