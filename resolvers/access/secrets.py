"""Secrets of callers: made from 256 random bits, shown once, and kept as their SHA-256."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import NamedTuple

KEY_MARK = "rg_"
_SHOWN = 8
_KEY = re.compile(KEY_MARK + r"[A-Za-z0-9_-]{43}", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


class Secret(NamedTuple):
    """A new secret. `text` goes to whom it belongs, and nowhere else."""

    text: str
    hash: bytes
    prefix: str


def new_key() -> Secret:
    """A new API key: `rg_` and 43 characters."""
    text = KEY_MARK + secrets.token_urlsafe(32)
    return Secret(text, hash_of(text), text[:_SHOWN])


def new_token() -> Secret:
    """A new secret of a browser: 43 characters."""
    text = secrets.token_urlsafe(32)
    return Secret(text, hash_of(text), "")


def hash_of(text: str) -> bytes:
    """The SHA-256 under which a secret is stored, 32 bytes."""
    return hashlib.sha256(text.encode()).digest()


def is_key(text: str) -> bool:
    """Whether the text has the form of an API key."""
    return _KEY.fullmatch(text) is not None


def is_token(text: str) -> bool:
    """Whether the text has the form of a browser's secret."""
    return _TOKEN.fullmatch(text) is not None
