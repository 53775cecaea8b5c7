"""What can go wrong between us and the database, in words that do not need the driver."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests


class Unavailable(Exception):
    """The database cannot be reached, or no connection came free in time. The same call may work later."""


class StatementTimeout(Exception):
    """A statement ran longer than the statement timeout and was cancelled. Nothing was changed."""


class InvalidValue(Exception):
    """A value does not fit the type of the column it is compared with (letters for a numeric id)."""


@contextmanager
def translated() -> Generator[None, None, None]:
    """Raise the driver's errors as this module's; those that mean a bug of ours pass as they are."""
    try:
        yield
    except Exception as error:
        raise_translated(error)
        raise


def raise_translated(error: BaseException) -> None:
    """Raise a driver's error as this module's; do nothing for any other."""
    match error:
        case PoolTimeout() | PoolClosed() | TooManyRequests():
            raise Unavailable("no database connection came free in time") from error
        case psycopg.errors.QueryCanceled():
            raise StatementTimeout("the statement ran longer than its timeout") from error
        case psycopg.DataError():
            raise InvalidValue(str(error).split("\n", 1)[0]) from error
        case psycopg.OperationalError() | psycopg.InterfaceError():
            raise Unavailable("the database cannot be reached") from error
        case _:
            return
