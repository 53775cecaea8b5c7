"""What the log says when a server or a worker starts: its version, where it is, and what is odd about it."""

from __future__ import annotations

import logging
from importlib.metadata import version

from db.postgres.address import shown
from graph.settings.config import Settings, unknown_variables

log = logging.getLogger(__name__)


def log_start(what: str, settings: Settings) -> None:
    """One line about the process, and one for each variable that looks like a setting and is none."""
    log.info(
        "%s starts: Runglass %s, database %s, %d to %d connections, days in %s",
        what,
        version("runglass"),
        shown(settings.dsn),
        settings.pool_min_size,
        settings.pool_max_size,
        settings.time_zone,
    )
    for line in unknown_variables(settings.apps_file):
        log.warning("%s", line)
