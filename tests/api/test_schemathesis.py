"""Schemathesis asks whatever the schema allows; the answer is data or a mistake of the caller."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.graphql import nodes
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.api import Api
from tests.support.store import Store

CALLERS_FAULTS = {"BAD_USER_INPUT", "QUERY_TOO_COMPLEX", "GRAPHQL_VALIDATION_FAILED"}
INTERNALS = ("psycopg", "traceback", 'file "', "/graph/", "/db/", "site-packages", "select ", "insert into")
CASES = 40
"""For each of the root fields."""

# Half of the values are such as the server knows, as nothing is found by random ids, zones and sizes.
KNOWN_IDS = st.sampled_from(["run_1", "alert_2", "job_1", "cache_1", "key_1", "berlin", "m1"])
KNOWN_TEXTS = st.sampled_from(["chat", "Europe/Berlin", "order_created", ""])


PACKED = ("content-encoding", "content-length")


def through(api: Api) -> Starlette:
    """The app for Schemathesis' client, which runs a loop beside that of the pool."""

    async def forward(request: Request) -> Response:
        request_ = api.client.build_request(
            "POST", "/graphql", content=await request.body(), headers={**request.headers, **api.headers}
        )
        answer = await asyncio.to_thread(api.runner.run, api.client.send(request_))
        # What httpx has unpacked is handed on as it is now.
        headers = {name: value for name, value in answer.headers.items() if name not in PACKED}
        return Response(answer.content, answer.status_code, headers)

    return Starlette(routes=[Route("/graphql", forward, methods=["POST"])])


@pytest.fixture
def filled(api: Api, store: Store) -> Store:
    """Rows of every kind, so that what is generated finds something."""
    job = store.job(member_id="m1")
    store.job(retry_of_id=job, attempt=2, status="pending")
    for status in ("success", "failed", "timeout", "circuit_open", "running", "a new word"):
        store.run(status=status, trigger_job_id=job, latency_ms=120, error_message="it said no")
    store.cache()
    # Not one that is guessed: revokeApiKey would end the test's own.
    store.rows("UPDATE runglass.api_keys SET id = 987654321")
    return store


def check(case: schemathesis.Case, answer: Any) -> set[str]:
    """The codes of an answer, which which hold no fault of ours and nothing of our insides."""
    assert answer.status_code < 500, answer.text
    said, asked = answer.text.lower(), str(case.body).lower()
    assert not [word for word in INTERNALS if word in said and word not in asked], answer.text
    content = json.loads(answer.content)
    codes = {error["extensions"]["code"] for error in content.get("errors", ())}
    assert codes <= CALLERS_FAULTS, answer.text
    assert codes or content["data"] is not None, answer.text
    return codes


def test_no_generated_operation_makes_the_server_fail(
    api: Api, filled: Store, caplog: pytest.LogCaptureFixture
) -> None:
    schemathesis.graphql.scalar("ID", (KNOWN_IDS | st.text()).map(nodes.String))
    schemathesis.graphql.scalar("String", (KNOWN_TEXTS | st.text()).map(nodes.String))
    decimals = st.decimals(allow_nan=False, allow_infinity=False).map(str)
    schemathesis.graphql.scalar("Decimal", (decimals | st.text()).map(nodes.String))
    schemathesis.graphql.scalar(
        "Int", (st.integers(1, 100) | st.integers(-(2**31), 2**31 - 1)).map(nodes.Int)
    )
    schema = schemathesis.graphql.from_asgi("/graphql", through(api))
    seen: Counter[str] = Counter()
    for operation in schema.get_all_operations():

        @given(case=operation.ok().as_strategy())
        @settings(
            max_examples=CASES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def run(case: schemathesis.Case) -> None:
            answer = case.call()
            codes = check(case, answer)
            if not codes:
                case.validate_response(answer)
            seen["cases"] += 1
            seen[" ".join(sorted(codes)) or "data"] += 1

        run()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert seen["cases"] >= 15 * CASES
    assert seen["data"] >= seen["cases"] / 6
