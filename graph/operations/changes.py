"""Mutations: how one is declared, and how `idempotencyKey` makes a request that comes twice happen once."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from typing import Annotated, Any, get_type_hints
from uuid import UUID

import strawberry

from db.access.api_keys import ApiKeyRow
from db.budgets.budgets import BudgetRow
from db.jobs.batches import BatchRow
from db.jobs.trigger_jobs import TriggerJobRow
from db.loaders import Loader, Loaders
from db.runs.alerts import AlertRow
from db.usage.model_prices import ModelPriceRow
from graph.auth.permissions import Operates
from graph.context import Context, Info
from graph.errors import ApiError, ErrorCode
from graph.types.api_keys import CreatedApiKey
from graph.types.bounds import bound
from graph.types.ids import Kind
from resolvers.access.idempotency import MAX_KEY, KeyedRequest, once
from resolvers.budgets.spending import refusals_limited
from resolvers.errors import Conflict, NotFound
from resolvers.selection import DEFAULT_ITEMS, MAX_ITEMS, MAX_REASON, BulkResult

# A mutation's resolver: annotated with the class of its input and, as its return, the class of what it gives.
Change = Callable[[Context, Any], Awaitable[Any]]


@strawberry.input(description="What the inputs of all mutations have in common.")
class KeyedInput:
    """The base of every mutation's input."""

    idempotency_key: str | None = strawberry.field(
        metadata=bound(text=MAX_KEY),
        default=None,
        description=f"Any text of yours, 1 to {MAX_KEY} characters, that names this request. The same request"
        " under the same key again changes nothing and gets the first one's result, for 24 hours unless"
        " configured otherwise; another request under it is a Conflict. A refused request leaves no key.",
    )


@strawberry.input(description="What the inputs of mutations of many objects have in common.")
class BulkInput(KeyedInput):
    """The base of the input of a mutation that changes many at once."""

    limit: int = strawberry.field(
        default=DEFAULT_ITEMS,
        description=f"The most that may be meant, 1 to {MAX_ITEMS}. Of more, none is changed.",
    )
    dry_run: bool = strawberry.field(
        default=False, description="Only say how many there are and what would be done; change nothing."
    )
    reason: str = strawberry.field(
        metadata=bound(text=MAX_REASON),
        description=f"Why, 1 to {MAX_REASON} characters; it is written to the audit log.",
    )


# Rows are kept by id and loaded again within the caller's scope; other results are kept as they are.
_LOADERS: dict[type, tuple[Kind, Callable[[Loaders], Loader[Any, Any]]]] = {
    TriggerJobRow: (Kind.JOB, lambda loaders: loaders.trigger_jobs),
    AlertRow: (Kind.ALERT, lambda loaders: loaders.alerts),
    BatchRow: (Kind.BATCH, lambda loaders: loaders.batches),
    ApiKeyRow: (Kind.KEY, lambda loaders: loaders.api_keys),
    ModelPriceRow: (Kind.PRICE, lambda loaders: loaders.model_prices),
    BudgetRow: (Kind.BUDGET, lambda loaders: loaders.budgets),
}
# Results that hold a secret are kept nowhere.
_SHOWN_ONCE = (CreatedApiKey,)


class _Deferred:
    """Remembers that something is to be done once the transaction is committed."""

    def __init__(self) -> None:
        self.is_noted = False

    def note(self) -> None:
        self.is_noted = True


async def run_keyed(context: Context, mutation: str, change: Change, given: KeyedInput) -> Any:
    """Make the change, or give the result of the first request under the input's key, if it has one."""
    if given.idempotency_key is None:
        return await change(context, given)
    request = KeyedRequest(_checked(given.idempotency_key), mutation, _hash(given))
    lifetime = context.settings.idempotency_lifetime
    access, result = _Deferred(), None
    async with once(context.database, context.caller, request, lifetime_seconds=lifetime) as attempt:
        if attempt.first_result is None:
            inner = replace(context, database=attempt.database, access_changed=access.note)
            result = await change(inner, given)
            attempt.result = _kept(result)
    if access.is_noted:
        context.access_changed()
    # Only now, because loading takes a connection, and many who wait for one request hold one each.
    if attempt.first_result is not None:
        return await _given_again(context, get_type_hints(change)["return"], attempt.first_result)
    return result


def _checked(key: str) -> str:
    if 1 <= len(key) <= MAX_KEY and key.isprintable():
        return key
    message = f"idempotencyKey must hold 1 to {MAX_KEY} printable characters."
    raise ApiError(ErrorCode.BAD_USER_INPUT, message, argument="idempotencyKey")


def _hash(given: KeyedInput) -> bytes:
    values = {name: value for name, value in asdict(given).items() if name != "idempotency_key"}
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=_text).encode()).digest()


def _text(value: object) -> str:
    # As a text it is empty, which a value may be.
    return "left out" if value is strawberry.UNSET else str(value)


def _kept(result: Any) -> dict[str, Any]:
    if type(result) in _LOADERS:
        number = result.id
        return {"id": number.hex if isinstance(number, UUID) else number}
    return {} if isinstance(result, _SHOWN_ONCE) else {"value": asdict(result)}


async def _given_again(context: Context, success: type, kept: dict[str, Any]) -> Any:
    if issubclass(success, _SHOWN_ONCE):
        raise Conflict("This was done under the same idempotencyKey; its result was shown once.")
    if issubclass(success, BulkResult):
        return success.of_json(kept["value"])
    if success not in _LOADERS:
        return success(**kept["value"])
    kind, loader = _LOADERS[success]
    found = await loader(context.loaders).load(UUID(kept["id"]) if kind is Kind.BATCH else kept["id"])
    if found is None:
        raise NotFound("What the first request gave is no longer there.")
    return found


def mutation(change: Change, graphql_type: Any, description: str, permission: Any = Operates) -> Any:
    """A field of `Mutation`: `change` does it, with its input; its class is the type of the argument."""

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
