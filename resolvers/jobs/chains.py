"""A job's chain of apps: how its calls are named, and from which app a retry may go on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from db.jobs.trigger_jobs import TriggerJobRow
from db.postgres.pool import Connection
from db.sql.scope import Scope
from db.worker import work as store
from db.worker.installation import get_installation
from db.worker.work import CallRow
from resolvers.errors import Conflict

RetryFrom = Literal["start", "failed_app"]

# As runglass.chain_apps separates them.
_SEPARATOR = re.compile(r"\s*(?:,|->|→|>|;|\|)\s*")


@dataclass(frozen=True, slots=True)
class ChainStart:
    """Where a job begins: the place in its chain, from 0, and the run whose answer is that app's input."""

    position: int = 0
    input_run_id: int | None = None


def apps_of(job: TriggerJobRow) -> list[str]:
    """The apps of the job's chain, in order, also where an adopted table stores the chain as text."""
    chain = job.app_chain or []
    apps = _SEPARATOR.split(chain) if isinstance(chain, str) else chain
    return [app.strip() for app in apps if app.strip()]


def call_key(installation: UUID, job_id: int, position: int) -> str:
    """The idempotency key of a job's call, which its run has as its external id.

    `position` counts the apps that the job itself calls, from 0.
    """
    return f"{installation.hex[:12]}-job_{job_id}-{position}"


async def find_starts(
    connection: Connection, scope: Scope, jobs: Sequence[TriggerJobRow], origin: RetryFrom
) -> dict[int, ChainStart | Conflict]:
    """Where a retry of each finished job begins, or why it cannot begin there."""
    if origin == "start":
        return {job.id: ChainStart() for job in jobs}
    installation = (await get_installation(connection)).id
    keys = {
        job.id: [call_key(installation, job.id, position) for position in range(_called_apps(job))]
        for job in jobs
    }
    calls = await store.list_calls(
        connection,
        scope=scope,
        job_ids=list(keys),
        external_ids=[key for each in keys.values() for key in each],
    )
    by_key = {call.external_id: call for call in calls}
    return {job.id: _failed_start(job, keys[job.id], by_key) for job in jobs}


def _failed_start(
    job: TriggerJobRow, keys: Sequence[str], calls: Mapping[str, CallRow]
) -> ChainStart | Conflict:
    """Begin with the first app that has not succeeded, which is known of jobs that our workers ran."""
    answered: list[CallRow] = []
    for key in keys:
        if key not in calls or calls[key].status != "success":
            break
        answered.append(calls[key])
    if job.status == "success" or (keys and len(answered) == len(keys)):
        return Conflict("Every app of this job has succeeded; retry it from START.")
    if answered:
        return ChainStart(job.chain_start + len(answered), answered[-1].run_id)
    if job.chain_start == 0 and not any(key in calls for key in keys):
        return Conflict("It is not known which app of this job failed; retry it from START.")
    return ChainStart(job.chain_start, job.input_run_id)


def _called_apps(job: TriggerJobRow) -> int:
    return max(0, len(apps_of(job)) - job.chain_start)
