"""Run logs: list them, and take the reports of other services."""

from datetime import datetime
from functools import partial
from typing import Annotated, Any

import strawberry

from db.runs.run_logs import RunLogRow
from graph.context import Context, Info
from graph.operations.changes import KeyedInput, mutation
from graph.operations.lists import Listing, TypedId, filter_argument, list_field
from graph.types.bounds import NAME, Text, bound
from graph.types.fields import resolved
from graph.types.ids import Kind, parse_id, print_id
from graph.types.pagination import EXACT_TOTAL
from graph.types.refusals import Conflict, InvalidInput, NotFound
from graph.types.run_logs import RunLog, RunLogConnection, RunLogFilter, run_filter
from graph.types.scalars import BigInt
from graph.types.statuses import RunStatus
from resolvers.errors import InvalidInput as InvalidInputError
from resolvers.runs import run_logs as cases
from resolvers.runs.run_bounds import TOKENS_TEXT
from resolvers.runs.run_logs import RunReport


def _lists(context: Context, filter: RunLogFilter | None) -> Listing:
    scope = context.scope.narrow(filter.site_id if filter else None)
    filters = run_filter(filter, context)
    count = partial(cases.count_run_logs, context.database, scope, filters)
    return Listing(
        partial(cases.list_run_logs, context.database, scope, filters),
        count,
        partial(count, EXACT_TOTAL, dated=False),
    )


async def _run_log(info: Info, id: TypedId) -> RunLogRow | None:
    return await info.context.loaders.whole.run_logs.load(parse_id(id, Kind.RUN, "id"))


@strawberry.input(
    description="What a service says of one run. What is left out keeps its value, or stays unknown. States"
    " go from PENDING to RUNNING to finished (SUCCESS, FAILED, TIMEOUT, CIRCUIT_OPEN): a report of an earlier"
    " state than the run's came late, and only adds what is missing. Null is as if left out, but for"
    " errorMessage."
)
class RunReportInput:
    """One report of recordRuns."""

    site_id: strawberry.ID = strawberry.field(
        metadata=NAME, description="The site (tenant, shop, customer) of the run."
    )
    app_type: str = strawberry.field(metadata=NAME, description="The app that was called.")
    status: RunStatus = strawberry.field(description="How far the run has come. UNKNOWN cannot be reported.")
    external_id: str | None = strawberry.field(
        metadata=NAME,
        default=None,
        description="Your own id of the run. The same id of the same site again changes that run.",
    )
    trigger_type: str | None = strawberry.field(
        metadata=NAME, default=None, description="What caused the call."
    )
    member_id: strawberry.ID | None = strawberry.field(
        metadata=NAME, default=None, description="The member it was made for."
    )
    session_id: strawberry.ID | None = strawberry.field(
        metadata=NAME, default=None, description="The conversation it belongs to."
    )
    model: str | None = strawberry.field(metadata=NAME, default=None, description="The model that answered.")
    request_prompt: str | None = strawberry.field(
        metadata=bound(text=Text.REPORT), default=None, description="The prompt that was sent."
    )
    response_text: str | None = strawberry.field(
        metadata=bound(text=Text.REPORT), default=None, description="The answer that came back."
    )
    tokens_used: int | None = strawberry.field(
        default=None,
        description="Tokens charged; without it, the sum of prompt and completion tokens, or unknown.",
    )
    tokens_used_big: BigInt | None = strawberry.field(
        default=None, description=f"As tokensUsed, of which one may be given: {TOKENS_TEXT}."
    )
    prompt_tokens: int | None = strawberry.field(default=None, description="Tokens of the prompt.")
    prompt_tokens_big: BigInt | None = strawberry.field(
        default=None, description="As promptTokens, of which one may be given."
    )
    completion_tokens: int | None = strawberry.field(default=None, description="Tokens of the completion.")
    completion_tokens_big: BigInt | None = strawberry.field(
        default=None, description="As completionTokens, of which one may be given."
    )
    cached_tokens: BigInt | None = strawberry.field(
        default=None, description="Tokens of the prompt that the model's provider took from its cache."
    )
    latency_ms: int | None = strawberry.field(
        default=None, description="Time to the whole answer in milliseconds."
    )
    error_message: str | None = strawberry.field(
        metadata=bound(text=Text.REPORT),
        default=strawberry.UNSET,
        description="What went wrong. Null takes back what a report has said before; left out, it stays.",
    )
    created_at: datetime | None = strawberry.field(
        default=None,
        description="When the call was made; not later than in a day. Without it: finishedAt less latencyMs,"
        " or now. Without an offset: in the configured zone. Of a run that is known it corrects the time.",
    )
    finished_at: datetime | None = strawberry.field(
        default=None, description="When it ended; not before createdAt."
    )


@strawberry.input(description="Runs to record: all of them, or none.")
class RecordRunsInput(KeyedInput):
    """Input of recordRuns."""

    runs: list[RunReportInput] = strawberry.field(
        metadata=bound(items=cases.MAX_RUNS), description="1 to 1,000 reports."
    )


@strawberry.type(description="What recordRuns did.")
class RecordedRuns:
    """The success of recordRuns."""

    run_ids: list[strawberry.ID] = strawberry.field(description="The runs' ids, in the order of the reports.")
    added: BigInt = strawberry.field(description="How many runs are new.")
    changed: BigInt = strawberry.field(description="How many runs were known and have been changed.")


RecordRunsResult = Annotated[
    RecordedRuns | InvalidInput | NotFound | Conflict,
    strawberry.union("RecordRunsResult", description="What was recorded, or why nothing was."),
]


async def _record_runs(context: Context, input: RecordRunsInput) -> RecordedRuns:
    reports = [_report(index, run, context) for index, run in enumerate(input.runs)]
    ids, added = await cases.record_runs(context.database, context.caller, reports)
    return RecordedRuns(
        run_ids=[strawberry.ID(print_id(Kind.RUN, run_id)) for run_id in ids],
        added=BigInt(added),
        changed=BigInt(len(ids) - added),
    )


def _report(index: int, run: RunReportInput, context: Context) -> RunReport:
    if run.status is RunStatus.UNKNOWN:
        raise InvalidInputError(f"runs[{index}].status cannot be UNKNOWN.", "status")
    zone = context.zone()
    values: dict[str, Any] = {**vars(run), "status": run.status.value}
    for column, field in (
        ("tokens_used", "tokensUsed"),
        ("prompt_tokens", "promptTokens"),
        ("completion_tokens", "completionTokens"),
    ):
        big = values.pop(f"{column}_big")
        if None not in (big, values[column]):
            message = f"runs[{index}]: {field} and {field}Big say the same; give one of them."
            raise InvalidInputError(message, f"{field}Big")
        values[column] = values[column] if big is None else big
    for name in ("created_at", "finished_at"):
        value: datetime | None = values[name]
        values[name] = value if value is None or value.tzinfo else value.replace(tzinfo=zone)
    values["clears_error"] = values["error_message"] is None
    if values["error_message"] is strawberry.UNSET:
        values["error_message"] = None
    return RunReport(**values)


@strawberry.type
class RunLogQueries:
    """Root fields of `Query`."""

    run_logs: RunLogConnection = list_field(
        Kind.RUN, _lists, "Calls of apps.", narrowed_by=filter_argument(RunLogFilter, "runs")
    )
    run_log: RunLog | None = resolved(
        _run_log,
        "One call; null where there is none of that id.",
    )


@strawberry.type
class RunLogMutations:
    """Root fields of `Mutation`."""

    record_runs = mutation(
        _record_runs,
        RecordRunsResult,
        "Report runs of apps that this server did not call itself.",
    )
