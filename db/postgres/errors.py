"""What can go wrong between us and the database, in words that do not need the driver.

The text of an error is one clause for whoever reads an answer or a log; what the driver said of it is logged
here, once for many, with its SQLSTATE.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Generator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from db.postgres.repeats import Repeats

log = logging.getLogger(__name__)
_repeats = Repeats()
# A right that is missing stays so until somebody grants it.
_missing_rights = Repeats(math.inf)


class Unavailable(Exception):
    """The database cannot do this now. Nothing was changed, and the same call may work later."""


class ReadOnly(Unavailable):
    """The database takes no changes: a standby, or set to be read only. Reading works."""


class NotPermitted(Unavailable):
    """The role has no right to this. The log says once to what."""


class StatementTimeout(Exception):
    """A statement ran longer than the statement timeout and was cancelled. Nothing was changed."""


class InvalidValue(Exception):
    """A value does not fit the type of the column it is compared with (letters for a numeric id)."""


class RefusedByTable(Exception):
    """A constraint or a trigger of an adopted table does not take a change. Nothing was changed.

    `column` is the one that it is about, where its name tells.
    """

    def __init__(self, message: str, column: str | None) -> None:
        super().__init__(message)
        self.column = column


_BLOCKED = "another change was in the way; try again"
_FULL = "the database has no space left for this; its operator must make some"
_STOPPING = "the database is stopping or starting; try again soon"
_BROKEN = "the database has a fault of its own; its operator must look at it"
_SLOW = "the database ended a session that took longer than it allows; try again"
_POOLED = "a pooler stands before the database; RUNGLASS_POOLER=transaction must say so"
_BY_TRIGGER = "a trigger of its table does not take this change; the server's log says why"
UNREACHABLE = "the database does not answer; try again later"

_TABLES = ("ai_run_logs", "ai_trigger_jobs", "ai_cache")
# The columns of adopted tables, the longer ones of two that end alike first.
_COLUMNS = (
    "member_id",
    "session_id",
    "site_id",
    "target_id",
    "external_id",
    "trigger_job_id",
    "batch_id",
    "trigger_type",
    "app_type",
    "event_type",
    "connector_type",
    "cache_type",
    "alert_status",
    "status",
    "request_prompt",
    "response_text",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "tokens_used",
    "latency_ms",
    "error_message",
    "created_at",
    "finished_at",
    "started_at",
    "expires_at",
    "app_chain",
    "payload",
    "model",
)

# By SQLSTATE, or by its class of two characters; the longer one goes first.
_REASONS = {
    "08": UNREACHABLE,
    "25006": "the database takes no changes now: it is a standby, or read-only",
    "25P03": _SLOW,
    "25P04": _SLOW,
    "26000": _POOLED,
    "28": "the database refuses the server's role; its log says why",
    "42P05": _POOLED,
    "42501": "the server's role has no right to this in the database; `runglass check` names it",
    "40": _BLOCKED,
    "55P03": _BLOCKED,
    "53100": _FULL,
    "53200": "the database has no memory left for this; try again later",
    "53300": "the database has no connection left; try again later",
    "53400": "the database's own settings do not allow as much as this needs",
    "57P01": _STOPPING,
    "57P02": _STOPPING,
    "57P03": _STOPPING,
    "57P05": _SLOW,
    "57": UNREACHABLE,
    "58": _BROKEN,
    "XX001": _BROKEN,
    "XX002": _BROKEN,
}
_KINDS: dict[str, type[Unavailable]] = {"25006": ReadOnly, "42501": NotPermitted}


@contextmanager
def translated(*, changing: bool = False) -> Generator[None, None, None]:
    """Raise the driver's errors as this module's; those that mean a bug of ours pass as they are.

    `changing` tells that the block was to change something.
    """
    try:
        yield
    except Exception as error:
        raise_translated(error, changing=changing)
        raise


def raise_translated(error: BaseException, *, changing: bool = False) -> None:
    """Raise a driver's error as this module's; do nothing for any other."""
    match error:
        case PoolTimeout() | PoolClosed() | TooManyRequests():
            raise Unavailable("no database connection came free in time; try again later") from error
        case errors.QueryCanceled() if changing:
            raise StatementTimeout(
                "the change took too long, or waited too long for another one, and was undone; try again"
            ) from error
        case errors.QueryCanceled():
            raise StatementTimeout("reading took too long and was stopped; narrow the filter") from error
        # A domain, of whatever schema, that a column is of.
        case psycopg.IntegrityError() if error.diag.datatype_name:
            raise InvalidValue(first_line(error)) from error
        case psycopg.IntegrityError() if error.diag.schema_name == "biz":
            raise _refused_by_table(error) from error
        # A value that is too long for an index is the caller's too.
        case psycopg.DataError() | errors.ProgramLimitExceeded():
            raise InvalidValue(first_line(error)) from error
        case psycopg.Error() if reason := _reason(error):
            line = f"{reason} ({error.sqlstate}: {first_line(error)})"
            kind = _KINDS.get(error.sqlstate or "", Unavailable)
            (_missing_rights if kind is NotPermitted else _repeats).tell(log, logging.WARNING, line)
            raise kind(reason) from error
        # Without a SQLSTATE it is the connection that failed, not a statement.
        case psycopg.OperationalError() | psycopg.InterfaceError() if not error.sqlstate:
            _repeats.tell(log, logging.WARNING, f"the database does not answer: {first_line(error)}")
            raise Unavailable(UNREACHABLE) from error
        # PL/pgSQL's RAISE, with whatever code.
        case psycopg.Error() if changing and error.diag.source_function == "exec_stmt_raise":
            # What a trigger says may tell of other rows.
            _repeats.tell(log, logging.WARNING, f"a trigger refused a change: {first_line(error)}")
            raise RefusedByTable(_BY_TRIGGER, None) from error
        case _:
            return


def _refused_by_table(error: psycopg.IntegrityError) -> RefusedByTable:
    named, constraint = error.diag.table_name or "", error.diag.constraint_name or ""
    # Of a partition the log itself, which is what people know.
    table = next((name for name in _TABLES if named.startswith(name)), named)
    if column := error.diag.column_name:
        return RefusedByTable(f"the table biz.{table} takes no row without {column}", column)
    # PostgreSQL names a constraint after its table and its column where nobody else does.
    column = next((name for name in _COLUMNS if re.search(rf"(^|_){name}(_|$)", constraint)), None)
    about = f" for {column}" if column else ""
    return RefusedByTable(
        f"the constraint {constraint} of biz.{table} does not take this value{about}", column
    )


def first_line(error: BaseException) -> str:
    """What the driver says, without hints and places."""
    return str(error).strip().split("\n", 1)[0]


def _reason(error: psycopg.Error) -> str | None:
    state = error.sqlstate or ""
    return _REASONS.get(state) or _REASONS.get(state[:2])
