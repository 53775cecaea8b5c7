"""The SQL of the product, for the peers and for pgbench: everybody reads the same tables by the same text.

Only the list and the alerts differ: a resolver by hand reads the columns of the fields it serves, where the
product reads those of the whole row. The list's LIMIT is a literal, because PostgreSQL plans a LIMIT
that is a value anew at every execution, which takes twice as long as the rest of the statement.
"""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast, get_args
from zoneinfo import ZoneInfo

from db.loaders import Loaders
from db.postgres.connection import Connection
from db.postgres.pool import Database
from db.runs.alerts import recent_alerts
from db.sql import long_texts
from db.sql.keyset import PageRequest, keyset
from db.sql.scope import EVERY_SITE, Scope, SiteStatement
from db.usage import rollups
from db.usage.dashboard import latest_runs
from graph.app import make_engine
from graph.context import Context
from graph.settings.config import Settings
from resolvers.access.callers import Caller, Role
from resolvers.usage.dashboard import Block, BlockName, Dashboard
from resolvers.usage.token_budget import Limits

SITE = "site_07"
SCOPES = {"all": EVERY_SITE, "one": Scope.of(SITE)}
PEER_COLUMNS = (
    "id, site_id, app_type, model, status, coalesce(tokens_used, 0), latency_ms, member_id, created_at"
)

_LONGEST: dict[str, Any] = {long_texts.LIMIT: str(Connection.longest_text)}
LIMIT = "%(page_limit)s"
"""Stands in the peers' list for the number of rows, which they put in."""

_NAMED = re.compile(r"%\((\w+)\)s")


class Statement(NamedTuple):
    """A statement's text with %(name)s for its values, and with $1 for them; `names` are in that order."""

    text: str
    numbered: str
    names: list[str]


def peer_statements() -> dict[str, dict[str, Any]]:
    """What a peer runs, by its name and `_all` or `_one` (site)."""
    statements: dict[str, Any] = {}
    for suffix, scope in SCOPES.items():
        texts = {
            "list": _list_of(PEER_COLUMNS).sql(scope).replace(LIMIT, "{limit}"),
            "usage_by_period": rollups.SUM_USAGE_BY_PERIOD.sql(scope),
            "usage_by_app": rollups.SUM_USAGE_BY_APP.sql(scope),
            "latency_bins": rollups.SUM_LATENCY_BINS.sql(scope),
            "latest_runs": latest_runs(scope=scope).sql,
            "recent_alerts": recent_alerts(scope=scope).sql,
        }
        statements |= {f"{name}_{suffix}": statement_of(text)._asdict() for name, text in texts.items()}
    return statements


def write_peer_statements(path: Path) -> None:
    """Write them as JSON, which both peers read."""
    path.write_text(json.dumps(peer_statements(), indent=1))


def statement_of(text: str) -> Statement:
    """Number the named values of a statement; a value that stands twice has one number."""
    names: list[str] = []

    def number(match: re.Match[str]) -> str:
        if match[1] not in names:
            names.append(match[1])
        return f"${names.index(match[1]) + 1}"

    return Statement(text, _NAMED.sub(number, text), names)


def pgbench_list(dsn: str, query: str, rows: int) -> tuple[str, dict[str, str]]:
    """The statement that the product sends for a list, as a pgbench script, and its variables."""
    return _script([asyncio.run(_sent_for(dsn, query, rows))]), dict(_LONGEST)


async def _sent_for(dsn: str, query: str, rows: int) -> str:
    """What reaches the database once the document is known."""
    sent: list[str] = []

    class Recording(Connection):
        async def fetch(self, sql: Any, *args: Any, **kwargs: Any) -> Any:
            sent.append(sql)
            return await super().fetch(sql, *args, **kwargs)

    settings = Settings(database_url=dsn, _env_file=None)
    engine, database = make_engine(settings), Database(dsn, connection_class=Recording)
    await database.open()
    try:
        for _ in range(2):
            caller = Caller("bench", EVERY_SITE, Role.VIEWER)
            context = Context(database, settings, caller, Loaders(database, EVERY_SITE), lambda: None)
            await engine.execute(engine.prepare(query), {"first": rows}, context)
    finally:
        await database.close()
    return sent[-1]


def pgbench_dashboard(scope_name: str) -> tuple[str, dict[str, str]]:
    """The six statements of a whole dashboard in a pipeline; that of the alerts is the peers'."""
    names = get_args(BlockName)
    shown = Dashboard(cast("Database", None), Limits(), SCOPES[scope_name], ZoneInfo("UTC"), None)
    reads = shown.reads([Block(name, 7) for name in names]).values()
    texts: list[str] = []
    variables: dict[str, str] = {}
    for number, read in enumerate(reads):
        texts.append(_NAMED.sub(rf"%(r{number}_\1)s", read.sql))
        values = _LONGEST | read.values
        variables |= {f"r{number}_{name}": _printed(value) for name, value in values.items()}
    return "\\startpipeline\n" + _script(texts) + "\\endpipeline\n", variables


def _printed(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _list_of(columns: str) -> SiteStatement:
    _, order, _ = keyset(PageRequest())
    ordered, _, _ = order.rpartition(" ")
    return SiteStatement(f"SELECT {columns} FROM biz.ai_run_logs WHERE {{scope}}{ordered} {LIMIT}")


def _script(texts: list[str]) -> str:
    return "".join(_NAMED.sub(r":\1", " ".join(text.split())) + ";\n" for text in texts)
