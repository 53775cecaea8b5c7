import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from graph.documents.store import (
    DocumentMode,
    DocumentStore,
    ManifestError,
    build_manifest,
    document_hash,
    load_manifest,
)
from tests.http.server import build_app, code_of, send

KNOWN = "query Known { known: __typename }"
OTHER = "query Other { other: __typename }"
MANIFEST = {document_hash(KNOWN): KNOWN}


def persisted(key: object, version: object = 1) -> dict[str, Any]:
    return {"persistedQuery": {"version": version, "sha256Hash": key}}


def request(store: DocumentStore, **parameters: object) -> httpx.Response:
    headers = {"accept": "application/graphql-response+json"}
    return send(build_app(documents=store), json=parameters, headers=headers)


@pytest.mark.parametrize("mode", [DocumentMode.ALLOW, DocumentMode.ENFORCE])
def test_a_known_hash_runs_alone(mode: DocumentMode) -> None:
    store = DocumentStore(mode, MANIFEST)
    key = document_hash(KNOWN)
    answer = {"data": {"known": "Query"}}
    assert request(store, extensions=persisted(key)).json() == answer
    assert request(store, extensions=persisted(key.upper())).json() == answer
    assert request(store, documentId=f"sha256:{key}").json() == answer
    assert request(store, query=KNOWN, extensions=persisted(key)).json() == answer
    assert request(store, query=KNOWN).json() == answer


def test_a_hash_runs_by_get() -> None:
    app = build_app(documents=DocumentStore(DocumentMode.ALLOW, MANIFEST))
    extensions = json.dumps(persisted(document_hash(KNOWN)))
    assert send(app, "GET", params={"extensions": extensions}).json() == {"data": {"known": "Query"}}


@pytest.mark.parametrize("mode", [DocumentMode.ALLOW, DocumentMode.ENFORCE])
def test_an_unknown_hash_is_not_found(mode: DocumentMode) -> None:
    reply = request(DocumentStore(mode, MANIFEST), extensions=persisted(document_hash(OTHER)))
    assert code_of(reply) == "PERSISTED_QUERY_NOT_FOUND"
    assert reply.json()["errors"][0]["message"] == "PersistedQueryNotFound"


def test_without_documents_a_hash_alone_is_not_supported_and_a_text_runs() -> None:
    store = DocumentStore()
    key = document_hash(OTHER)
    assert code_of(request(store, extensions=persisted(key))) == "PERSISTED_QUERY_NOT_SUPPORTED"
    assert request(store, query=OTHER, extensions=persisted(key)).json() == {"data": {"other": "Query"}}
    assert code_of(request(store, extensions=persisted(key))) == "PERSISTED_QUERY_NOT_SUPPORTED"


def test_allow_lets_an_apollo_client_register_for_a_while() -> None:
    store = DocumentStore(DocumentMode.ALLOW)
    key = document_hash(OTHER)
    assert code_of(request(store, extensions=persisted(key))) == "PERSISTED_QUERY_NOT_FOUND"
    assert request(store, query=OTHER, extensions=persisted(key)).json() == {"data": {"other": "Query"}}
    assert request(store, extensions=persisted(key)).json() == {"data": {"other": "Query"}}


def test_enforce_runs_nothing_else() -> None:
    store = DocumentStore(DocumentMode.ENFORCE, MANIFEST)
    key = document_hash(OTHER)
    assert code_of(request(store, query=OTHER)) == "PERSISTED_QUERY_REQUIRED"
    assert code_of(request(store, query=OTHER, extensions=persisted(key))) == "PERSISTED_QUERY_REQUIRED"
    assert code_of(request(store, extensions=persisted(key))) == "PERSISTED_QUERY_NOT_FOUND"


@pytest.mark.parametrize("mode", list(DocumentMode))
def test_a_text_of_another_hash_is_refused(mode: DocumentMode) -> None:
    reply = request(DocumentStore(mode, MANIFEST), query=OTHER, extensions=persisted(document_hash(KNOWN)))
    assert code_of(reply) == "PERSISTED_QUERY_MISMATCH"


@pytest.mark.parametrize(
    "extensions",
    [
        {"persistedQuery": 1},
        {"persistedQuery": []},
        {"persistedQuery": {}},
        persisted(document_hash(KNOWN), 2),
        persisted(1),
        persisted("abc"),
        persisted(None),
    ],
)
def test_a_malformed_hash_is_a_bad_request(extensions: dict[str, Any]) -> None:
    reply = request(DocumentStore(DocumentMode.ALLOW, MANIFEST), query=KNOWN, extensions=extensions)
    assert (reply.status_code, code_of(reply)) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("document_id", [document_hash(KNOWN), "md5:abc", "sha256:abc"])
def test_a_malformed_document_id_is_a_bad_request(document_id: str) -> None:
    reply = request(DocumentStore(DocumentMode.ALLOW, MANIFEST), documentId=document_id)
    assert (reply.status_code, code_of(reply)) == (400, "BAD_REQUEST")


def test_registered_documents_are_bounded() -> None:
    store = DocumentStore(DocumentMode.ALLOW)
    for number in range(2_000):
        text = f"{{ a{number}: __typename }}" + " " * 1_000
        store.resolve(text, persisted(document_hash(text)))
    assert store._registered.size <= 1_000_000


def test_a_manifest_maps_hashes_to_texts(tmp_path: Path) -> None:
    first, second = tmp_path / "a.graphql", tmp_path / "b.graphql"
    first.write_text(KNOWN, encoding="utf-8")
    second.write_text(OTHER, encoding="utf-8")
    manifest = build_manifest([first, second])
    assert manifest == {document_hash(KNOWN): KNOWN, document_hash(OTHER): OTHER}
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps(manifest), encoding="utf-8")
    assert load_manifest(file) == manifest


@pytest.mark.parametrize("content", [b"query {", b"\xff", b""])
def test_a_manifest_of_a_broken_document_names_the_file(tmp_path: Path, content: bytes) -> None:
    broken = tmp_path / "broken.graphql"
    broken.write_bytes(content)
    with pytest.raises(ManifestError, match=r"broken\.graphql: "):
        build_manifest([broken])


def test_a_manifest_of_a_missing_file_names_it(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"missing\.graphql"):
        build_manifest([tmp_path / "missing.graphql"])


@pytest.mark.parametrize("content", [b"", b"[]", b'{"abc": "query { a }"}', b'{"abc": 1}'])
def test_a_broken_manifest_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "manifest.json"
    file.write_bytes(content)
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        load_manifest(file)


FRAGMENTS = "fragment Name on Query { ...More }"
LINKED = "query Linked { ...Name }"
MORE = "fragment More on Query { known: __typename }"
SAME = [
    KNOWN + " ",
    "query Known {\n  known: __typename\n  __typename\n}\n",
    "# a comment\nquery Known { known: __typename, }",
]
DIFFERENT = [
    "query Known { __typename }",
    "query Known { known: __typename other: __typename }",
    "query Known { known: __typename __typename @skip(if: false) }",
    "query Known($a: Int) { known: __typename }",
    "query Known { known: __typename",
    "query Known { known: __typename \u0007 }",
    KNOWN + " " * 1_000,
]


@pytest.mark.parametrize("text", SAME)
def test_enforce_runs_what_a_client_prints_otherwise(text: str) -> None:
    store = DocumentStore(DocumentMode.ENFORCE, MANIFEST)
    assert request(store, query=text).json()["data"]["known"] == "Query"
    # By hash alone once it was sent whole, as Apollo's automatic persisted queries do.
    key = persisted(document_hash(text))
    assert code_of(request(store, extensions=key)) == "PERSISTED_QUERY_NOT_FOUND"
    assert request(store, query=text, extensions=key).json()["data"]["known"] == "Query"
    assert request(store, extensions=key).json()["data"]["known"] == "Query"


@pytest.mark.parametrize("text", DIFFERENT)
def test_enforce_refuses_what_is_another_document(text: str) -> None:
    store = DocumentStore(DocumentMode.ENFORCE, MANIFEST)
    assert code_of(request(store, query=text)) == "PERSISTED_QUERY_REQUIRED"
    key = persisted(document_hash(text))
    assert code_of(request(store, query=text, extensions=key)) == "PERSISTED_QUERY_REQUIRED"
    assert code_of(request(store, extensions=key)) == "PERSISTED_QUERY_NOT_FOUND"


def test_an_anonymous_query_may_leave_out_its_word_and_definitions_change_places() -> None:
    text = "query { ...Name } " + FRAGMENTS + MORE
    store = DocumentStore(DocumentMode.ENFORCE, {document_hash(text): text})
    assert request(store, query=MORE + FRAGMENTS + "{ ...Name }").json() == {"data": {"known": "Query"}}


def test_the_order_of_fields_and_arguments_is_the_clients_own() -> None:
    known = (
        "query A($b: Int, $c: Int) {"
        " jobs(first: $b, last: $c) { pageInfo { hasNextPage } edges { cursor } } }"
    )
    sent = (
        "query A($c: Int, $b: Int) {"
        " jobs(last: $c, first: $b) { edges { cursor } pageInfo { hasNextPage } } }"
    )
    other = (
        "query A($b: Int, $c: Int) { jobs(first: $b, last: $c) { edges { cursor hasNextPage } pageInfo } }"
    )
    store = DocumentStore(DocumentMode.ENFORCE, {document_hash(known): known})
    answer = request(store, query=sent, variables={"b": 1}).json()
    assert list(answer["data"]["jobs"]) == ["edges", "pageInfo"]
    assert code_of(request(store, query=other)) == "PERSISTED_QUERY_REQUIRED"
    deep = "{" * 50_000
    store = DocumentStore(DocumentMode.ENFORCE, {document_hash(known): known + " " * 20_000})
    assert code_of(request(store, query=deep)) == "PERSISTED_QUERY_REQUIRED"


def test_fragments_of_other_files_are_linked(tmp_path: Path) -> None:
    several = "query One { one: __typename } query Two { two: __typename ...More }"
    for name, text in (("a", LINKED), ("b", FRAGMENTS), ("c", MORE), ("d", several)):
        (tmp_path / f"{name}.graphql").write_text(text)
    manifest = build_manifest(sorted(tmp_path.glob("*.graphql")))
    assert all(document_hash(text) == key for key, text in manifest.items())
    store = DocumentStore(DocumentMode.ENFORCE, manifest)
    whole = LINKED + FRAGMENTS + MORE
    assert request(store, query=whole).json() == {"data": {"known": "Query"}}
    assert request(store, query="query One { one: __typename }").json() == {"data": {"one": "Query"}}
    assert len(manifest) == 3


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        ([LINKED], "no file has the fragment Name"),
        ([MORE, MORE.replace("known", "other")], "another fragment"),
    ],
)
def test_a_fragment_that_is_missing_or_stands_twice_is_told(
    tmp_path: Path, texts: list[str], fault: str
) -> None:
    files = [tmp_path / f"{number}.graphql" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    with pytest.raises(ManifestError, match=fault):
        build_manifest(files)


def test_manifests_of_apollo_codegen_and_tada_are_read_as_they_are(tmp_path: Path) -> None:
    key, sha1 = document_hash(KNOWN), hashlib.sha1(KNOWN.encode(), usedforsecurity=False).hexdigest()
    operation = {"id": key, "name": "Known", "type": "query", "body": KNOWN}
    apollo = {"format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation]}
    file = tmp_path / "manifest.json"
    for content, name in ((apollo, key), ({f"sha256:{key}": KNOWN}, key), ({sha1: KNOWN}, sha1)):
        file.write_text(json.dumps(content))
        assert load_manifest(file) == {name: KNOWN}
        store = DocumentStore(DocumentMode.ENFORCE, load_manifest(file))
        assert request(store, extensions=persisted(name)).json() == {"data": {"known": "Query"}}
        document_id = name if name == sha1 else f"sha256:{name}"
        assert request(store, documentId=document_id).json() == {"data": {"known": "Query"}}


@pytest.mark.parametrize(
    "operations", [None, [1], [{"id": "x", "body": KNOWN}], [{"id": document_hash(KNOWN)}]]
)
def test_a_broken_manifest_of_apollo_is_refused(tmp_path: Path, operations: object) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({"format": "apollo-persisted-query-manifest", "operations": operations}))
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        load_manifest(file)


def test_nobody_registers_a_text_by_a_weak_hash() -> None:
    store = DocumentStore(DocumentMode.ALLOW)
    key = hashlib.sha1(OTHER.encode(), usedforsecurity=False).hexdigest()
    assert request(store, query=OTHER, extensions=persisted(key)).json() == {"data": {"other": "Query"}}
    assert code_of(request(store, extensions=persisted(key))) == "PERSISTED_QUERY_NOT_FOUND"
