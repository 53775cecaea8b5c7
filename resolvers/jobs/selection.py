"""Many jobs at once: which ones are meant, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Self

from db.jobs import trigger_jobs as store
from db.jobs.trigger_jobs import TriggerJobFilter, TriggerJobRow
from db.postgres.pool import Connection
from db.sql.keyset import PageRequest
from db.sql.scope import Scope
from resolvers.access.callers import Caller, audit
from resolvers.errors import InvalidInput, Refusal

MAX_JOBS = 1000
DEFAULT_JOBS = 100
SAMPLE = 10
MAX_REASON = 500
_FAR = 2**31


@dataclass(frozen=True, slots=True)
class JobsRequest:
    """What is asked of jobs: of those with these ids, or of those of the filter, `limit` at most.

    `site_id` is a part of the filter. A dry run changes nothing.
    """

    ids: tuple[int, ...] | None
    filters: TriggerJobFilter | None
    site_id: str | None = None
    limit: int = DEFAULT_JOBS
    is_dry_run: bool = False
    reason: str = ""

    def checked(self) -> JobsRequest:
        """Without duplicate ids and outer blanks. Raises InvalidInput where it cannot be carried out."""
        if (self.ids is None) == (self.filters is None):
            raise InvalidInput("Give either jobIds or filter.", "jobIds")
        if self.ids == ():
            raise InvalidInput("jobIds must name at least one.", "jobIds")
        if not 1 <= self.limit <= MAX_JOBS:
            raise InvalidInput(f"limit must be 1 to {MAX_JOBS:,}.", "limit")
        reason = self.reason.strip()
        if not 1 <= len(reason) <= MAX_REASON or "\0" in reason:
            raise InvalidInput(f"reason must hold 1 to {MAX_REASON} characters.", "reason")
        ids = None if self.ids is None else tuple(dict.fromkeys(self.ids))
        return replace(self, ids=ids, reason=reason)

    def narrowed(self, statuses: Sequence[str], **conditions: Any) -> JobsRequest:
        """Of a filter only what is in one of these states, and fulfils these conditions as well."""
        if self.filters is None:
            return self
        asked = self.filters.statuses
        kept = tuple(status for status in statuses if asked is None or status in asked)
        return replace(self, filters=replace(self.filters, statuses=kept, **conditions))

    def described(self) -> dict[str, Any]:
        """The reason, and the filter where there is one, for the audit log."""
        if self.filters is None:
            return {"reason": self.reason}
        filters = self.filters
        conditions = {
            "siteId": self.site_id,
            "eventType": filters.event_type,
            "status": filters.statuses,
            "memberId": filters.member_id,
            "isForced": filters.is_forced,
            "createdFrom": filters.created_from and filters.created_from.isoformat(),
            "createdTo": filters.created_to and filters.created_to.isoformat(),
        }
        present = {name: value for name, value in conditions.items() if value is not None}
        return {"reason": self.reason, "filter": present}


class Chosen(NamedTuple):
    """The ids of jobs, in the order asked or else oldest first, and how many there are in all.

    Where these are more than the limit, which only a dry run may ask for, `ids` are but a sample.
    """

    ids: list[int]
    matched: int

    @property
    def is_whole(self) -> bool:
        """Whether none is left out."""
        return len(self.ids) == self.matched


async def choose(connection: Connection, scope: Scope, request: JobsRequest) -> Chosen:
    """The jobs that are meant. Raises InvalidInput where they are more than the limit, but for a dry run."""
    if request.filters is None:
        ids = list(request.ids or ())
        matched = len(ids)
    else:
        scope = scope.narrow(request.site_id)
        oldest = PageRequest(limit=request.limit, newest_first=False)
        page = await store.list_trigger_jobs(connection, scope=scope, filters=request.filters, page=oldest)
        ids = [row.id for row in page.rows]
        matched = len(ids)
        if page.has_next:
            matched = await store.count_trigger_jobs(
                connection, scope=scope, filters=request.filters, limit=_FAR
            )
    if matched <= request.limit:
        return Chosen(ids, matched)
    if request.is_dry_run:
        return Chosen(ids[:SAMPLE], matched)
    raise InvalidInput(
        f"These are {matched:,} jobs, more than the limit of {request.limit:,}. Nothing was changed; ask for"
        f" fewer, or raise limit, which may be {MAX_JOBS:,} at most.",
        "limit",
    )


class JobOutcome(NamedTuple):
    """What became of a job: the id of the job that was made or stopped, or the code and message of a refusal.

    In a dry run there is neither for what would be done.
    """

    job_id: int
    result_id: int | None = None
    code: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of many jobs. Of the `matched` ones `count` were changed, or would be.

    `outcomes` are in the order asked, or oldest first; none where a dry run is above the limit. `sample` are
    the ids of the first of them.
    """

    is_dry_run: bool
    matched: int
    count: int
    outcomes: list[JobOutcome]
    sample: list[int]

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Self:
        """The same again from what `dataclasses.asdict` gave, after it has been JSON."""
        outcomes = [JobOutcome(*each) for each in value["outcomes"]]
        fields: dict[str, Any] = {**value, "outcomes": outcomes}
        return cls(**fields)


def outcomes_of(
    chosen: Chosen, refused: Mapping[int, Refusal], done: Mapping[int, int | None]
) -> list[JobOutcome]:
    """What became of each job that was chosen. `done` has the id of what came of those not refused."""
    return [
        JobOutcome(job_id, code=refusal.code, message=refusal.message)
        if (refusal := refused.get(job_id))
        else JobOutcome(job_id, done.get(job_id))
        for job_id in chosen.ids
    ]


async def audit_jobs(
    transaction: Connection,
    caller: Caller,
    action: str,
    request: JobsRequest,
    changed: Sequence[TriggerJobRow],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write down what was changed, for each site apart, so that its admins see their entry and no other's."""
    by_site: dict[str, list[int]] = {}
    for job in changed:
        by_site.setdefault(job.site_id, []).append(job.id)
    for site_id, ids in by_site.items():
        after = {**request.described(), "count": len(ids), "jobs": ids, **(more or {})}
        await audit(transaction, caller, action, ("site", site_id), site_id=site_id, after=after)
