"""viewer: the caller, as it sees itself."""

from __future__ import annotations

from tests.support.api import Api


def test_who_asks_and_what_it_may_do(module_api: Api) -> None:
    viewer = module_api.data("{ viewer { __typename name role siteIds readsTexts } }")["viewer"]
    assert viewer["__typename"] == "Viewer"
    assert viewer["role"] == "ADMIN"
    assert viewer["siteIds"] is None
    assert viewer["readsTexts"] is True
    assert viewer["name"]


def test_asking_who_you_are_reads_nothing(module_api: Api) -> None:
    assert module_api.statements("{ viewer { name role siteIds readsTexts } }") == 0
