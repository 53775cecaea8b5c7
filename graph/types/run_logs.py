"""RunLog: one call of an app."""

from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from db.jobs.trigger_jobs import TriggerJobRow
from db.runs.run_logs import EVERY_RUN, RunLogRow, RunTextRow
from db.runs.run_logs import RunLogFilter as Wanted
from graph.auth.permissions import ReadsTexts
from graph.context import Context, Info
from graph.errors import ApiError, ErrorCode
from graph.types.fields import numbered_id, resolved
from graph.types.ids import Kind
from graph.types.long_texts import CUT, TRUNCATED, WEIGHT, is_asked_by_id, long_text, truncated
from graph.types.node import Node
from graph.types.pagination import Connection
from graph.types.ranges import BigIntRange, IntRange, TimeRange, time_range
from graph.types.scalars import BigInt
from graph.types.statuses import AlertStatus, RunStatus, status_of, words
from resolvers.runs.alerts import ALERT_RUN_STATUSES
from resolvers.usage.model_prices import cost_of, prices_of_models

if TYPE_CHECKING:
    from graph.types.trigger_jobs import TriggerJob


def _status(root: strawberry.Parent[RunLogRow]) -> RunStatus:
    return status_of(RunStatus, root.status)


def _status_text(root: strawberry.Parent[RunLogRow]) -> str:
    return root.status


def _alert_status(root: strawberry.Parent[RunLogRow]) -> AlertStatus | None:
    if root.status not in ALERT_RUN_STATUSES:
        return None
    return status_of(AlertStatus, root.alert_status or "pending")


async def _texts(root: RunLogRow, info: Info) -> RunTextRow | None:
    loaders = info.context.loaders
    return await (loaders.whole if is_asked_by_id(info) else loaders).run_texts.load(root.id)


async def _request_prompt(root: strawberry.Parent[RunLogRow], info: Info) -> str | None:
    texts = await _texts(root, info)
    return texts.request_prompt if texts else None


async def _request_prompt_truncated(root: strawberry.Parent[RunLogRow], info: Info) -> bool | None:
    texts = await _texts(root, info)
    return texts.request_prompt_truncated if texts else None


async def _response_text(root: strawberry.Parent[RunLogRow], info: Info) -> str | None:
    texts = await _texts(root, info)
    return texts.response_text if texts else None


async def _response_text_truncated(root: strawberry.Parent[RunLogRow], info: Info) -> bool | None:
    texts = await _texts(root, info)
    return texts.response_text_truncated if texts else None


async def _trigger_job(root: strawberry.Parent[RunLogRow], info: Info) -> TriggerJobRow | None:
    if root.trigger_job_id is None:
        return None
    return await info.context.loaders.trigger_jobs.load(root.trigger_job_id)


# What they have used so far is no cost yet; the roll-ups count them in the same way.
_IN_FLIGHT = ("pending", "running")


async def _cost(root: strawberry.Parent[RunLogRow], info: Info) -> Decimal | None:
    if root.model is None or root.prompt_tokens is None or root.completion_tokens is None:
        return None
    if root.status in _IN_FLIGHT:
        return None
    load_many = partial(prices_of_models, info.context.database)
    prices = await info.context.loaders.of("prices_of_models", load_many).load(root.model)
    return cost_of(prices or [], root.created_at, root.prompt_tokens, root.completion_tokens)


@strawberry.type(description="One call of an app: what it took, what it cost and how it ended.")
class RunLog(Node):
    """Resolved from a `RunLogRow`."""

    id: strawberry.ID = numbered_id(Kind.RUN, "The typed id, such as run_7.")
    site_id: strawberry.ID = strawberry.field(
        description="The site (tenant, shop, customer) it was made for; empty where an adopted row has none."
    )
    app_type: str = strawberry.field(
        description="The app that was called; empty where an adopted row has none."
    )
    trigger_type: str | None = strawberry.field(description="What caused the call, such as event or manual.")
    member_id: strawberry.ID | None = strawberry.field(description="The member of the site it was made for.")
    session_id: strawberry.ID | None = strawberry.field(description="The conversation it belongs to.")
    model: str | None = strawberry.field(description="The model that answered.")
    tokens_used: BigInt = strawberry.field(
        description="Tokens charged for the call, prompt and completion together; 0 where none are known."
    )
    prompt_tokens: BigInt | None = strawberry.field(description="Tokens of the prompt, where known.")
    completion_tokens: BigInt | None = strawberry.field(description="Tokens of the completion, where known.")
    cached_tokens: BigInt | None = strawberry.field(
        description="Tokens of the prompt that the model's provider took from its cache, where known."
    )
    cost: Decimal | None = resolved(
        _cost,
        "What the call cost by its model's price at that time; null where the price, the prompt's or the"
        " completion's tokens are unknown, and while it is in flight.",
    )
    latency_ms: int | None = strawberry.field(
        description="Time to the whole answer in milliseconds; null where it is not known."
    )
    status: RunStatus = resolved(_status, "How far the run has come.")
    status_text: str = resolved(_status_text, "The status as it is stored.")
    error_message: str | None = long_text("What went wrong, where something did.")
    error_message_truncated: bool = truncated("errorMessage")
    alert_status: AlertStatus | None = resolved(
        _alert_status, "What was said of the alert; null for a run that raised none."
    )
    external_id: str | None = strawberry.field(description="The id under which another service reported it.")
    created_at: datetime = strawberry.field(description="When the call was made.")
    finished_at: datetime | None = strawberry.field(description="When it ended; null while it is in flight.")
    request_prompt: str | None = resolved(
        _request_prompt,
        permissions=[ReadsTexts],
        description=f"The prompt that was sent. Needs the permission to read texts. {CUT}",
        weight=WEIGHT,
    )
    request_prompt_truncated: bool | None = resolved(
        _request_prompt_truncated,
        permissions=[ReadsTexts],
        description=f"{TRUNCATED} Concerns requestPrompt, and needs the permission to read texts.",
    )
    response_text: str | None = resolved(
        _response_text,
        permissions=[ReadsTexts],
        description=f"The answer that came back. Needs the permission to read texts. {CUT}",
        weight=WEIGHT,
    )
    response_text_truncated: bool | None = resolved(
        _response_text_truncated,
        permissions=[ReadsTexts],
        description=f"{TRUNCATED} Concerns responseText, and needs the permission to read texts.",
    )
    trigger_job: Annotated["TriggerJob", strawberry.lazy("graph.types.trigger_jobs")] | None = resolved(
        _trigger_job, "The job that made the call, if one did."
    )

    @classmethod
    def is_type_of(cls, value: Any, _info: Any) -> bool:
        """Rows stand for the type."""
        return isinstance(value, RunLogRow)


@strawberry.type(description="A page of runs.")
class RunLogConnection(Connection[RunLog]):
    """A page of run logs."""


@strawberry.input(description="Conditions on runs. All that are given must hold.")
class RunLogFilter:
    """Conditions on run logs."""

    site_id: strawberry.ID | None = strawberry.field(default=None, description="Only runs of this site.")
    app_type: str | None = strawberry.field(default=None, description="Only runs of this app.")
    status: list[RunStatus] | None = strawberry.field(
        default=None, description="Only runs in one of these states."
    )
    trigger_type: str | None = strawberry.field(default=None, description="Only runs with this cause.")
    member_id: strawberry.ID | None = strawberry.field(default=None, description="Only runs for this member.")
    session_id: strawberry.ID | None = strawberry.field(
        default=None, description="Only runs of this conversation."
    )
    model: str | None = strawberry.field(default=None, description="Only runs that this model answered.")
    created_at: TimeRange | None = strawberry.field(
        default=None, description="Only runs made within this time."
    )
    latency_ms: IntRange | None = strawberry.field(
        default=None, description="Only runs that took this long, in milliseconds."
    )
    tokens_used: IntRange | None = strawberry.field(
        default=None, description="Only runs that are known to have used this many tokens."
    )
    tokens_used_big: BigIntRange | None = strawberry.field(
        default=None, description="As tokensUsed, of which one may be given, for counts beyond 32 bits."
    )
    error_contains: str | None = strawberry.field(
        default=None,
        description="Only runs whose error message contains this text, in any case of its letters, of any"
        " script."
        ' Letter by letter: "ß" finds "ẞ" and not "SS"; "i" finds "I", "İ" and "ı".',
    )


def run_filter(given: RunLogFilter | None, context: Context) -> Wanted:
    """The filter as the store takes it."""
    if given is None:
        return EVERY_RUN
    start, end = time_range(given.created_at, context)
    if None not in (given.tokens_used, given.tokens_used_big):
        message = "tokensUsed and tokensUsedBig say the same; give one of them."
        raise ApiError(ErrorCode.BAD_USER_INPUT, message, argument="tokensUsedBig")
    latency = given.latency_ms or IntRange()
    tokens = given.tokens_used or given.tokens_used_big or IntRange()
    return Wanted(
        app_type=given.app_type,
        statuses=words(given.status),
        trigger_type=given.trigger_type,
        member_id=given.member_id,
        session_id=given.session_id,
        model=given.model,
        created_from=start,
        created_to=end,
        latency_min=latency.min,
        latency_max=latency.max,
        tokens_min=tokens.min,
        tokens_max=tokens.max,
        error_contains=given.error_contains,
    )
