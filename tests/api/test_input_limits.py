"""Every text and every list that can be sent has a bound, which holds before anything is done with it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from graphql import (
    GraphQLInputObjectType,
    GraphQLObjectType,
    GraphQLUnionType,
    Undefined,
    get_named_type,
    get_nullable_type,
    is_enum_type,
    is_input_object_type,
    is_list_type,
    is_non_null_type,
)

from graph.execution.limits import Limits
from graph.schema import schema
from graph.types.bounds import Text, bound_of
from tests.support.api import Api, Client
from tests.support.store import Store

SCHEMA = schema._schema
LIMITS = Limits()
SAMPLES = {
    "Int": 1,
    "Boolean": True,
    "BigInt": 1,
    "Decimal": "1",
    "DateTime": "2026-01-01T00:00:00Z",
    "String": "x",
    "ID": "x",
}
FORMS = {
    "jobId": "job_1",
    "jobIds": "job_1",
    "alertId": "alert_1",
    "batchId": "batch_" + "0" * 32,
    "budgetId": "budget_1",
    "priceId": "price_1",
    "keyId": "key_1",
}
# What a use-case looks at before it looks at the first of the two.
ASKED_FIRST = {("reason", "filter"), ("name", "siteIds")}
IDS = {"TriggerJob": "job_1", "Batch": "batch_" + "0" * 32}
REPORT = {"siteId": "berlin", "appType": "chat", "status": "SUCCESS"}


class Place(NamedTuple):
    """Where a value can stand: an argument of a field, and the input fields down to it."""

    type_name: str
    field: str
    argument: str
    path: tuple[str, ...]
    definition: Any

    @property
    def name(self) -> str:
        return (self.argument, *self.path)[-1]

    @property
    def is_text(self) -> bool:
        return get_named_type(self.definition.type).name in ("String", "ID")

    @property
    def is_list(self) -> bool:
        return is_list_type(get_nullable_type(self.definition.type))

    def __str__(self) -> str:
        return ".".join([self.type_name, self.field, self.argument, *self.path])


def places() -> Iterator[Place]:
    """Every argument, and every field of an input object wherever that may stand."""
    for named in SCHEMA.type_map.values():
        if not isinstance(named, GraphQLObjectType) or named.name.startswith("__"):
            continue
        for field_name, field in named.fields.items():
            for name, argument in field.args.items():
                yield from below(Place(named.name, field_name, name, (), argument))


def below(place: Place) -> Iterator[Place]:
    yield place
    named = get_named_type(place.definition.type)
    if isinstance(named, GraphQLInputObjectType):
        for name, field in named.fields.items():
            yield from below(place._replace(path=(*place.path, name), definition=field))


def sample(name: str, type_: Any, path: tuple[str, ...], value: Any) -> Any:
    """A value of a type with `value` at the end of the path; with no more than what must be given."""
    if path == ():
        return value
    type_ = get_nullable_type(type_)
    if is_list_type(type_):
        return [sample(name, type_.of_type, path, value)]
    return {
        each: sample(each, field.type, path[1:], value) if each == path[0] else simple(each, field.type)
        for each, field in type_.fields.items()
        if each == path[0] or is_needed(field) or (path[0], each) in ASKED_FIRST
    }


def is_needed(definition: Any) -> bool:
    return is_non_null_type(definition.type) and definition.default_value is Undefined


def simple(name: str, type_: Any) -> Any:
    """Some value of a type that can be used."""
    type_ = get_nullable_type(type_)
    if is_list_type(type_):
        return [simple(name, type_.of_type)]
    if is_input_object_type(type_):
        needed = {each: field for each, field in type_.fields.items() if is_needed(field)}
        return {each: simple(each, field.type) for each, field in needed.items()}
    if is_enum_type(type_):
        return next(iter(type_.values))
    return FORMS.get(name, SAMPLES[type_.name])


def asked(place: Place, value: Any) -> tuple[str, dict[str, Any]]:
    """A request with the value in its place, by variables."""
    field = SCHEMA.type_map[place.type_name].fields[place.field]
    given = {
        name: sample(name, argument.type, place.path, value)
        if name == place.argument
        else simple(name, argument.type)
        for name, argument in field.args.items()
        if name == place.argument or is_needed(argument)
    }
    declared = ", ".join(f"${name}: {field.args[name].type}" for name in given)
    selection = "__typename"
    named = get_named_type(field.type)
    if isinstance(named, GraphQLUnionType) and any(each.name == "InvalidInput" for each in named.types):
        selection += " ... on InvalidInput { field message }"
    call = f"{place.field}({', '.join(f'{name}: ${name}' for name in given)}) {{ {selection} }}"
    if place.type_name in IDS:
        call = f'node(id: "{IDS[place.type_name]}") {{ ... on {place.type_name} {{ {call} }} }}'
    return f"{'mutation' if place.type_name == 'Mutation' else 'query'} ({declared}) {{ {call} }}", given


TEXTS = [place for place in places() if place.is_text]
LISTS = [place for place in places() if place.is_list]


def refused(api: Client, place: Place, value: Any) -> str:
    """The message that refuses a value and names its place: an error, or InvalidInput."""
    answer = api.execute(*asked(place, value))
    if "errors" not in answer:
        (result,) = answer["data"].values()
        assert result["__typename"] == "InvalidInput", (str(place), result)
        assert result["field"] == place.name
        return result["message"]
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT", (str(place), error)
    assert place.name in error["message"]
    return error["message"]


@pytest.mark.parametrize("place", TEXTS, ids=str)
def test_a_text_that_is_too_long_is_refused_by_name(module_api: Api, place: Place) -> None:
    bound = bound_of(place.definition).text
    longest = getattr(LIMITS, bound) if isinstance(bound, Text) else bound
    text = "x" * (longest + 1)
    message = refused(module_api, place, [text] if place.is_list else text)
    assert any(number in message for number in (f"{longest:,}", str(longest)))


@pytest.mark.parametrize("place", LISTS, ids=str)
def test_a_list_that_is_too_long_is_refused_by_name(module_api: Api, place: Place) -> None:
    longest = bound_of(place.definition).items or LIMITS.max_list
    item = simple(place.name, get_nullable_type(place.definition.type).of_type)
    assert f"{longest:,}" in refused(module_api, place, [item] * (longest + 1))


def test_every_bound_is_in_the_schema() -> None:
    """A reader sees how long a text may be, but for ids and cursors, whose form says it."""
    silent = [
        str(place)
        for place in TEXTS
        if bound_of(place.definition).is_told and "characters" not in place.definition.description
    ]
    silent += [str(place) for place in LISTS if not re.search(r"[0-9],000", place.definition.description)]
    assert silent == []


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ('{ runLogs(filter: {errorContains: "%s"}) { edges { cursor } } }', "filter.errorContains"),
        (
            'query ($text: String = "%s") { runLogs(filter: {errorContains: $text}) { edges { cursor } } }',
            "$text",
        ),
        (
            '{ ...F } fragment F on Query { runLogs(filter: {errorContains: "%s"}) { edges { cursor } } }',
            "filter.errorContains",
        ),
        (
            'mutation { recordRuns(input: {runs: [{siteId: "a", appType: "b", status: SUCCESS,'
            ' requestPrompt: "%s"}]}) { __typename } }',
            None,
        ),
    ],
)
def test_a_text_of_the_document_is_bounded_too(module_api: Api, query: str, place: str | None) -> None:
    document = query % ("x" * 501)
    if place is None:
        assert module_api.data(document)["recordRuns"]["__typename"] == "RecordedRuns"
        return
    error = module_api.error(document)
    assert error["code"] == "BAD_USER_INPUT"
    assert error["message"] == f"{place} has 501 characters; it may have 500 at most."
    assert error["maximum"] == 500


def test_a_list_of_the_document_is_bounded_too(module_api: Api) -> None:
    statuses = " ".join(["FAILED"] * 1_001)
    error = module_api.error(f"{{ runLogs(filter: {{status: [{statuses}]}}) {{ edges {{ cursor }} }} }}")
    assert error["message"] == "filter.status has 1,001 items; it may have 1,000 at most."


def test_a_variable_has_the_bound_of_each_place_that_it_stands_in(module_api: Api) -> None:
    query = """
    mutation ($text: String!, $ids: [ID!]!) {
      recordRuns(input: {runs: [{siteId: "a", appType: "b", status: SUCCESS, requestPrompt: $text}]}) {
        __typename
      }
      retryJobs(input: {jobIds: $ids, reason: "r"}) { __typename }
    }"""
    answer = module_api.data(query, {"text": "x" * 2_000, "ids": ["job_1"]})
    assert answer["recordRuns"]["__typename"] == "RecordedRuns"
    error = module_api.error(query, {"text": "x", "ids": ["job_1"] * 1_001})
    assert error["message"] == "jobIds ($ids) has 1,001 items; it may have 1,000 at most."


def test_the_place_is_named_down_to_the_item(module_api: Api) -> None:
    runs = [REPORT, REPORT | {"responseText": "x" * 1_000_001}]
    error = module_api.error(RECORD, {"input": {"runs": runs}})
    assert error["message"] == (
        "$input.runs[1].responseText has 1,000,001 characters; it may have 1,000,000 at most."
    )
    assert (error["argument"], error["maximum"]) == ("responseText", 1_000_000)


RECORD = "mutation ($input: RecordRunsInput!) { recordRuns(input: $input) { __typename } }"
AGAIN = (
    "mutation ($input: RecordRunsInput!) {"
    + "".join(f"r{number}: recordRuns(input: $input) {{ __typename }}" for number in range(20))
    + "}"
)


def test_all_values_together_are_bounded_as_often_as_they_are_used(
    module_api: Api, module_store: Store
) -> None:
    before = module_store.value("SELECT count(*) FROM biz.ai_run_logs")
    error = module_api.error(AGAIN, {"input": {"runs": [REPORT] * 1_000}})
    assert error["code"] == "BAD_USER_INPUT"
    assert "$input" in error["message"]
    assert error["maximum"] == 120_000
    assert module_store.value("SELECT count(*) FROM biz.ai_run_logs") == before


def test_the_bounds_are_settings(dsn: str) -> None:
    api = Api(dsn, max_text=100, max_list=2, max_report_text=1_000, max_values=1_000)
    try:
        query = "query ($filter: RunLogFilter) { runLogs(filter: $filter) { edges { cursor } } }"
        assert api.error(query, {"filter": {"errorContains": "x" * 101}})["maximum"] == 100
        assert api.error(query, {"filter": {"status": ["FAILED"] * 3}})["maximum"] == 2
        run = REPORT | {"requestPrompt": "x" * 1_001}
        assert api.error(RECORD, {"input": {"runs": [run]}})["maximum"] == 1_000
        assert api.error(RECORD, {"input": {"runs": [REPORT] * 100}})["maximum"] == 1_000
    finally:
        api.close()


# What a caller who may not do it sends is not even coerced: wrong values are not told, and nothing is done.
@pytest.mark.parametrize(
    "variables",
    [
        {"input": {"runs": [REPORT] * 10_000}},
        {"input": {"runs": [[] for _ in range(1_000)]}},
        {"input": "nonsense"},
        {},
    ],
    ids=["many", "wrong", "nonsense", "none"],
)
def test_the_role_is_checked_before_the_variables(module_api: Api, variables: dict[str, Any]) -> None:
    viewer = module_api.as_key(role="viewer")
    answer = viewer.execute(RECORD, variables)
    (error,) = answer["errors"]
    assert error["extensions"]["code"] == "FORBIDDEN"
    assert error["path"] == ["recordRuns"]
    assert error["locations"]
    assert answer["data"] is None


@pytest.mark.parametrize(
    "selection",
    [
        "{ ...F } fragment F on Mutation { r: recordRuns(input: $input) { __typename } }",
        "{ ... { r: recordRuns(input: $input) @include(if: true) { __typename } } }",
        "{ r: recordRuns(input: $input) @skip(if: $on) { __typename } }",
    ],
)
def test_wherever_the_field_stands(module_api: Api, selection: str) -> None:
    on = ", $on: Boolean!" if "$on" in selection else ""
    document = f"mutation ($input: RecordRunsInput!{on}) {selection}"
    viewer = module_api.as_key(role="viewer")
    (error,) = viewer.execute(document, {"input": {"runs": "nonsense"}, "on": False})["errors"]
    assert (error["extensions"]["code"], error["path"]) == ("FORBIDDEN", ["r"])


def test_a_field_that_is_left_out_needs_no_role(module_api: Api) -> None:
    viewer = module_api.as_key(role="viewer")
    query = "query ($on: Boolean!) { viewer { name } apiKeys @include(if: $on) { edges { cursor } } }"
    assert viewer.data(query, {"on": False})["viewer"]["name"]
    assert viewer.error(query, {"on": True})["code"] == "FORBIDDEN"


def test_of_several_mutations_none_is_done_where_one_is_not_allowed(
    module_api: Api, module_store: Store
) -> None:
    operator = module_api.as_key(role="operator")
    alert = module_store.run(status="failed")
    answer = operator.execute(
        f"""mutation {{
          ackAlert(input: {{alertId: "alert_{alert}"}}) {{ __typename }}
          removeBudget(input: {{budgetId: "budget_1"}}) {{ __typename }}
        }}"""
    )
    assert answer["errors"][0]["path"] == ["removeBudget"]
    assert module_store.value("SELECT alert_status FROM biz.ai_run_logs WHERE id = %s", [alert]) is None
