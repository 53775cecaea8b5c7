"""Reading the schema, and names that errors give away, are settings; who is not signed in gets neither."""

from __future__ import annotations

import pytest

from tests.support.api import Api

WRONG = "{ viewer { nam } }"


def test_a_caller_reads_the_schema_and_gets_suggestions(api: Api) -> None:
    assert api.data("{ __schema { queryType { name } } }") == {"__schema": {"queryType": {"name": "Query"}}}
    assert "Did you mean 'name'?" in api.error(WRONG)["message"]


@pytest.mark.parametrize("query", ["{ __schema { queryType { name } } }", WRONG, "{"])
def test_who_is_not_signed_in_gets_neither(api: Api, query: str) -> None:
    api.headers = {}
    error = api.error(query)
    assert error["code"] == "UNAUTHENTICATED"
    assert "name" not in error["message"]


def test_without_introspection_nothing_is_suggested(dsn: str) -> None:
    api = Api(dsn, introspection=False)
    try:
        assert api.error("{ __schema { queryType { name } } }")["code"] == "INTROSPECTION_DISABLED"
        assert "Did you mean" not in api.error(WRONG)["message"]
        assert api.data("{ __typename }") == {"__typename": "Query"}
    finally:
        api.close()


def test_suggestions_may_be_off_alone(dsn: str) -> None:
    api = Api(dsn, suggestions=False)
    try:
        assert "Did you mean" not in api.error(WRONG)["message"]
    finally:
        api.close()
