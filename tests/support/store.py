"""The test's own hand on the database."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb


class Store:
    """The test's own hand on the database, beside the app."""

    def __init__(self, dsn: str) -> None:
        self.connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row)
        self.connection.execute("SET TimeZone = 'UTC'")

    def rows(self, statement: str, parameters: Any = None) -> list[dict[str, Any]]:
        """The rows of a statement."""
        cursor = self.connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, parameters: Any = None) -> Any:
        """The first column of the first row."""
        return next(iter(self.rows(statement, parameters)[0].values()))

    def add(self, table: str, **values: Any) -> int:
        """Add a row and give its id; dicts and lists for jsonb columns come as `Jsonb`."""
        names = sql.SQL(", ").join(map(sql.Identifier, values))
        marks = sql.SQL(", ").join(sql.Placeholder() * len(values))
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING id").format(
            sql.Identifier(*table.split(".")), names, marks
        )
        cursor = self.connection.execute(statement, list(values.values()))
        return cursor.fetchone()["id"]

    def run(self, **values: Any) -> int:
        """Add a run log: a success of `chat` at site `berlin`, unless told otherwise."""
        defaults = {"site_id": "berlin", "app_type": "chat", "status": "success", "tokens_used": 100}
        return self.add("biz.ai_run_logs", **(defaults | values))

    def job(self, **values: Any) -> int:
        """Add a job: a failed `order_created` at site `berlin`, unless told otherwise."""
        defaults = {
            "site_id": "berlin",
            "event_type": "order_created",
            "status": "failed",
            "payload": Jsonb({"order": 1}),
            "app_chain": ["chat"],
        }
        return self.add("biz.ai_trigger_jobs", **(defaults | values))

    def cache(self, **values: Any) -> int:
        """Add a valid cache entry of `chat` for member `m1` at site `berlin`, unless told otherwise."""
        defaults = {
            "site_id": "berlin",
            "cache_type": "chat",
            "target_id": "m1",
            "result": Jsonb({"text": "hi"}),
        }
        return self.add("biz.ai_cache", **(defaults | values))

    def snapshot(self) -> dict[str, list[dict[str, Any]]]:
        """Every row that a mutation may touch, to prove that a refusal changed nothing."""
        tables = (
            "biz.ai_run_logs",
            "biz.ai_trigger_jobs",
            "biz.ai_cache",
            "runglass.batches",
            "runglass.run_external_ids",
            "runglass.audit_log",
            "runglass.budgets",
        )
        # What a refused change to a key must leave as it was; last_used_at changes by use.
        keys = "SELECT id, revoked_at, revoked_by, sites, role FROM runglass.api_keys ORDER BY id"
        rows = {table: self.rows(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables}
        return rows | {"runglass.api_keys": self.rows(keys)}
