"""The file that says which apps the workers call (TOML, named by RUNGLASS_APPS_FILE).

    [apps.chat]
    url = "https://apps.example.com/chat"
    secret_env = "CHAT_SECRET"
    timeout_seconds = 30

Secrets stand in the environment, under the names that the file gives, never in the file.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from graph.settings.config import SettingsError
from resolvers.worker.apps import App

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class _Retries(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    max: int = Field(default=2, ge=0, le=20)
    backoff_seconds: Seconds = 0.5


class _Circuit(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    failures: int = Field(default=5, ge=1, le=1000)
    open_seconds: Seconds = 30.0


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    url: str
    secret_env: str = Field(min_length=1)
    timeout_seconds: Seconds = 30.0
    budget_seconds: Seconds | None = None
    concurrency: int | None = Field(default=None, ge=1, le=10_000)
    retries: _Retries = _Retries()
    circuit: _Circuit = _Circuit()

    @field_validator("url")
    @classmethod
    def _http_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is not an address such as https://apps.example.com/chat")
        return value


def load_apps(path: Path | None, environ: Mapping[str, str]) -> dict[str, App]:
    """The apps of the file by name; none where no file is set.

    Raises SettingsError, in one line that names the app and the field, for the first thing that is wrong.
    """
    if path is None:
        return {}
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"RUNGLASS_APPS_FILE: {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: {error}") from None
    if unknown := sorted(set(document) - {"apps"}):
        raise SettingsError(f"{path}: {unknown[0]} is unknown; apps are written as [apps.NAME]")
    entries = document.get("apps", {})
    if not isinstance(entries, dict):
        raise SettingsError(f"{path}: apps are written as [apps.NAME]")
    return {name: _app(path, name, entry, environ) for name, entry in entries.items()}  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]


def _app(path: Path, name: str, given: Any, environ: Mapping[str, str]) -> App:
    try:
        entry = _Entry.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(["apps", name, *(str(part) for part in first["loc"])])
        raise SettingsError(f"{path}: {field}: {first['msg']}") from None
    secret = environ.get(entry.secret_env)
    if not secret:
        raise SettingsError(f"{path}: apps.{name}.secret_env: {entry.secret_env} is not set")
    attempts = entry.retries.max + 1
    return App(
        name=name,
        url=entry.url,
        secret=secret,
        timeout=entry.timeout_seconds,
        budget=entry.budget_seconds or entry.timeout_seconds * attempts,
        retries=entry.retries.max,
        backoff=entry.retries.backoff_seconds,
        failures=entry.circuit.failures,
        open_for=entry.circuit.open_seconds,
        concurrency=entry.concurrency,
    )
