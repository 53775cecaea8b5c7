"""A database that is one open transaction, so that a use-case run on it becomes a part of that."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from db.postgres.errors import translated
from db.postgres.pool import Connection, Database


class TransactionDatabase(Database):
    """Gives the connection of an open transaction instead of one of the pool; one use at a time.

    `transaction` is a savepoint of it: an exception undoes what was done within, and the outer transaction
    decides over the whole. It takes no second connection, so it cannot wait for the pool.
    """

    def __init__(self, transaction: Connection) -> None:
        self._joined = transaction

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection, None]:
        """The transaction's connection; what is read sees the transaction's own changes."""
        yield self._joined

    @asynccontextmanager
    async def statement(self) -> AsyncGenerator[Connection, None]:
        """A savepoint of the transaction: a statement that fails is undone alone."""
        async with self.transaction() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection, None]:
        """A savepoint of the transaction."""
        with translated(changing=True):
            async with self._joined.transaction():
                yield self._joined
