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
    except (PoolTimeout, PoolClosed, TooManyRequests) as error:
        raise Unavailable("no database connection came free in time") from error
    except psycopg.errors.QueryCanceled as error:
        raise StatementTimeout("the statement ran longer than its timeout") from error
    except psycopg.DataError as error:
        raise InvalidValue(str(error).split("\n", 1)[0]) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise Unavailable("the database cannot be reached") from error
