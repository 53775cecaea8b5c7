"""The apps file: what it may hold, and the one line that says what is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from graph.settings.apps_file import load_apps
from graph.settings.config import SettingsError
from resolvers.worker.apps import App

RIGHT = """
[apps.chat]
url = "https://apps.example.com/chat"
secret_env = "CHAT_SECRET"
timeout_seconds = 4
concurrency = 7
retries = { max = 3, backoff_seconds = 0.25 }
circuit = { failures = 2, open_seconds = 9 }

[apps."a b"]
url = "http://localhost:9000"
secret_env = "CHAT_SECRET"
"""


def load(tmp_path: Path, text: str) -> dict[str, App]:
    """The apps of a file with this text."""
    file = tmp_path / "apps.toml"
    file.write_text(text)
    return load_apps(file, {"CHAT_SECRET": "x"})


def test_a_right_file(tmp_path: Path) -> None:
    apps = load(tmp_path, RIGHT)
    assert apps["chat"] == App(
        name="chat",
        url="https://apps.example.com/chat",
        secret="x",
        timeout=4,
        budget=16,
        retries=3,
        backoff=0.25,
        failures=2,
        open_for=9,
        concurrency=7,
    )
    assert apps["a b"].concurrency is None


def test_no_file_is_no_apps() -> None:
    assert load_apps(None, {}) == {}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (('"https://apps.example.com/chat"', '"chat"'), "apps.chat.url: Value error, is not an address"),
        (("timeout_seconds = 4", "timeout_seconds = 0"), "apps.chat.timeout_seconds: "),
        (("timeout_seconds = 4", "timeout_seconds = '4'"), "apps.chat.timeout_seconds: "),
        (("timeout_seconds", "timeout"), "apps.chat.timeout: Extra inputs are not permitted"),
        (("max = 3", "max = -1"), "apps.chat.retries.max: "),
        (("failures = 2", "failures = 0"), "apps.chat.circuit.failures: "),
        (("CHAT_SECRET", "NO_SECRET"), "apps.chat.secret_env: NO_SECRET is not set"),
        (('secret_env = "CHAT_SECRET"', 'secret = "x"'), "apps.chat.secret_env: Field required"),
        (("[apps.chat]", "[app.chat]"), "app is unknown; apps are written as [apps.NAME]"),
        (("[apps.chat]", "[apps.chat"), "at line 2"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_app_and_field(
    tmp_path: Path, change: tuple[str, str], expected: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, RIGHT.replace(*change))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "apps.toml") in str(caught.value)


def test_the_command_says_it_in_one_line(tmp_path: Path, dsn: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graph", "worker"],
        env={"DATABASE_URL": dsn, "RUNGLASS_APPS_FILE": str(tmp_path / "none.toml"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"runglass: RUNGLASS_APPS_FILE: {tmp_path / 'none.toml'} cannot be read: No such file or directory\n"
    )
