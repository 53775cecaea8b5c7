"""Requests that try every field, argument, id, cursor, filter and mutation of the built schema.

The walk knows the schema; what it cannot know is which values are worth trying. `VALUES` and `CURSORS` say
so, and what they do not name is reported by `gaps`, on which a test fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLUnionType,
    Undefined,
    get_named_type,
    is_list_type,
)

from graph.schema import schema
from graph.types.pagination import cursor_at
from tests.api.isolation.world import BATCHES, ENDED, STARTED, at, mark

SCHEMA = schema._schema
OURS, THEIRS = f"batch_{BATCHES['berlin'].hex}", f"batch_{BATCHES['tokyo'].hex}"

SITES = ['"berlin"', '"tokyo"', '"nowhere"', '""', '"%"', "\"berlin' OR 'a'='a\""]
APPS = ['"chat"', f'"{mark("tokyo")}"', f'"{mark("berlin")}"']
MEMBERS = ['"m1"', '"m2"']
MARKS = [f'"{mark("berlin")}"', f'"{mark("tokyo")}"']
TIMES = [f'"{at(60).isoformat()}"', f'"{at(3).isoformat()}"']
ZONES = ['"UTC"', '"Asia/Kolkata"']
COUNTS = ["1", "0", "1010"]
TEXT = ['"x"', f'"{mark("tokyo")}"']


def ids(kind: str, *numbers: int) -> list[str]:
    """Ids of that kind: ours, theirs, and one that does not exist."""
    return [f'"{kind}_{number}"' for number in numbers or (1, 1001, 9999)]


KEYED = [name for name, kind in SCHEMA.type_map.items() if "idempotencyKey" in getattr(kind, "fields", {})]
VALUES: dict[str, list[str]] = {
    "Query.dashboard.siteId": SITES,
    "Query.dashboard.timeZone": ZONES,
    "Query.budget.siteId": SITES,
    "Query.budget.timeZone": ZONES,
    "Query.runLog.id": ids("run", 1, 2, 1001, 1002, 9999),
    "Query.triggerJob.id": ids("job", 1, 2, 3, 1001, 1002, 1003, 9999),
    "Query.alert.id": ids("alert", 2, 1002, 1, 1001, 9999),
    "Query.batch.id": [f'"{OURS}"', f'"{THEIRS}"', '"batch_' + "0" * 32 + '"'],
    "Query.node.id": [
        *ids("run"),
        *ids("job"),
        *ids("alert", 2, 1002, 9999),
        *ids("cache"),
        *ids("key", 500, 1500, 1501),
        *ids("audit"),
        *ids("budget", 1, 1001, 3001, 9999),
        *ids("budgetevent", 1, 1001, 3001, 9999),
        *ids("price", 3001, 3002, 9999),
        f'"{OURS}"',
        f'"{THEIRS}"',
    ],
    "Query.budgets.siteId": SITES,
    "Query.budgetEvents.siteId": SITES,
    "Query.budgetLimit.id": ids("budget", 1, 1001, 3001, 9999),
    "Query.modelPrices.model": MARKS,
    "Dashboard.trend.days": ["1", "30"],
    "Dashboard.appDistribution.days": ["1", "30"],
    "RunLogFilter.siteId": SITES,
    "RunLogFilter.appType": APPS,
    "RunLogFilter.triggerType": MARKS,
    "RunLogFilter.memberId": MEMBERS,
    "RunLogFilter.sessionId": MARKS,
    "RunLogFilter.model": MARKS,
    "RunLogFilter.errorContains": ['"secret"', *MARKS],
    "TriggerJobFilter.siteId": SITES,
    "TriggerJobFilter.eventType": MARKS,
    "TriggerJobFilter.memberId": MEMBERS,
    "TriggerJobFilter.isForced": ["true", "false"],
    "BatchFilter.siteId": SITES,
    "BatchFilter.createdBy": MARKS,
    "AlertFilter.siteId": SITES,
    "AlertFilter.appType": APPS,
    "CacheEntryFilter.siteId": SITES,
    "CacheEntryFilter.appType": APPS,
    "CacheEntryFilter.memberId": MEMBERS,
    "AuditLogFilter.siteId": SITES,
    "AuditLogFilter.actor": MARKS,
    "AuditLogFilter.actorId": MARKS,
    "AuditLogFilter.action": ['"retryJob"', '"signIn"'],
    "AuditLogFilter.targetId": [*ids("job"), *ids("alert"), *ids("key", 500, 1500), f'"{THEIRS}"'],
    "IntRange.min": COUNTS,
    "IntRange.max": COUNTS,
    "BigIntRange.min": COUNTS,
    "BigIntRange.max": COUNTS,
    "TimeRange.from": TIMES,
    "TimeRange.to": TIMES,
    "RetryJobInput.jobId": ids("job", 1, 1001, 1002, 1003, 1004, 2, 3, 9999),
    "RetryJobsInput.jobIds": ['["job_2", "job_1001"]', '["job_1", "job_1002", "job_9999", "job_1004"]'],
    "RetryJobsInput.limit": ["1", "1000"],
    "RetryJobsInput.dryRun": ["true"],
    "RetryJobsInput.reason": TEXT,
    "CancelJobsInput.jobIds": ['["job_7", "job_1007"]', '["job_2", "job_1", "job_1002", "job_9999"]'],
    "CancelJobsInput.limit": ["1", "1000"],
    "CancelJobsInput.dryRun": ["true"],
    "CancelJobsInput.reason": TEXT,
    "FailJobsInput.jobIds": ['["job_7", "job_1007"]', '["job_2", "job_1", "job_1002", "job_9999"]'],
    "FailJobsInput.limit": ["1", "1000"],
    "FailJobsInput.dryRun": ["true"],
    "FailJobsInput.reason": TEXT,
    "AlertsInput.alertIds": ['["alert_2", "alert_1002"]', '["alert_1003", "alert_1", "alert_9999"]'],
    "AlertsInput.limit": ["1", "1000"],
    "AlertsInput.dryRun": ["true"],
    "AlertsInput.reason": TEXT,
    "AlertInput.alertId": ids("alert", 2, 1002, 1003, 1004, 1, 1001, 9999),
    "InvalidateCacheInput.siteId": SITES,
    "InvalidateCacheInput.appType": APPS,
    "InvalidateCacheInput.memberId": MEMBERS,
    "InvalidateCacheInput.dryRun": ["true", "false"],
    "EstimateBatchInput.siteId": SITES,
    "EstimateBatchInput.appTypes": [f"[{app}]" for app in APPS],
    "EstimateBatchInput.memberIds": [f"[{member}]" for member in MEMBERS],
    "ConfirmBatchInput.batchId": [f'"{THEIRS}"', f'"{OURS}"', '"batch_' + "0" * 32 + '"'],
    "CancelJobInput.jobId": ids("job", 1002, 2, 1, 1001, 9999),
    "CancelBatchInput.batchId": [f'"batch_{STARTED[site].hex}"' for site in ("tokyo", "berlin")],
    "RetryBatchInput.batchId": [f'"batch_{ENDED[site].hex}"' for site in ("tokyo", "berlin")],
    "RunReportInput.siteId": SITES,
    "RunReportInput.appType": APPS,
    "RunReportInput.externalId": ['"e1"', '"only tokyo"', '"only berlin"'],
    "RunReportInput.triggerType": TEXT,
    "RunReportInput.memberId": MEMBERS,
    "RunReportInput.sessionId": TEXT,
    "RunReportInput.model": TEXT,
    "RunReportInput.requestPrompt": TEXT,
    "RunReportInput.responseText": TEXT,
    "RunReportInput.tokensUsed": COUNTS,
    "RunReportInput.tokensUsedBig": COUNTS,
    "RunReportInput.promptTokensBig": COUNTS,
    "RunReportInput.completionTokensBig": COUNTS,
    "RunReportInput.cachedTokens": COUNTS,
    "RunReportInput.promptTokens": COUNTS,
    "RunReportInput.completionTokens": COUNTS,
    "RunReportInput.latencyMs": COUNTS,
    "RunReportInput.errorMessage": TEXT,
    "RunReportInput.createdAt": TIMES,
    "RunReportInput.finishedAt": [f'"{at(-1).isoformat()}"'],
    "CreateApiKeyInput.name": ['"made"', f'"{mark("tokyo")}"'],
    "CreateApiKeyInput.siteIds": ['["berlin"]', '["tokyo"]', '["berlin", "tokyo"]', '["nowhere"]'],
    "CreateApiKeyInput.everySite": ["false", "true"],
    "CreateApiKeyInput.readsTexts": ["false", "true"],
    "CreateApiKeyInput.expiresAt": ['"2100-01-01T00:00:00Z"'],
    "SetBudgetInput.siteId": [*SITES, "null"],
    "SetBudgetInput.appType": APPS,
    "SetBudgetInput.softLimit": COUNTS,
    "SetBudgetInput.hardLimit": COUNTS,
    "SetBudgetInput.timeZone": ZONES,
    "RemoveBudgetInput.budgetId": ids("budget", 1, 1001, 3001, 9999),
    "BudgetOverride.reason": TEXT,
    "RemoveModelPriceInput.priceId": ids("price", 3001, 3002, 9999),
    "SetModelPriceInput.model": TEXT,
    "SetModelPriceInput.promptPrice": ['"1"'],
    "SetModelPriceInput.completionPrice": ['"1"'],
    "SetModelPriceInput.validFrom": TIMES,
    "SetModelPriceInput.validUntil": [f'"{at(-1).isoformat()}"'],
    **{f"{name}.idempotencyKey": [f'"key of {name}"'] for name in KEYED},
    "RevokeApiKeyInput.keyId": ids("key", 1500, 1501, 500, 1, 9999),
}

CURSORS: dict[str, str] = {
    "RunLogConnection": "run",
    "TriggerJobConnection": "job",
    "AlertConnection": "alert",
    "BatchConnection": "batch",
    "CacheEntryConnection": "cache",
    "ApiKeyConnection": "key",
    "AuditEntryConnection": "audit",
    "BudgetLimitConnection": "budget",
    "BudgetEventConnection": "budgetevent",
    "ModelPriceConnection": "price",
}
KINDS = {"run": "RunLog", "job": "TriggerJob", "alert": "Alert", "batch": "Batch", "cache": "CacheEntry"} | {
    "key": "ApiKey",
    "audit": "AuditEntry",
    "budget": "BudgetLimit",
    "budgetevent": "BudgetEvent",
    "price": "ModelPrice",
}
PAGE_SIZES = {"first": ["1", "2"], "last": ["1", "2"]}
# Optional inputs that a mutation needs all the same.
NEEDED = {
    "CreateApiKeyInput.siteIds",
    "SetBudgetInput.siteId",
    "SetBudgetInput.softLimit",
    "RetryJobsInput.jobIds",
    "CancelJobsInput.jobIds",
    "FailJobsInput.jobIds",
    "AlertsInput.alertIds",
}
# Inputs that are given in the place of another.
INSTEAD = {
    "AlertsInput.filter": "alertIds",
    **{f"{name}JobsInput.filter": "jobIds" for name in ("Retry", "Cancel", "Fail")},
}
# Below these only plain fields are asked for: a document has limits, and other fields lead to the same kind.
LEAVES = {
    ("TriggerJob", "root"),
    ("JobOutcome", "job"),
    ("RetriedJobs", "sample"),
    ("CancelledJobs", "sample"),
    ("FailedJobs", "sample"),
    ("AlertOutcome", "alert"),
    ("ChangedAlerts", "sample"),
}
# What is the same for all sites by its nature, and why nothing of a site's shows in it.
OF_NO_SITE = {
    "modelPrices": "a price is of a model, set by admins of every site for all of them; it counts no rows",
    "setModelPrice": "a price holds for every site, so a caller of some sites is refused whatever it asks",
    "removeModelPrice": "as setModelPrice",
}


def cursors(kind: str) -> list[str]:
    """Places in a list: at a row of ours and of theirs, and where neither has one."""
    places: list[tuple[int, int | UUID]] = [(1, 1), (2, 1002), (2, 9999), (60, 1)]
    if kind == "batch":
        places = [(1, batch) for batch in BATCHES.values()] + [(1, UUID("f" * 32)), (60, UUID(int=0))]
    return [f'"{cursor_at(kind, at(minutes), number)}"' for minutes, number in places]


@dataclass(frozen=True)
class Case:
    """One request. `field` is the field of Query or Mutation that it asks."""

    field: str
    document: str


@dataclass
class Walk:
    """Writes documents over the schema; `gaps` are what it found no value for."""

    gaps: set[str] = field(default_factory=set)

    def queries(self) -> Iterator[Case]:
        """Every query field with every value of its arguments and of those of the fields below it."""
        for name, root in SCHEMA.query_type.fields.items():  # type: ignore[union-attr]
            for arguments in self._argument_lists("Query", name, root):
                for selection in self._selections(root, {}):
                    if _may_be(selection, arguments):
                        yield Case(name, f"{{ {name}{arguments}{selection} }}")
            if isinstance(get_named_type(root.type), GraphQLInterfaceType):
                continue  # Whatever lies below is reached by a query of its own as well.
            required = next(iter(self._argument_lists("Query", name, root)))
            for key, nested in self._nested(root).items():
                for arguments in self._argument_lists(*key, nested):
                    for selection in self._selections(root, {key: arguments}):
                        yield Case(name, f"{{ {name}{required}{selection} }}")

    def mutations(self) -> Iterator[Case]:
        """Every mutation with every value of its input's fields."""
        for name, root in SCHEMA.mutation_type.fields.items():  # type: ignore[union-attr]
            given = get_named_type(root.args["input"].type)
            for value in self._objects(given):  # type: ignore[arg-type]
                for selection in self._selections(root, {}):
                    yield Case(name, f"mutation {{ {name}(input: {value}){selection} }}")

    def _argument_lists(self, parent: str, name: str, asked: GraphQLField) -> Iterator[str]:
        base = {
            argument: self._values(parent, name, argument, asked)[0]
            for argument, definition in asked.args.items()
            if _is_required(definition)
        }
        yield _written(base, "({})")
        for argument in asked.args:
            for value in self._values(parent, name, argument, asked):
                yield _written(base | {argument: value}, "({})")

    def _values(self, parent: str, name: str, argument: str, asked: GraphQLField) -> list[str]:
        definition = asked.args[argument]
        if argument in PAGE_SIZES:
            return PAGE_SIZES[argument]
        if argument in ("after", "before"):
            return self._cursors(get_named_type(asked.type).name)
        return self._values_of(f"{parent}.{name}.{argument}", definition.type)

    def _cursors(self, connection: str) -> list[str]:
        if connection not in CURSORS:
            self.gaps.add(connection)
            return ['"x"']
        return cursors(CURSORS[connection])

    def _values_of(self, key: str, given: Any) -> list[str]:
        named = get_named_type(given)
        if key in VALUES:
            return VALUES[key]
        if isinstance(named, GraphQLInputObjectType):
            objects = list(self._objects(named))
            return [f"[{value}]" for value in objects] if _is_list(given) else objects
        if isinstance(named, GraphQLEnumType):
            return [f"[{value}]" if _is_list(given) else value for value in named.values]
        self.gaps.add(key)
        return ["null"]

    def _objects(self, given: GraphQLInputObjectType) -> Iterator[str]:
        base = {
            name: self._values_of(f"{given.name}.{name}", definition.type)[0]
            for name, definition in given.fields.items()
            if _is_required(definition) or f"{given.name}.{name}" in NEEDED
        }
        yield _written(base, "{{{}}}") or "{}"
        for name, definition in given.fields.items():
            key = f"{given.name}.{name}"
            others = {other: value for other, value in base.items() if other != INSTEAD.get(key)}
            for value in self._values_of(key, definition.type):
                yield _written(others | {name: value}, "{{{}}}")

    def _nested(self, root: GraphQLField) -> dict[tuple[str, str], GraphQLField]:
        found: dict[tuple[str, str], GraphQLField] = {}

        def visit(named: Any, entities: int) -> None:
            for inner in _members(named):
                for name, below in inner.fields.items():
                    if below.args:
                        found[inner.name, name] = below
                    if (count := entities + _is_entity(below)) <= 1:
                        visit(get_named_type(below.type), count)

        visit(get_named_type(root.type), 0)
        return found

    def _selections(self, root: GraphQLField, arguments: dict[tuple[str, str], str]) -> Iterator[str]:
        """The selection of all fields; one for each type that an interface or a union may be."""
        named = get_named_type(root.type)
        if isinstance(named, GraphQLInterfaceType):
            for member in _members(named):
                yield f" {{ __typename ... on {member.name}{self._selection(member, arguments, 0)} }}"
        elif isinstance(named, GraphQLUnionType):
            success, *refusals = _members(named)
            refused = "".join(
                f" ... on {refusal.name} {{ {' '.join(refusal.fields)} }}" for refusal in refusals
            )
            yield f" {{ __typename ... on {success.name}{self._selection(success, arguments, 0)}{refused} }}"
        else:
            yield self._selection(named, arguments, 0)

    def _selection(self, named: Any, arguments: dict[tuple[str, str], str], entities: int) -> str:
        if not isinstance(named, GraphQLObjectType | GraphQLInterfaceType):
            return ""
        parts: list[str] = []
        for name, below in named.fields.items():
            count = entities + (2 if (named.name, name) in LEAVES else _is_entity(below))
            if count > 2:
                continue
            inner = get_named_type(below.type)
            selection = self._selection(inner, arguments, count)
            if isinstance(inner, GraphQLObjectType | GraphQLInterfaceType) and not selection:
                continue
            default = "(first: 3)" if "first" in below.args else ""
            parts.append(name + arguments.get((named.name, name), default) + selection)
        return f" {{ {' '.join(parts)} }}" if parts else ""


def _may_be(selection: str, arguments: str) -> bool:
    """Whether an object of the id in `arguments` can be of the type that `selection` asks for."""
    kind = arguments.partition('"')[2].partition("_")[0]
    return " ... on " not in selection or f" ... on {KINDS.get(kind, 'RunLog')} " in selection


def _is_required(definition: Any) -> bool:
    return isinstance(definition.type, GraphQLNonNull) and definition.default_value is Undefined


def _is_entity(asked: GraphQLField) -> bool:
    """Whether the field leads to an object with an id, which may lead to others without end."""
    named = get_named_type(asked.type)
    return isinstance(named, GraphQLObjectType) and "id" in named.fields


def _is_list(given: Any) -> bool:
    return is_list_type(given.of_type if isinstance(given, GraphQLNonNull) else given)


def _members(named: Any) -> list[GraphQLObjectType]:
    if isinstance(named, GraphQLUnionType):
        return list(named.types)
    if isinstance(named, GraphQLInterfaceType):
        return list(SCHEMA.get_possible_types(named))
    return [named] if isinstance(named, GraphQLObjectType) else []


def _written(values: dict[str, str], braces: str) -> str:
    if not values:
        return ""
    return braces.format(", ".join(f"{name}: {value}" for name, value in values.items()))


def every_field() -> set[tuple[str, str]]:
    """Every field of every object type of the schema."""
    return {
        (named.name, name)
        for named in SCHEMA.type_map.values()
        if isinstance(named, GraphQLObjectType) and not named.name.startswith("__")
        for name in named.fields
    }
