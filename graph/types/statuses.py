"""Statuses as enums. Other services write the words, so each enum has UNKNOWN for a word it does not know."""

from enum import Enum
from typing import TypeVar

import strawberry

EnumT = TypeVar("EnumT", bound=Enum)


def described(word: str, description: str) -> str:
    """A member with its stored word and its description."""
    return strawberry.enum_value(word, description=description)  # type: ignore[no-any-return]


@strawberry.enum(description="How far a run of an app has come.")
class RunStatus(Enum):
    """Words of ai_run_logs.status."""

    PENDING = described("pending", "It waits to be sent.")
    RUNNING = described("running", "The app is working on it.")
    SUCCESS = described("success", "The app answered.")
    FAILED = described("failed", "The app answered with an error, or could not be called.")
    TIMEOUT = described("timeout", "The app did not answer in time.")
    CIRCUIT_OPEN = described("circuit_open", "The app was not called because it had failed too often.")
    UNKNOWN = described(
        "unknown", "Another service stored a word that this API does not know; see the text beside."
    )


@strawberry.enum(description="How far a job has come.")
class JobStatus(Enum):
    """Words of ai_trigger_jobs.status."""

    PENDING = described("pending", "It waits for a worker or a dispatcher.")
    RUNNING = described("running", "Its apps are being called.")
    SUCCESS = described("success", "Every app of its chain succeeded.")
    FAILED = described("failed", "An app of its chain failed.")
    SKIPPED_DUPLICATE = described("skipped_duplicate", "It repeated another job and was not run.")
    CANCELLED = described("cancelled", "Somebody stopped it.")
    UNKNOWN = described(
        "unknown", "Another service stored a word that this API does not know; see the text beside."
    )


@strawberry.enum(description="What an operator said of an alert.")
class AlertStatus(Enum):
    """Words of ai_run_logs.alert_status; NULL means pending."""

    PENDING = described("pending", "Nobody has looked at it yet.")
    ACKNOWLEDGED = described("acknowledged", "Somebody takes care of it.")
    IGNORED = described("ignored", "It needs no care.")
    UNKNOWN = described("unknown", "Another service stored a word that this API does not know.")


@strawberry.enum(description="Whether a cached answer may be used.")
class CacheStatus(Enum):
    """Words of ai_cache.status."""

    VALID = described("valid", "It may be used until it expires.")
    INVALIDATED = described("invalidated", "It must not be used any more.")
    UNKNOWN = described(
        "unknown", "Another service stored a word that this API does not know; see the text beside."
    )


@strawberry.enum(description="How far a batch has come.")
class BatchStatus(Enum):
    """Words of runglass.batches.status, and EXPIRED, which is worked out."""

    ESTIMATED = described("estimated", "Its cost is known and it waits to be confirmed.")
    CONFIRMED = described("confirmed", "It was confirmed; its jobs exist and wait.")
    RUNNING = described("running", "A worker has started its jobs.")
    COMPLETED = described("completed", "Every job succeeded.")
    COMPLETED_WITH_FAILURES = described(
        "completed_with_failures", "Every job has ended, and not every one succeeded."
    )
    CANCELLED = described("cancelled", "Somebody stopped it; jobs that had ended stay as they are.")
    EXPIRED = described("expired", "It was not confirmed in time.")
    UNKNOWN = described("unknown", "A newer version stored a word that this one does not know.")


def status_of(enum: type[EnumT], word: str) -> EnumT:
    """The enum's member for a stored word, or UNKNOWN."""
    member = enum._value2member_map_.get(word)
    return enum["UNKNOWN"] if member is None else member  # type: ignore[return-value]


def words(statuses: list[EnumT] | None) -> tuple[str, ...] | None:
    """The stored words of a filter, each once; None where there is no filter."""
    return None if statuses is None else tuple(dict.fromkeys(str(status.value) for status in statuses))
