"""Trusted documents: which document texts may run, and naming one by its SHA-256 instead of sending it.

The wire forms are Apollo's automatic persisted queries (`extensions.persistedQuery`) and the `documentId` of
the GraphQL over HTTP draft (`sha256:` and the hash).
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

import orjson
from graphql import GraphQLError, parse

from graph.documents.cache import SegmentedCache
from graph.errors import ErrorCode, RequestRefused, refusal

REGISTERED_CHARACTERS = 1_000_000
HASH = re.compile(r"[0-9a-f]{64}")
SCHEME = "sha256:"


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


def build_manifest(files: Iterable[Path]) -> dict[str, str]:
    """Map the hash of each file's text to the text, byte for byte. Raises `ManifestError`."""
    manifest: dict[str, str] = {}
    for file in files:
        try:
            text = file.read_bytes().decode("utf-8")
            parse(text, no_location=True)
        except (OSError, UnicodeDecodeError, GraphQLError) as error:
            raise ManifestError(f"{file}: {getattr(error, 'message', error)}") from None
        manifest[document_hash(text)] = text
    return manifest


def load_manifest(file: Path) -> dict[str, str]:
    """Read a manifest and check each hash against its text. Raises `ManifestError`."""
    try:
        content: object = orjson.loads(file.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ManifestError(f"{file}: {error}") from None
    if not isinstance(content, dict):
        raise ManifestError(f"{file}: a manifest is an object of hashes and texts")
    manifest = cast("dict[str, object]", content)
    for key, text in manifest.items():
        if not isinstance(text, str) or document_hash(text) != key:
            raise ManifestError(f"{file}: the text of {key} does not have this hash")
    return cast("dict[str, str]", content)


class DocumentStore:
    """Finds the text to run for what a caller sent."""

    def __init__(
        self, mode: DocumentMode = DocumentMode.OFF, manifest: Mapping[str, str] | None = None
    ) -> None:
        self.mode = mode
        self._manifest = dict(manifest or {})
        self._texts = frozenset(self._manifest.values())
        self._registered: SegmentedCache[str, str] = SegmentedCache(REGISTERED_CHARACTERS)

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
        if self.mode is DocumentMode.ENFORCE and query not in self._texts:
            message = "Only documents of the server's manifest may run here."
            raise refusal(ErrorCode.PERSISTED_QUERY_REQUIRED, message)
        return query

    def _by_hash(self, key: str, query: str | None) -> str:
        if query is None:
            return self._known(key)
        if document_hash(query) != key:
            raise refusal(ErrorCode.PERSISTED_QUERY_MISMATCH, "The hash is not that of the document.")
        if self.mode is DocumentMode.ALLOW and key not in self._manifest:
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
    if not document_id.startswith(SCHEME):
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
