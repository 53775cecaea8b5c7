"""`runglass key`: what it prints where, and its exit codes."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from click.testing import Result
from typer.testing import CliRunner

from graph.cli.main import app
from graph.cli.stores import CommandError
from tests.support.api import Api
from tests.support.store import Store

Run = Callable[..., Result]
MAKE = ("create", "--name", "robot", "--role", "operator")


@pytest.fixture
def key(dsn: str) -> Run:
    """Runs `runglass key` on the test's database."""
    return lambda *arguments: CliRunner().invoke(app, ["key", *arguments], env={"DATABASE_URL": dsn})


def test_the_key_stands_alone_on_standard_output_and_works(key: Run, api: Api, store: Store) -> None:
    made = key(*MAKE, "--site", "tokyo", "--site", "berlin", "--texts", "--expires", "7")
    assert made.exit_code == 0, made.output
    secret = made.stdout.strip()
    assert made.stdout == secret + "\n"
    assert secret not in made.stderr
    query = {"query": "{ viewer { name role siteIds readsTexts } }"}
    headers = {"authorization": f"Bearer {secret}"}
    response: httpx.Response = api.runner.run(api.client.post("/graphql", json=query, headers=headers))
    assert response.json()["data"]["viewer"] == {
        "name": "robot",
        "role": "OPERATOR",
        "siteIds": ["berlin", "tokyo"],
        "readsTexts": True,
    }
    days = "SELECT round(extract(epoch FROM expires_at - created_at) / 86400) FROM runglass.api_keys"
    assert store.value(days + " WHERE name = 'robot'") == 7
    entry = store.rows("SELECT actor, action FROM runglass.audit_log")[0]
    assert entry == {"actor": "cli", "action": "createApiKey"}


@pytest.mark.parametrize(
    "wrong",
    [
        MAKE,
        (*MAKE, "--site", "a", "--all-sites"),
        (*MAKE, "--all-sites", "--expires", "0"),
        (*MAKE, "--site", ""),
        ("create", "--name", " ", "--role", "viewer", "--all-sites"),
        ("create", "--name", "x", "--role", "king", "--all-sites"),
        ("create", "--role", "viewer", "--all-sites"),
        ("revoke", "robot"),
        ("revoke",),
    ],
)
def test_wrong_usage_makes_nothing_and_ends_with_2(key: Run, store: Store, wrong: tuple[str, ...]) -> None:
    result = key(*wrong)
    assert (result.exit_code, result.stdout) == (2, "")
    assert store.value("SELECT count(*) FROM runglass.api_keys") == 0


def test_keys_are_listed_without_their_secrets(key: Run) -> None:
    secret = key(*MAKE, "--all-sites").stdout.strip()
    listed = key("list")
    assert listed.exit_code == 0
    assert secret not in listed.output
    columns = listed.stdout.rstrip("\n").split("\t")
    assert columns == [
        "key_1",
        secret[:8] + "…",
        "operator",
        "all sites",
        "no texts",
        "active",
        "never used",
        "robot",
    ]


def test_a_key_is_revoked_once(key: Run) -> None:
    key(*MAKE, "--all-sites")
    assert key("revoke", "key_1").stdout == "revoked key_1\n"
    assert "\trevoked\t" in key("list").stdout
    again, absent = key("revoke", "key_1"), key("revoke", "key_9")
    assert isinstance(again.exception, CommandError)
    assert isinstance(absent.exception, CommandError)
