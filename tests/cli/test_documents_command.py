"""`runglass documents build`, and what its manifest lets run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from graph.documents.store import document_hash
from graph.settings.config import SettingsError, load_settings
from tests.support.api import Api

KNOWN = "{ viewer { name } }"


def build(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "graph", "documents", "build", *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """A manifest of one document, made by the command."""
    document, file = tmp_path / "viewer.graphql", tmp_path / "manifest.json"
    document.write_text(KNOWN)
    done = build(document)
    assert done.returncode == 0, done.stderr
    file.write_text(done.stdout)
    return file


def test_the_manifest_maps_hashes_to_texts(manifest: Path) -> None:
    assert json.loads(manifest.read_text()) == {document_hash(KNOWN): KNOWN}


@pytest.mark.parametrize("text", ["{ viewer {", "{ nothing }", None], ids=["malformed", "invalid", "absent"])
def test_a_document_that_cannot_run_is_named_in_one_line(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "wrong.graphql"
    if text is not None:
        file.write_text(text)
    done = build(file)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"runglass: {file}")
    assert done.stderr.count("\n") == 1


def test_enforce_runs_the_manifest_alone(dsn: str, manifest: Path) -> None:
    api = Api(dsn, documents_mode="enforce", documents_file=manifest)
    try:
        assert api.data(KNOWN) == {"viewer": {"name": "tests"}}
        assert api.error("{ viewer { role } }")["code"] == "PERSISTED_QUERY_REQUIRED"
        extensions = {"persistedQuery": {"version": 1, "sha256Hash": document_hash(KNOWN)}}
        by_hash = api.client.post("/graphql", json={"extensions": extensions}, headers=api.headers)
        assert api.runner.run(by_hash).json() == {"data": {"viewer": {"name": "tests"}}}
    finally:
        api.close()


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"documents_mode": "enforce"}, "RUNGLASS_DOCUMENTS_FILE is not set"),
        ({"documents_file": "documents.json"}, "RUNGLASS_DOCUMENTS_MODE is off"),
        ({"documents_mode": "sometimes"}, "RUNGLASS_DOCUMENTS_MODE"),
        ({"documents_mode": "allow", "documents_file": "/nowhere/documents.json"}, "RUNGLASS_DOCUMENTS_FILE"),
    ],
)
def test_settings_that_contradict_each_other_stop_the_start(settings: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as caught:
        _ = load_settings(**settings).documents
    assert "\n" not in str(caught.value)
