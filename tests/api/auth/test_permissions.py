"""The matrix of docs/permissions.md is what the built schema says and does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from graphql import GraphQLField, GraphQLObjectType

from graph.auth.permissions import ReadsTexts, RequiresRole
from graph.schema import schema
from resolvers.access.callers import Role
from tests.api.isolation.cases import Walk
from tests.support.api import Api
from tests.support.store import Store

SCHEMA = schema._schema
# What everybody may ask who is signed in; each is bound to the caller's sites by its statements.
SIGNED_IN = {
    "dashboard",
    "budget",
    "budgets",
    "budgetLimit",
    "budgetEvents",
    "modelPrices",
    "runLogs",
    "runLog",
    "triggerJobs",
    "triggerJob",
    "alerts",
    "alert",
    "batch",
    "batches",
    "cacheEntries",
    "node",
    "viewer",
}
TEXTS = {
    f"{text}{mark}"
    for text in ("RunLog.requestPrompt", "RunLog.responseText", "CacheEntry.result")
    for mark in ("", "Truncated")
}
ROW = re.compile(r"^\| `(\w+\.\w+)` \| (yes|no) \| (yes|no) \| (yes|no) \| (texts)? ?\|$", re.MULTILINE)

Rights = tuple[tuple[bool, bool, bool], bool]


def permissions(field: GraphQLField) -> list[type]:
    definition = field.extensions["strawberry-definition"]
    return list(definition.permission_classes)


def every_field() -> dict[str, GraphQLField]:
    return {
        f"{named.name}.{name}": field
        for named in SCHEMA.type_map.values()
        if isinstance(named, GraphQLObjectType) and not named.name.startswith("__")
        for name, field in named.fields.items()
    }


def declared(field: GraphQLField) -> Rights:
    roles = set(Role)
    texts = False
    for permission in permissions(field):
        if issubclass(permission, RequiresRole):
            roles &= permission.roles
        elif permission is ReadsTexts:
            texts = True
        else:
            raise AssertionError(f"{permission} is in no column of the matrix")
    return (Role.VIEWER in roles, Role.OPERATOR in roles, Role.ADMIN in roles), texts


def matrix(repository: Path) -> dict[str, Rights]:
    text = (repository / "docs/permissions.md").read_text()
    rows = ROW.findall(text)
    assert len(rows) == text.count("\n| `") == len({name for name, *_ in rows})
    return {name: ((v == "yes", o == "yes", a == "yes"), bool(needs)) for name, v, o, a, needs in rows}


def test_the_matrix_is_that_of_the_schema(repository: Path) -> None:
    built = {
        name: declared(field)
        for name, field in every_field().items()
        if name.startswith(("Query.", "Mutation.")) or permissions(field)
    }
    assert matrix(repository) == built


def test_every_mutation_declares_a_permission() -> None:
    mutations = {name: field for name, field in every_field().items() if name.startswith("Mutation.")}
    assert len(mutations) >= 10
    assert [name for name, field in mutations.items() if not permissions(field)] == []


def test_every_query_declares_a_permission_or_is_for_whoever_is_signed_in() -> None:
    open_fields = {
        name.removeprefix("Query.")
        for name, field in every_field().items()
        if name.startswith("Query.") and not permissions(field)
    }
    assert open_fields == SIGNED_IN


def test_texts_need_their_permission() -> None:
    assert {name for name, field in every_field().items() if ReadsTexts in permissions(field)} == TEXTS


def test_whatever_is_called_a_text_is_among_them() -> None:
    """A new field that shows what was said to an app must not be forgotten."""
    words = re.compile(r"prompt(?!Tokens|Price)|response|^result(Truncated)?$", re.IGNORECASE)
    named = {name for name in every_field() if words.search(name.split(".")[1])}
    assert named == TEXTS


@pytest.mark.parametrize("role", list(Role))
def test_the_server_does_what_the_matrix_says(dsn: str, repository: Path, role: Role) -> None:
    # Everything is selected at once, which costs more than a client may ask for.
    api = Api(dsn, max_cost=1_000_000)
    try:
        _ask_everything(api, repository, role)
    finally:
        api.close()


def _ask_everything(api: Api, repository: Path, role: Role) -> None:
    walk, documents = Walk(), {}
    for case in [*walk.queries(), *walk.mutations()]:
        documents.setdefault(case.field, case.document)
    client = api.as_key(role=role.value, reads_texts=True)
    column = list(Role).index(role)
    asked = 0
    for name, (roles, _) in matrix(repository).items():
        kind, field = name.split(".")
        if kind in ("Query", "Mutation"):
            asked += 1
            errors = client.execute(documents[field]).get("errors", [])
            codes = {error["extensions"]["code"] for error in errors}
            assert codes == (set() if roles[column] else {"FORBIDDEN"}), (name, errors)
    assert asked == len(documents)


@pytest.mark.parametrize("role", list(Role))
def test_no_role_reads_texts_by_itself(api: Api, store: Store, role: Role) -> None:
    store.run(request_prompt="secret prompt", response_text="secret response")
    store.cache()
    query = """{
      runLogs { edges { node { id requestPrompt responseText } } }
      cacheEntries { edges { node { id result } } }
    }"""
    refused = api.as_key(role=role.value).execute(query)
    assert {error["extensions"]["code"] for error in refused["errors"]} == {"FORBIDDEN"}
    assert len(refused["errors"]) == 3
    assert "secret" not in str(refused["data"])
    assert refused["data"]["runLogs"]["edges"][0]["node"]["id"] == "run_1"
    allowed = api.as_key(role=role.value, reads_texts=True).data(query)
    assert allowed["runLogs"]["edges"][0]["node"]["requestPrompt"] == "secret prompt"
