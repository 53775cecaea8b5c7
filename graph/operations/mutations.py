"""Every mutation of the API: one input object in, a union of the success and its refusals out.

The refusals are raised by the use-cases and turned into members of the union by `graph.types.refusals`.
"""

from datetime import datetime
from typing import Annotated, Any, get_type_hints

import strawberry

from db.jobs.batches import BatchRow
from db.runs.alerts import AlertRow
from graph.auth.permissions import Administers, Operates
from graph.context import Context, Info
from graph.operations.access_mutations import (
    CreateApiKeyResult,
    RevokeApiKeyResult,
    create_api_key,
    revoke_api_key,
)
from graph.operations.batch_mutations import CancelBatchResult, RetryBatchResult, cancel_batch, retry_batch
from graph.operations.budget_mutations import (
    BudgetOverride,
    RemoveBudgetResult,
    SetBudgetResult,
    reason_of,
    remove_budget,
    set_budget,
)
from graph.operations.idempotency import Change, KeyedInput, run_keyed
from graph.operations.job_mutations import (
    CancelJobResult,
    CancelJobsResult,
    FailJobsResult,
    RetryJobResult,
    RetryJobsResult,
    cancel_job,
    cancel_jobs,
    fail_jobs,
    retry_job,
    retry_jobs,
)
from graph.operations.price_mutations import (
    RemoveModelPriceResult,
    SetModelPriceResult,
    remove_model_price,
    set_model_price,
)
from graph.types.alerts import Alert
from graph.types.batches import Batch
from graph.types.bounds import FORMED, NAME, Text, bound
from graph.types.cache import CacheInvalidation
from graph.types.ids import Kind, parse_batch_id, parse_id, print_id
from graph.types.refusals import BudgetExceeded, Conflict, Expired, InvalidInput, NotFound
from graph.types.scalars import BigInt
from graph.types.statuses import RunStatus
from resolvers.budgets.spending import refusals_limited
from resolvers.errors import InvalidInput as InvalidInputError
from resolvers.jobs import batches as batch_cases
from resolvers.names import MAX_NAME
from resolvers.runs import alerts as alert_cases
from resolvers.runs import cache as cache_cases
from resolvers.runs import run_logs as run_log_cases
from resolvers.runs.run_bounds import TOKENS_TEXT
from resolvers.runs.run_logs import RunReport


@strawberry.input(description="Which alert to change.")
class AlertInput(KeyedInput):
    """Input of ackAlert, ignoreAlert and reopenAlert."""

    alert_id: strawberry.ID = strawberry.field(
        metadata=FORMED, description="The id of the alert, such as alert_7."
    )


@strawberry.input(description="Which cached answers no longer hold.")
class InvalidateCacheInput(KeyedInput):
    """Input of invalidateCache."""

    site_id: strawberry.ID = strawberry.field(metadata=NAME, description="The site whose entries are meant.")
    app_type: str | None = strawberry.field(default=None, description="Only answers of this app.")
    member_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only answers about this member."
    )
    dry_run: bool = strawberry.field(
        default=False, description="Only say how many there are; change nothing."
    )


@strawberry.input(description="The calls to estimate: each app for each member.")
class EstimateBatchInput(KeyedInput):
    """Input of estimateBatch."""

    site_id: strawberry.ID = strawberry.field(
        metadata=NAME, description="The site that the members belong to."
    )
    app_types: list[str] = strawberry.field(
        metadata=NAME, description="The apps to call. Duplicates count once."
    )
    member_ids: list[strawberry.ID] = strawberry.field(
        metadata=bound(text=MAX_NAME, items=batch_cases.MAX_CALLS),
        description="The members to call for. Duplicates count once; apps times members is at most 100,000.",
    )


@strawberry.input(description="Which batch to start.")
class ConfirmBatchInput(KeyedInput):
    """Input of confirmBatch."""

    batch_id: strawberry.ID = strawberry.field(metadata=FORMED, description="The id that estimateBatch gave.")
    override: BudgetOverride | None = strawberry.field(
        default=None, description="For admins: start it although it passes a hard limit of a budget."
    )


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
        metadata=bound(items=run_log_cases.MAX_RUNS), description="1 to 1,000 reports."
    )


@strawberry.type(description="What recordRuns did.")
class RecordedRuns:
    """The success of recordRuns."""

    run_ids: list[strawberry.ID] = strawberry.field(description="The runs' ids, in the order of the reports.")
    added: BigInt = strawberry.field(description="How many runs are new.")
    changed: BigInt = strawberry.field(description="How many runs were known and have been changed.")


AlertResult = Annotated[
    Alert | NotFound | Conflict,
    strawberry.union("AlertResult", description="The changed alert, or why it was not changed."),
]
InvalidateCacheResult = Annotated[
    CacheInvalidation | NotFound | InvalidInput | Conflict,
    strawberry.union("InvalidateCacheResult", description="What was invalidated, or why nothing was."),
]
EstimateBatchResult = Annotated[
    Batch | InvalidInput | NotFound | Conflict,
    strawberry.union("EstimateBatchResult", description="The estimate, or why there is none."),
]
ConfirmBatchResult = Annotated[
    Batch | NotFound | Conflict | Expired | BudgetExceeded,
    strawberry.union("ConfirmBatchResult", description="The started batch, or why it was not started."),
]
RecordRunsResult = Annotated[
    RecordedRuns | InvalidInput | NotFound | Conflict,
    strawberry.union("RecordRunsResult", description="What was recorded, or why nothing was."),
]


async def _ack_alert(context: Context, input: AlertInput) -> AlertRow:
    return await _set_alert_status(context, input, "acknowledged")


async def _ignore_alert(context: Context, input: AlertInput) -> AlertRow:
    return await _set_alert_status(context, input, "ignored")


async def _reopen_alert(context: Context, input: AlertInput) -> AlertRow:
    return await _set_alert_status(context, input, "pending")


async def _set_alert_status(context: Context, input: AlertInput, status: alert_cases.AlertStatus) -> AlertRow:
    alert_id = parse_id(input.alert_id, Kind.ALERT, "alertId")
    return await alert_cases.set_alert_status(context.database, context.caller, alert_id, status)


async def _invalidate_cache(context: Context, input: InvalidateCacheInput) -> CacheInvalidation:
    count = await cache_cases.invalidate_cache(
        context.database,
        context.caller,
        site_id=input.site_id,
        app_type=input.app_type,
        member_id=input.member_id,
        dry_run=input.dry_run,
    )
    return CacheInvalidation(site_id=input.site_id, count=BigInt(count), dry_run=input.dry_run)


async def _estimate_batch(context: Context, input: EstimateBatchInput) -> BatchRow:
    return await batch_cases.estimate_batch(
        context.database,
        context.caller,
        site_id=input.site_id,
        app_types=input.app_types,
        member_ids=input.member_ids,
        lifetime_seconds=context.settings.batch_lifetime,
    )


async def _confirm_batch(context: Context, input: ConfirmBatchInput) -> BatchRow:
    batch_id = parse_batch_id(input.batch_id, "batchId")
    override = reason_of(context, input.override)
    return await batch_cases.confirm_batch(context.database, context.caller, batch_id, override=override)


async def _record_runs(context: Context, input: RecordRunsInput) -> RecordedRuns:
    reports = [_report(index, run, context) for index, run in enumerate(input.runs)]
    ids, added = await run_log_cases.record_runs(context.database, context.caller, reports)
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


def _mutation(change: Change, graphql_type: Any, description: str, permission: Any = Operates) -> Any:
    async def resolve(info: Info, input: Any) -> Any:
        context = info.context
        if not hasattr(input, "override") or input.override is not None:
            return await run_keyed(context, info.field_name, change, input)
        limit = context.settings.refusal_rate
        async with refusals_limited(
            context.database, context.caller, amount=limit.amount, seconds=limit.get_expiry()
        ):
            return await run_keyed(context, info.field_name, change, input)

    input_type = get_type_hints(change)["input"]
    argument = strawberry.argument(description=input_type.__strawberry_definition__.description)
    resolve.__annotations__["input"] = Annotated[input_type, argument]
    return strawberry.mutation(
        resolver=resolve,
        graphql_type=graphql_type,
        permission_classes=[permission],
        description=description,
    )


@strawberry.type(description="Everything that can be changed. A refusal changes nothing.")
class Mutation:
    """The root of changes; each runs in one transaction, with its audit entry."""

    retry_job = _mutation(
        retry_job,
        RetryJobResult,
        "Add a new, forced job that repeats a finished one. Conflict while a retry of it waits or runs.",
    )
    retry_jobs = _mutation(
        retry_jobs,
        RetryJobsResult,
        "Run many jobs again in one transaction. One that cannot be is refused by itself and hinders no"
        " other; the budgets allow all of the rest or none.",
    )
    ack_alert = _mutation(_ack_alert, AlertResult, "Say that somebody takes care of the alert.")
    ignore_alert = _mutation(_ignore_alert, AlertResult, "Say that the alert needs no care.")
    reopen_alert = _mutation(_reopen_alert, AlertResult, "Make the alert pending again.")
    invalidate_cache = _mutation(
        _invalidate_cache, InvalidateCacheResult, "Mark a site's valid cached answers as no longer valid."
    )
    estimate_batch = _mutation(
        _estimate_batch,
        EstimateBatchResult,
        "Say what a batch of calls would cost. Nothing is called until it is confirmed.",
    )
    confirm_batch = _mutation(
        _confirm_batch,
        ConfirmBatchResult,
        "Start an estimated batch: exactly once, before it expires, one pending job per app and member.",
    )
    cancel_job = _mutation(
        cancel_job,
        CancelJobResult,
        "Stop a job: at once where it waits, before its next app where it runs on our workers.",
    )
    cancel_jobs = _mutation(
        cancel_jobs,
        CancelJobsResult,
        "Stop many jobs in one transaction. One that cannot be is refused by itself and hinders no other.",
    )
    fail_jobs = _mutation(
        fail_jobs,
        FailJobsResult,
        "End jobs as failed, whoever runs them: for what nobody else ends, such as the jobs of a dispatcher"
        " that is gone. Their calls without an answer fail with them, and nothing stays reserved for them.",
        Administers,
    )
    cancel_batch = _mutation(
        cancel_batch,
        CancelBatchResult,
        "Stop a batch: its waiting jobs are cancelled, its running ones stop before their next app.",
    )
    retry_batch = _mutation(
        retry_batch,
        RetryBatchResult,
        "Start a new batch of those jobs of an ended one that failed or were cancelled.",
    )
    record_runs = _mutation(
        _record_runs, RecordRunsResult, "Report runs of apps that this server did not call itself."
    )
    set_budget = _mutation(
        set_budget,
        SetBudgetResult,
        "Limit the tokens of a site, an app, both or all, a day or a month.",
        Administers,
    )
    remove_budget = _mutation(remove_budget, RemoveBudgetResult, "Limit them no more.", Administers)
    set_model_price = _mutation(
        set_model_price,
        SetModelPriceResult,
        "Say what a model costs from a time on. Costs of runs before now follow it too.",
        Administers,
    )
    remove_model_price = _mutation(
        remove_model_price,
        RemoveModelPriceResult,
        "Take back what a model costs, from runs of before now too.",
        Administers,
    )
    create_api_key = _mutation(
        create_api_key,
        CreateApiKeyResult,
        "Make a key, which is shown once. It can never do more than you.",
        Administers,
    )
    revoke_api_key = _mutation(
        revoke_api_key, RevokeApiKeyResult, "Make a key worthless from now on.", Administers
    )
