"""The statements over the roll-ups, which are nothing that a peer could read by a text of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from db.sql.scope import EVERY_SITE, Scope
from db.usage import rollups
from db.usage.dashboard import latest_runs

_NAMED = re.compile(r"%\((\w+)\)s")


def peer_statements() -> dict[str, dict[str, Any]]:
    """What a peer runs, by its name and `_all` or `_one` (site): the text, and the names of its $1, $2, …"""
    statements: dict[str, dict[str, Any]] = {}
    for suffix, scope in {"all": EVERY_SITE, "one": Scope.of("any")}.items():
        texts = {
            "usage_by_period": rollups.SUM_USAGE_BY_PERIOD.sql(scope),
            "usage_by_app": rollups.SUM_USAGE_BY_APP.sql(scope),
            "latency_bins": rollups.SUM_LATENCY_BINS.sql(scope),
            "latest_runs": latest_runs(scope=scope).sql,
        }
        statements |= {f"{name}_{suffix}": numbered(text) for name, text in texts.items()}
    return statements


def write_peer_statements(path: Path) -> None:
    """Write them as JSON."""
    path.write_text(json.dumps(peer_statements(), indent=1))


def numbered(text: str) -> dict[str, Any]:
    """A statement with $1 for its first named value; one that stands twice has one number."""
    names = list(dict.fromkeys(_NAMED.findall(text)))
    return {"text": _NAMED.sub(lambda match: f"${names.index(match[1]) + 1}", text), "names": names}
