"""The queries of admins: keys and the audit log."""

from typing import Annotated

import strawberry

from graph.context import Info
from graph.types.audit_log import AuditLogFilter, wanted_entries
from graph.types.ids import Kind
from graph.types.pagination import After, Before, ConnectionPage, First, Last, page_request
from resolvers.access import api_keys as key_cases
from resolvers.access import audit_log as audit_cases


async def resolve_api_keys(
    info: Info, first: First = None, after: After = None, last: Last = None, before: Before = None
) -> ConnectionPage:
    """The keys whose sites the caller may all see."""
    database, scope = info.context.database, info.context.scope
    request = page_request(Kind.KEY, first=first, after=after, last=last, before=before)
    page = await key_cases.list_api_keys(database, scope, request)
    return ConnectionPage(page, lambda most: key_cases.count_api_keys(database, scope, most))


async def resolve_audit_log(
    info: Info,
    filter: Annotated[
        AuditLogFilter | None, strawberry.argument(description="Only entries that match.")
    ] = None,
    first: First = None,
    after: After = None,
    last: Last = None,
    before: Before = None,
) -> ConnectionPage:
    """The changes of the sites that the caller may see."""
    database, scope = info.context.database, info.context.scope.narrow(filter.site_id if filter else None)
    wanted = wanted_entries(filter, info)
    request = page_request(Kind.AUDIT, first=first, after=after, last=last, before=before)
    page = await audit_cases.list_audit_log(database, scope, wanted, request)
    return ConnectionPage(page, lambda most: audit_cases.count_audit_log(database, scope, wanted, most))
