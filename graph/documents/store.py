"""Trusted documents: which document texts may run, and naming one by its SHA-256 instead of sending it.

The wire forms are Apollo's automatic persisted queries (`extensions.persistedQuery`) and the `documentId` of
the GraphQL over HTTP draft (`sha256:` and the hash).
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import orjson
from graphql import GraphQLError

from graph.documents.cache import SegmentedCache
from graph.documents.forms import LinkError, linked_documents, normal_form
from graph.errors import ErrorCode, RequestRefused, refusal

REGISTERED_CHARACTERS = 1_000_000
HASH = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
"""SHA-256, or SHA-1 as codegen makes it unless it is told otherwise."""
_SHA1_LENGTH = 40
REPRINTED = 4
"""How many times as long as the manifest's longest text one may be that is the same printed otherwise."""
SCHEME = "sha256:"
APOLLO_FORMAT = "apollo-persisted-query-manifest"


class DocumentMode(StrEnum):
    """What may run.

    `off`: any text; hashes are not supported. `allow`: any text; a hash of the manifest may be sent alone,
    and so may one that was sent with its text before (kept in memory only, for a while). `enforce`: the
    manifest only.
    """

    OFF = "off"
    ALLOW = "allow"
    ENFORCE = "enforce"


class ManifestError(Exception):
    """A manifest or a document for one that cannot be used; the message names the file and the fault."""


def document_hash(text: str) -> str:
    """The SHA-256 of a document's UTF-8 text, 64 hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def build_manifest(
    files: Iterable[Path], fault_of: Callable[[str], str | None] = lambda _: None
) -> dict[str, str]:
    """Map the hash of each document of these files to its text; `fault_of` says what is wrong with a text.

    Raises `ManifestError`.
    """
    manifest: dict[str, str] = {}
    try:
        for file, text in linked_documents(files):
            if fault := fault_of(text):
                raise ManifestError(f"{file}: {fault}")
            manifest[document_hash(text)] = text
    except LinkError as error:
        raise ManifestError(str(error)) from None
    return manifest


def load_manifest(file: Path) -> dict[str, str]:
    """Read a manifest and check each hash against its text: ours, Apollo's, codegen's or gql.tada's.

    Gives texts by hash, without `sha256:`. Raises `ManifestError`.
    """
    try:
        content: object = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ManifestError(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise ManifestError(f"{file}: a manifest is an object of hashes and texts")
    pairs = _pairs(cast("dict[str, object]", content))
    if pairs is None:
        raise ManifestError(f"{file}: an operation of Apollo's manifest has an id and a body")
    manifest: dict[str, str] = {}
    for name, text in pairs:
        key = name.removeprefix(SCHEME) if isinstance(name, str) else ""
        if not isinstance(text, str) or key not in (document_hash(text), _sha1(text)):
            raise ManifestError(f"{file}: the text of {name} does not have this hash")
        manifest[key] = text
    return manifest


def _pairs(content: dict[str, object]) -> Iterable[tuple[object, object]] | None:
    if content.get("format") != APOLLO_FORMAT:
        return content.items()
    operations: object = content.get("operations")
    if not isinstance(operations, list):
        return None
    found: list[tuple[object, object]] = []
    for operation in cast("list[object]", operations):
        if not isinstance(operation, dict):
            return None
        each = cast("dict[str, object]", operation)
        found.append((each.get("id"), each.get("body")))
    return found


def _sha1(text: str) -> str:
    # Names a text of a file that the operator trusts; nothing is proved by it.
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class DocumentStore:
    """Finds the text to run for what a caller sent."""

    def __init__(
        self, mode: DocumentMode = DocumentMode.OFF, manifest: Mapping[str, str] | None = None
    ) -> None:
        self.mode = mode
        self._manifest = dict(manifest or {})
        self._texts = frozenset(self._manifest.values())
        enforced = self._texts if mode is DocumentMode.ENFORCE else ()
        self._forms = frozenset(map(normal_form, enforced))
        self._longest = REPRINTED * max(map(len, enforced), default=0)
        # Texts by hash, and those that were found to be the manifest's printed otherwise.
        self._registered: SegmentedCache[str, str] = SegmentedCache(REGISTERED_CHARACTERS)
        self._reprinted: SegmentedCache[str, bool] = SegmentedCache(REGISTERED_CHARACTERS)

    def resolve(
        self, query: str | None, extensions: Mapping[str, Any] | None, document_id: str | None = None
    ) -> str:
        """The document's text.

        Raises `RequestRefused` when there is none, a hash is unknown or not that of the text, or the text may
        not run.
        """
        key = _named(extensions, document_id)
        if key is not None:
            query = self._by_hash(key, query)
        if query is None:
            raise refusal(ErrorCode.BAD_REQUEST, "The parameter query is missing.")
        if not self._may_run(query):
            message = "Only documents of the server's manifest may run here."
            raise refusal(ErrorCode.PERSISTED_QUERY_REQUIRED, message)
        return query

    def _may_run(self, query: str) -> bool:
        if self.mode is not DocumentMode.ENFORCE or query in self._texts or self._reprinted.get(query):
            return True
        if len(query) > self._longest:
            return False
        try:
            same = normal_form(query) in self._forms
        except (GraphQLError, RecursionError):
            return False
        if same:
            self._reprinted.put(query, True, len(query))
        return same

    def _by_hash(self, key: str, query: str | None) -> str:
        if query is None:
            return self._known(key)
        if key not in (document_hash(query), _sha1(query)):
            raise refusal(ErrorCode.PERSISTED_QUERY_MISMATCH, "The hash is not that of the document.")
        # Not by SHA-1, of which another text with the same hash could be made.
        registers = self.mode is not DocumentMode.OFF and key == document_hash(query)
        if registers and key not in self._manifest and self._may_run(query):
            self._registered.put(key, query, len(query))
        return query

    def _known(self, key: str) -> str:
        # The messages are Apollo's and urql's: these clients compare them, not the codes.
        if self.mode is DocumentMode.OFF:
            raise refusal(ErrorCode.PERSISTED_QUERY_NOT_SUPPORTED, "PersistedQueryNotSupported")
        text = self._manifest.get(key) or self._registered.get(key)
        if text is None:
            raise refusal(ErrorCode.PERSISTED_QUERY_NOT_FOUND, "PersistedQueryNotFound")
        return text


def _named(extensions: Mapping[str, Any] | None, document_id: str | None) -> str | None:
    """The hash that a request names its document by."""
    persisted: object = extensions.get("persistedQuery") if extensions else None
    if persisted is not None:
        return _persisted_hash(persisted)
    if document_id is None:
        return None
    if not document_id.startswith(SCHEME) and len(document_id) != _SHA1_LENGTH:
        raise _malformed("documentId must be sha256: and the document's hash")
    return _hash(document_id.removeprefix(SCHEME))


def _persisted_hash(persisted: object) -> str:
    if not isinstance(persisted, dict):
        raise _malformed("persistedQuery must be an object")
    content = cast("dict[str, object]", persisted)
    if content.get("version") != 1:
        raise _malformed("persistedQuery must be of version 1")
    return _hash(content.get("sha256Hash"))


def _hash(value: object) -> str:
    if not isinstance(value, str) or not HASH.fullmatch(value.lower()):
        raise _malformed("a document's hash is a SHA-256 in 64 hexadecimal digits")
    return value.lower()


def _malformed(reason: str) -> RequestRefused:
    return refusal(ErrorCode.BAD_REQUEST, f"The document's name cannot be read: {reason}.")
