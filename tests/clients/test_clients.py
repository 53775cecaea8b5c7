"""Clients and tools of other people work on the schema and the server as they are."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gql import Client, gql
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from graphql import GraphQLScalarType, is_specified_scalar_type

from graph.schema import schema as served
from tests.support.api import Api
from tests.support.serving import serving
from tests.support.store import Store

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
CUSTOM_SCALARS = [
    kind
    for kind in served._schema.type_map.values()
    if isinstance(kind, GraphQLScalarType) and not is_specified_scalar_type(kind)
]
needs_node = pytest.mark.skipif(
    shutil.which("node") is None or not (MODULES / "eslint").exists(), reason="run npm ci in tests/clients"
)


@pytest.fixture
def project(tmp_path: Path, repository: Path) -> Path:
    """A front end's folder: our schema, documents, and the tools."""
    for source, place in (
        ("codegen", "src"),
        ("relay", "relay"),
        ("eslint.config.mjs", "."),
        ("package.json", "."),
    ):
        copy = shutil.copytree if (HERE / source).is_dir() else shutil.copy
        copy(HERE / source, tmp_path / place)
    page = (repository / "docs/clients.md").read_text(encoding="utf-8")
    for text in re.findall(r"```js\n(.*?)```", page, re.DOTALL):
        name = text.removeprefix("// ").split(":")[0]
        (tmp_path / name).write_text(text, encoding="utf-8")
    shutil.copy(repository / "schema.graphql", tmp_path)
    (tmp_path / "node_modules").symlink_to(MODULES)
    return tmp_path


def run(project: Path, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [project / "node_modules/.bin" / tool, *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=100,
    )


def passes(project: Path, tool: str, *arguments: str) -> str:
    """What a tool prints that must succeed."""
    done = run(project, tool, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def node(project: Path, script: str) -> None:
    done = subprocess.run(["node", script], cwd=project, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_node
def test_codegen_makes_documents_whose_types_hold(project: Path) -> None:
    passes(project, "graphql-codegen", "--config", "codegen.mjs")
    node(project, "possible-types.mjs")
    passes(project, "tsc", "--project", "src/tsconfig.json")


def test_the_page_on_clients_knows_every_scalar(repository: Path) -> None:
    page = (repository / "docs/clients.md").read_text(encoding="utf-8")
    scalars = {each.name for each in CUSTOM_SCALARS}
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == scalars
    (block,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    assert set(json.loads(block)["customScalarTypes"]) == scalars
    ours = json.loads((HERE / "relay/relay.config.json").read_text())
    assert json.loads(block)["customScalarTypes"] == ours["customScalarTypes"]


def test_every_scalar_names_its_specification() -> None:
    assert len(CUSTOM_SCALARS) == 5
    assert [each.name for each in CUSTOM_SCALARS if not each.specified_by_url] == []


@needs_node
def test_relay_compiles_a_paged_list_a_refetched_node_and_a_mutation(project: Path) -> None:
    (project / "relay/generated").mkdir()
    passes(project, "relay-compiler", "relay/relay.config.json")
    assert len(list((project / "relay/generated").glob("*.graphql.ts"))) == 6


@needs_node
def test_the_schema_has_no_lint(project: Path) -> None:
    passes(project, "eslint", "--max-warnings", "0", "schema.graphql")


@needs_node
def test_the_linter_sees_a_field_without_a_description(project: Path) -> None:
    schema = project / "schema.graphql"
    schema.write_text(schema.read_text().replace('  """When the call was made."""\n', "", 1))
    done = run(project, "eslint", "--max-warnings", "0", "schema.graphql")
    assert done.returncode == 1
    assert "require-description" in done.stdout


@needs_node
def test_inspector_finds_the_documents_valid(project: Path) -> None:
    passes(project, "graphql-inspector", "validate", "src/*.graphql", "schema.graphql")


@needs_node
def test_inspector_names_a_breaking_change(project: Path) -> None:
    schema = (project / "schema.graphql").read_text()
    (project / "next.graphql").write_text(schema.replace("  latencyMs: Int\n", "  latencyMs: Float\n", 1))
    assert "No changes" in passes(project, "graphql-inspector", "diff", "schema.graphql", "schema.graphql")
    done = run(project, "graphql-inspector", "diff", "schema.graphql", "next.graphql")
    assert done.returncode == 1
    assert "RunLog.latencyMs" in done.stdout


@pytest.fixture
def endpoint(dsn: str) -> Iterator[str]:
    with serving(dsn) as server:
        yield f"{server.address}/graphql"


ACK_ALERT = gql("""
mutation Ack($input: AlertInput!) {
  ackAlert(input: $input) { __typename ... on Alert { id alertStatus } ... on Refusal { code } }
}
""")


def test_gql_fetches_the_schema_and_reads_and_changes(api: Api, store: Store, endpoint: str) -> None:
    alert = f"alert_{store.run(status='failed')}"

    async def use() -> tuple[Any, Any]:
        transport = HTTPXAsyncTransport(endpoint, headers=api.headers)
        async with Client(transport=transport, fetch_schema_from_transport=True) as session:
            listed = await session.execute(gql("{ runLogs { edges { node { id createdAt } } } }"))
            ACK_ALERT.variable_values = {"input": {"alertId": alert}}
            return listed, await session.execute(ACK_ALERT)

    listed, changed = asyncio.run(use())
    assert [edge["node"]["id"] for edge in listed["runLogs"]["edges"]] == [alert.replace("alert", "run")]
    assert changed["ackAlert"] == {"__typename": "Alert", "id": alert, "alertStatus": "ACKNOWLEDGED"}
    assert store.value("SELECT alert_status FROM biz.ai_run_logs") == "acknowledged"


@needs_node
def test_the_whole_server_passes_every_audit_of_graphql_http(
    api: Api, endpoint: str, repository: Path
) -> None:
    script = str(repository / "tests/http/audit.mjs")
    done = subprocess.run(
        ["node", script, endpoint, str(HERE), api.headers["authorization"]],
        check=True,
        capture_output=True,
        timeout=60,
    )
    audits = json.loads(done.stdout)
    assert [audit for audit in audits if audit["status"] != "ok"] == []
    assert len(audits) == 61


def test_gql_gets_the_code_of_an_error(api: Api, endpoint: str) -> None:
    async def use() -> None:
        transport = HTTPXAsyncTransport(endpoint, headers=api.headers)
        async with Client(transport=transport) as session:
            await session.execute(gql("{ runLogs(first: 0) { edges { cursor } } }"))

    with pytest.raises(TransportQueryError) as caught:
        asyncio.run(use())
    assert [error["extensions"]["code"] for error in caught.value.errors or ()] == ["BAD_USER_INPUT"]


@needs_node
def test_apollo_and_urql_work_unchanged_where_known_documents_run_alone(
    api: Api, store: Store, dsn: str, tmp_path: Path
) -> None:
    store.run()
    documents = sorted((HERE / "documents").glob("*.graphql"))
    build = [sys.executable, "-m", "graph", "documents", "build", *map(str, documents)]
    manifest = tmp_path / "manifest.json"
    manifest.write_text(subprocess.run(build, capture_output=True, text=True, check=True).stdout)
    settings = {"RUNGLASS_DOCUMENTS_MODE": "enforce", "RUNGLASS_DOCUMENTS_FILE": str(manifest)}
    with serving(dsn, **settings) as server:
        command = ["node", str(HERE / "documents" / "ask.mjs"), f"{server.address}/graphql"]
        command.append(api.headers["authorization"])
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["name"] for answer in answers] == ["apollo", "apolloByHash", "urql"]
    for answer in answers:
        assert (answer["runs"], answer["viewer"]) == (1, "tests")
        assert "Only documents of the server's manifest may run here." in answer["refused"]
