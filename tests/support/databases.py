"""Databases of their own for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import psycopg
from psycopg import sql


@contextlib.contextmanager
def cloned_database(
    server_dsn: Callable[[str], str], name: str, template: str = "template1"
) -> Iterator[None]:
    """A database that is made from a template and dropped in the end."""
    with psycopg.connect(server_dsn("postgres"), autocommit=True) as admin:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        # Copying the files takes a third of writing them to the log; PostgreSQL 14 does nothing else.
        admin.execute(create + sql.SQL(" STRATEGY file_copy" if admin.info.server_version >= 150_000 else ""))
        try:
            yield
        finally:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
