"""Alerts: list them, and say what is done about them."""

from functools import partial
from typing import Annotated

import strawberry

from db.runs.alerts import AlertRow
from graph.context import Context, Info
from graph.operations.changes import BulkInput, KeyedInput, mutation
from graph.operations.lists import Listing, TypedId, filter_argument, list_field
from graph.types.alerts import Alert, AlertConnection, AlertFilter, alert_filter
from graph.types.bounds import FORMED, bound
from graph.types.bulk_results import ChangedAlerts
from graph.types.fields import resolved
from graph.types.ids import Kind, parse_id, parse_ids
from graph.types.pagination import EXACT_TOTAL
from graph.types.refusals import Conflict, InvalidInput, NotFound
from resolvers.runs import alerts as cases
from resolvers.selection import MAX_ITEMS


def _lists(context: Context, filter: AlertFilter | None) -> Listing:
    scope = context.scope.narrow(filter.site_id if filter else None)
    filters = alert_filter(filter, context)
    count = partial(cases.count_alerts, context.database, scope, filters)
    return Listing(
        partial(cases.list_alerts, context.database, scope, filters),
        count,
        partial(count, EXACT_TOTAL, dated=False),
    )


async def _alert(info: Info, id: TypedId) -> AlertRow | None:
    return await info.context.loaders.whole.alerts.load(parse_id(id, Kind.ALERT, "id"))


@strawberry.input(description="Which alert to change.")
class AlertInput(KeyedInput):
    """Input of ackAlert, ignoreAlert and reopenAlert."""

    alert_id: strawberry.ID = strawberry.field(
        metadata=FORMED, description="The id of the alert, such as alert_7."
    )


@strawberry.input(description="Which alerts to change: either alertIds or filter.")
class AlertsInput(BulkInput):
    """Input of ackAlerts, ignoreAlerts and reopenAlerts."""

    alert_ids: list[strawberry.ID] | None = strawberry.field(
        metadata=bound(items=MAX_ITEMS, is_told=False),
        default=None,
        description="The ids of the alerts. Duplicates count once.",
    )
    filter: AlertFilter | None = strawberry.field(
        default=None,
        description="Alerts that match and do not have the new status yet. Without alertStatus, only pending"
        " ones are acknowledged or ignored, and only acknowledged and ignored ones are reopened.",
    )


AlertResult = Annotated[
    Alert | NotFound | Conflict,
    strawberry.union("AlertResult", description="The changed alert, or why it was not changed."),
]


AlertsResult = Annotated[
    ChangedAlerts | InvalidInput | Conflict,
    strawberry.union("AlertsResult", description="What became of each alert, or why nothing was done."),
]


async def _ack_alert(context: Context, input: AlertInput) -> AlertRow:
    return await _set_alert_status(context, input, "acknowledged")


async def _ignore_alert(context: Context, input: AlertInput) -> AlertRow:
    return await _set_alert_status(context, input, "ignored")


async def _reopen_alert(context: Context, input: AlertInput) -> AlertRow:
    return await _set_alert_status(context, input, "pending")


async def _set_alert_status(context: Context, input: AlertInput, status: cases.AlertStatus) -> AlertRow:
    alert_id = parse_id(input.alert_id, Kind.ALERT, "alertId")
    return await cases.set_alert_status(context.database, context.caller, alert_id, status)


async def _ack_alerts(context: Context, input: AlertsInput) -> cases.ChangedAlerts:
    return await _set_alerts_status(context, input, "acknowledged")


async def _ignore_alerts(context: Context, input: AlertsInput) -> cases.ChangedAlerts:
    return await _set_alerts_status(context, input, "ignored")


async def _reopen_alerts(context: Context, input: AlertsInput) -> cases.ChangedAlerts:
    return await _set_alerts_status(context, input, "pending")


async def _set_alerts_status(
    context: Context, input: AlertsInput, status: cases.AlertStatus
) -> cases.ChangedAlerts:
    request = cases.AlertsRequest(
        ids=parse_ids(input.alert_ids, Kind.ALERT, "alertIds"),
        filters=None if input.filter is None else alert_filter(input.filter, context),
        site_id=input.filter.site_id if input.filter else None,
        limit=input.limit,
        is_dry_run=input.dry_run,
        reason=input.reason,
    )
    return await cases.set_alerts_status(context.database, context.caller, request, status)


@strawberry.type
class AlertQueries:
    """Root fields of `Query`."""

    alerts: AlertConnection = list_field(
        Kind.ALERT,
        _lists,
        "Runs that failed, timed out or met an open circuit.",
        narrowed_by=filter_argument(AlertFilter, "alerts"),
    )
    alert: Alert | None = resolved(
        _alert,
        "One alert; null where there is none of that id.",
    )


@strawberry.type
class AlertMutations:
    """Root fields of `Mutation`."""

    ack_alert = mutation(
        _ack_alert,
        AlertResult,
        "Say that somebody takes care of the alert.",
    )
    ignore_alert = mutation(
        _ignore_alert,
        AlertResult,
        "Say that the alert needs no care.",
    )
    reopen_alert = mutation(
        _reopen_alert,
        AlertResult,
        "Make the alert pending again.",
    )
    ack_alerts = mutation(
        _ack_alerts,
        AlertsResult,
        "Acknowledge many alerts in one transaction. One that cannot be is refused by itself and hinders no"
        " other.",
    )
    ignore_alerts = mutation(
        _ignore_alerts,
        AlertsResult,
        "Ignore many alerts in one transaction. One that cannot be is refused by itself and hinders no"
        " other.",
    )
    reopen_alerts = mutation(
        _reopen_alerts,
        AlertsResult,
        "Make many alerts pending again in one transaction. One that cannot be is refused by itself and"
        " hinders no other.",
    )
