"""Alert: a run that failed, timed out or met an open circuit."""

from datetime import datetime
from typing import Any

import strawberry

from db.runs.alerts import AlertFilter as Wanted
from db.runs.alerts import AlertRow
from db.runs.run_logs import RunLogRow
from graph.context import Context, Info
from graph.types.fields import numbered_id, resolved
from graph.types.ids import Kind
from graph.types.long_texts import long_text, truncated
from graph.types.node import Node
from graph.types.pagination import Connection
from graph.types.ranges import TimeRange, time_range
from graph.types.run_logs import RunLog
from graph.types.statuses import AlertStatus, RunStatus, status_of, words


def _run_status(root: strawberry.Parent[AlertRow]) -> RunStatus:
    return status_of(RunStatus, root.status)


def _alert_status(root: strawberry.Parent[AlertRow]) -> AlertStatus:
    return status_of(AlertStatus, root.alert_status)


async def _run_log(root: strawberry.Parent[AlertRow], info: Info) -> RunLogRow | None:
    return await info.context.loaders.run_logs.load(root.id)


@strawberry.type(description="A run that failed, timed out or met an open circuit, and what was said of it.")
class Alert(Node):
    """Resolved from an `AlertRow`."""

    id: strawberry.ID = numbered_id(
        Kind.ALERT, "The typed id, such as alert_7; its number is that of the run."
    )
    site_id: strawberry.ID = strawberry.field(
        description="The site (tenant, shop, customer) of the run; empty where an adopted row has none."
    )
    app_type: str = strawberry.field(
        description="The app that was called; empty where an adopted row has none."
    )
    trigger_type: str | None = strawberry.field(description="What caused the call.")
    member_id: strawberry.ID | None = strawberry.field(description="The member the call was made for.")
    run_status: RunStatus = resolved(_run_status, "How the run ended.")
    error_message: str | None = long_text("What went wrong.")
    error_message_truncated: bool = truncated("errorMessage")
    alert_status: AlertStatus = resolved(_alert_status, "What was said of the alert.")
    alert_changed_by: str | None = strawberry.field(
        description="Who acknowledged, ignored or reopened it last."
    )
    alert_changed_at: datetime | None = strawberry.field(description="When that was.")
    created_at: datetime = strawberry.field(description="When the call was made.")
    run_log: RunLog | None = resolved(_run_log, "The run itself.")

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, AlertRow)


@strawberry.type(description="A page of alerts.")
class AlertConnection(Connection[Alert]):
    """A page of alerts."""


@strawberry.input(description="Conditions on alerts. All that are given must hold.")
class AlertFilter:
    """Conditions on alerts."""

    site_id: strawberry.ID | None = strawberry.field(default=None, description="Only alerts of this site.")
    app_type: str | None = strawberry.field(default=None, description="Only alerts of this app.")
    alert_status: list[AlertStatus] | None = strawberry.field(
        default=None, description="Only alerts of which this was said."
    )
    created_at: TimeRange | None = strawberry.field(
        default=None, description="Only alerts of calls made within this time."
    )


def alert_filter(given: AlertFilter | None, context: Context) -> Wanted:
    """The filter as the store takes it."""
    if given is None:
        return Wanted()
    start, end = time_range(given.created_at, context)
    return Wanted(
        alert_statuses=words(given.alert_status), app_type=given.app_type, created_from=start, created_to=end
    )
