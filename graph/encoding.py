"""Answers as JSON."""

import json
from collections.abc import Mapping
from typing import Any

import orjson


def encode(result: Mapping[str, Any]) -> bytes:
    """JSON in UTF-8. orjson stops at integers of 64 bits and 254 levels, where the standard library goes
    on."""
    try:
        return orjson.dumps(result)
    except TypeError:
        return json.dumps(result, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
