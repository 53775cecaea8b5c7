"""errorContains finds letters in any case of any script, whatever the database's locale."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import psycopg
import pytest

from db.migrations.runner import apply_migrations
from tests.support.api import Api
from tests.support.store import Store

FOUND = """query ($text: String!) {
  runLogs(filter: {errorContains: $text}) { totalCount { count } edges { node { errorMessage } } }
}"""
MESSAGES = [
    "Превышено время ожидания",
    "ΣΦΆΛΜΑ: Ο ΧΡΌΝΟΣ έληξε",
    "İSTANBUL yok, ISI yüksek",
    "Straße gesperrt, GROẞE Last",
    "模型超时 Model TIMEOUT",
    "ՍԽԱԼ, ᲨᲔᲪᲓᲝᲛᲐ, ꭰꮃꭹ",
    "273 \u212a, \u212bngström, lo\u017ft",
    "100 % [a-z] \\d+ (x|y) _ ^$ *** ?",
    "two\nlines\tand a tab",
    "Ｆｕｌｌ ｗｉｄｔｈ 𐐨𐐩",
]


@pytest.fixture(scope="module")
def plain_api(server_dsn: Callable[[str], str]) -> Iterator[Api]:
    """The app over a database whose locale is C, as an adopted one may be."""
    with psycopg.connect(server_dsn("postgres"), autocommit=True) as admin:
        provider = " LOCALE_PROVIDER libc" if admin.info.server_version >= 150_000 else ""
        admin.execute(f"CREATE DATABASE c_locale TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'{provider}")
        dsn = server_dsn("c_locale")
        asyncio.run(apply_migrations(dsn))
        store, api = Store(dsn), Api(dsn)
        for message in MESSAGES:
            store.run(status="failed", error_message=message)
        store.run()
        yield api
        api.close()
        store.connection.close()
        admin.execute("DROP DATABASE c_locale WITH (FORCE)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *((form(message), number) for number, message in enumerate(MESSAGES) for form in (str, str.swapcase)
          if number != 3 and number != 6 and number != 2),
        ("ПРЕВЫШЕНО ВРЕМЯ", 0),
        ("превышено", 0),
        ("σφάλμα: ο χρόνος", 1),
        ("χρόνοσ ΈΛΗΞΕ", 1),
        ("istanbul", 2),
        ("ıstanbul", 2),
        ("İSTANBUL YOK, ısı YÜKSEK", 2),
        ("STRAẞE", 3),
        ("große", 3),
        ("模型超时 mODEL", 4),
        ("სეცდომა".replace("სე", "შე"), 5),
        ("ᎠᎳᎩ", 5),
        ("273 k, ångström, LOST", 6),
        ("[A-Z] \\D+ (X|Y) _ ^$ *** ?", 7),
        ("% [", 7),
        ("LINES\tAND", 8),
    ],
)  # fmt: skip
def test_letters_are_found_in_any_case(plain_api: Api, text: str, message: int) -> None:
    found = plain_api.data(FOUND, {"text": text})["runLogs"]
    assert [edge["node"]["errorMessage"] for edge in found["edges"]] == [MESSAGES[message]]
    assert found["totalCount"]["count"] == 1


@pytest.mark.parametrize(
    "text", ["превышенa", "strasse", "lines.and", "[a-y]", "\\w+", "x|z", "nothing", "."]
)
def test_what_is_not_there_is_not_found(plain_api: Api, text: str) -> None:
    assert plain_api.data(FOUND, {"text": text})["runLogs"]["edges"] == []


def test_the_longest_text_that_may_be_sent_is_searched_for(api: Api, store: Store) -> None:
    text = ("Ошибка kiß" * 1000)[: api.settings.max_text]
    store.run(status="failed", error_message="<" + text.swapcase().replace("SS", "ẞ") + ">")
    found = api.data(FOUND, {"text": text})["runLogs"]
    assert len(found["edges"]) == 1
