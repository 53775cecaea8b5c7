"""Which jobs are meant where many are to be changed at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from db.jobs import trigger_jobs as store
from db.jobs.trigger_jobs import TriggerJobFilter
from db.postgres.pool import Connection
from db.sql.scope import Scope
from resolvers.selection import BulkRequest, Chosen, choose


@dataclass(frozen=True, slots=True)
class JobsRequest(BulkRequest[TriggerJobFilter]):
    """What is asked of many jobs."""

    noun = "job"

    def narrowed(self, statuses: Sequence[str], **conditions: Any) -> JobsRequest:
        """Of a filter only what is in one of these states, and fulfils these conditions as well."""
        if self.filters is None:
            return self
        asked = self.filters.statuses
        kept = tuple(status for status in statuses if asked is None or status in asked)
        return replace(self, filters=replace(self.filters, statuses=kept, **conditions))

    def conditions(self, filters: TriggerJobFilter) -> dict[str, Any]:
        """What the filter asks for."""
        return {
            "eventType": filters.event_type,
            "status": filters.statuses,
            "memberId": filters.member_id,
            "isForced": filters.is_forced,
            "createdFrom": filters.created_from and filters.created_from.isoformat(),
            "createdTo": filters.created_to and filters.created_to.isoformat(),
        }


async def choose_jobs(connection: Connection, scope: Scope, request: JobsRequest) -> Chosen:
    """The jobs that are meant, as `choose` says."""
    return await choose(connection, scope, request, store.list_trigger_jobs, store.count_trigger_jobs)
