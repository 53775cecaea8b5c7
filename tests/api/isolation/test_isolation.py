"""Nobody reads or changes a row of a site that is not theirs, by whatever the schema offers.

Two worlds hold the same rows of berlin; one of them holds tokyo's as well. A caller of berlin sends every
request to both: each answer must be the same to the byte, so nothing of tokyo's rows shows in it, not even
that they exist.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx
import pytest
from graphql import TypeInfo, TypeInfoVisitor, Visitor, parse, visit

from tests.api.isolation import cases
from tests.api.isolation.cases import OF_NO_SITE, SCHEMA, Case, Walk, every_field
from tests.api.isolation.world import BATCHES, at, build_world, mark, rows_of
from tests.support.api import Api, Client
from tests.support.databases import cloned_database
from tests.support.store import Store

WALK = Walk()
QUERIES = list({case.document: case for case in WALK.queries()}.values())
MUTATIONS = list(WALK.mutations())
QUERY_FIELDS = sorted({case.field for case in QUERIES})
MUTATION_FIELDS = sorted({case.field for case in MUTATIONS})
REQUESTS = int(os.environ.get("ISOLATION_REQUESTS", "1000"))

# What a mutation makes differs between two runs of it: times, random ids, secrets.
_TIME = re.compile(r'"\d{4}-\d\d-\d\dT[^"]+"')
_CURSOR = re.compile(r'(?<=ursor":")[^"]+')
_BATCH = re.compile(r"batch_(?!" + "|".join(batch.hex for batch in BATCHES.values()) + r")[0-9a-f]{32}")
_SECRET = re.compile(r"rg_[A-Za-z0-9_-]+")


@dataclass
class World:
    """An app with its rows, and its callers."""

    api: Api
    store: Store
    berlin: Client
    two_sites: Client
    tokyo: Client


@pytest.fixture(scope="module")
def worlds(server_dsn: Callable[[str], str], template: str) -> Iterator[tuple[World, World]]:
    """The world with both sites, and the world of berlin alone."""
    with (
        _world(server_dsn, template, "both", "berlin", "tokyo") as both,
        _world(server_dsn, template, "alone", "berlin") as alone,
    ):
        yield both, alone


class _world:
    def __init__(self, server_dsn: Callable[[str], str], template: str, name: str, *sites: str) -> None:
        self.database = cloned_database(server_dsn, f"isolation_{name}", template)
        self.dsn = server_dsn(f"isolation_{name}")
        self.sites = sites

    def __enter__(self) -> World:
        self.database.__enter__()
        # Everything is selected at once, which costs more than a client may ask for.
        api, store = Api(self.dsn, max_cost=1_000_000), Store(self.dsn)
        clients = [
            api.as_key(role="admin", sites=sites, reads_texts=True, name=mark(name))
            for name, sites in (
                ("berlin", ["berlin"]),
                ("two", ["berlin", "paris"]),
                ("tokyo", ["tokyo"]),
            )
        ]
        # The callers' own keys are the same in each world; one used in the future is not marked as used.
        store.rows(
            "UPDATE runglass.api_keys SET key_prefix = 'rg_' || id, created_at = %s, last_used_at = %s",
            (at(5), at(-1000)),
        )
        build_world(store, *self.sites)
        self.world = World(api, store, *clients)
        return self.world

    def __exit__(self, *_: object) -> None:
        self.world.store.connection.close()
        self.world.api.close()
        self.database.__exit__(None, None, None)


def send(client: Client, case: Case) -> bytes:
    response: httpx.Response = client.runner.run(client.post(case.document))
    assert b"INTERNAL_SERVER_ERROR" not in response.content, (case.document, response.content)
    return response.content


def settled(answer: bytes) -> str:
    text = _CURSOR.sub("(cursor)", _TIME.sub('"(time)"', answer.decode()))
    return _SECRET.sub("(secret)", _BATCH.sub("(batch)", text))


def test_every_argument_has_a_case() -> None:
    assert WALK.gaps == set(), "name values worth trying in tests/api/isolation/cases.py"


def test_every_field_has_a_case() -> None:
    seen: set[tuple[str, str]] = set()
    info = TypeInfo(SCHEMA)

    class Collector(Visitor):
        def enter_field(self, node: object, *_: object) -> None:
            parent = info.get_parent_type()
            assert parent is not None
            seen.add((parent.name, node.name.value))  # type: ignore[attr-defined]

    for document in {case.document for case in [*QUERIES, *MUTATIONS]}:
        visit(parse(document), TypeInfoVisitor(info, Collector()))
    assert every_field() - seen == set()


def test_every_value_is_still_used() -> None:
    """A case of an argument that is gone would look as if it tested something."""
    asked: set[str] = set()

    class Recording(Walk):
        def _values_of(self, key: str, given: object) -> list[str]:
            asked.add(key)
            return super()._values_of(key, given)

    walk = Recording()
    assert len([*walk.queries(), *walk.mutations()]) > 500
    assert set(cases.VALUES) - asked == set()


@pytest.mark.parametrize("field", QUERY_FIELDS)
def test_no_answer_depends_on_rows_of_another_site(worlds: tuple[World, World], field: str) -> None:
    both, alone = worlds
    before = rows_of(both.store, "tokyo")
    for case in QUERIES:
        if case.field == field:
            answer = send(both.berlin, case)
            assert answer == send(alone.berlin, case), case.document
            assert send(both.two_sites, case) == send(alone.two_sites, case), case.document
            # Once more: by now the document's selections may have been compiled, by another caller.
            assert send(both.berlin, case) == answer, case.document
    assert rows_of(both.store, "tokyo") == before


@pytest.mark.parametrize("field", sorted(set(QUERY_FIELDS) - {"viewer", *OF_NO_SITE}))
def test_the_cases_would_show_rows_of_another_site(worlds: tuple[World, World], field: str) -> None:
    """Asked by somebody who may see every site, the two worlds do differ."""
    both, alone = worlds
    cases = [case for case in QUERIES if case.field == field]
    assert any(send(both.api, case) != send(alone.api, case) for case in cases)


@pytest.mark.parametrize("field", MUTATION_FIELDS)
def test_no_mutation_reaches_rows_of_another_site(worlds: tuple[World, World], field: str) -> None:
    both, alone = worlds
    before = rows_of(both.store, "tokyo")
    assert before["biz.ai_run_logs"]
    assert before["runglass.api_keys"]
    for case in MUTATIONS:
        if case.field == field:
            assert settled(send(both.berlin, case)) == settled(send(alone.berlin, case)), case.document
            assert rows_of(both.store, "tokyo") == before, case.document


def test_the_mutations_do_change_rows_of_their_own_site(worlds: tuple[World, World]) -> None:
    both, _ = worlds
    done = {row["action"] for row in both.store.rows("SELECT action FROM runglass.audit_log WHERE id > 5000")}
    assert done >= set(MUTATION_FIELDS) - set(OF_NO_SITE)


def test_what_belongs_to_no_site_is_there_for_each_and_changed_by_none(worlds: tuple[World, World]) -> None:
    both, _ = worlds
    assert set(OF_NO_SITE) <= {*QUERY_FIELDS, *MUTATION_FIELDS}
    prices = "SELECT * FROM runglass.model_prices ORDER BY id"
    before = both.store.rows(prices)
    assert [row["id"] for row in before] == [3001, 3002]
    asked = [case for case in MUTATIONS if case.field in OF_NO_SITE]
    for client in (both.berlin, both.two_sites):
        assert all(b'"FORBIDDEN"' in send(client, case) for case in asked)
    assert both.store.rows(prices) == before
    for case in QUERIES:
        if case.field in OF_NO_SITE:
            assert send(both.berlin, case) == send(both.api, case), case.document


def test_another_callers_loads_are_not_shared(worlds: tuple[World, World]) -> None:
    """The same ids at the same time by callers of either site: each gets its own rows and no other."""
    both, _ = worlds
    query = """{
      a: runLog(id: "run_1") { id requestPrompt } b: runLog(id: "run_1001") { id requestPrompt }
      c: node(id: "job_2") { id } d: node(id: "job_1002") { id }
    }"""

    async def ask() -> list[httpx.Response]:
        clients = [both.berlin, both.tokyo] * 20
        return await asyncio.gather(*(client.post(query) for client in clients))

    for number, response in enumerate(both.api.runner.run(ask())):
        data = response.json()["data"]
        found = [name for name in "abcd" if data[name] is not None]
        assert found == (["a", "c"] if number % 2 == 0 else ["b", "d"])


def foreign(case: Case, answer: bytes, site: str, other: str) -> str | None:
    """What in an answer to `site` is of the other site and does not merely repeat the request."""
    numbers = r"1\d\d\d" if other == "tokyo" else r"[1-9]\d{0,2}"
    if case.field in OF_NO_SITE or '"price_' in case.document:
        return None  # Prices name models, here those of either site.
    patterns = [
        mark(other),
        BATCHES[other].hex,
        rf'"(?:run|job|alert|cache|audit|budget|budgetevent)_{numbers}"',
        rf'"siteId":"{other}"' if other not in case.document else r"(?!)",
    ]
    for asked in re.findall(r'"job_\d+"', case.document):
        answer = answer.replace(f'"jobId":{asked}'.encode(), b"")
    found = re.search("|".join(patterns).encode(), answer)
    return found[0].decode() if found else None


def changes_for(choose: random.Random, other: str) -> list[Case]:
    """Some changes.

    Who writes the other site's mark into its own rows would read it there: such changes stay out.
    """
    changes = [
        case
        for case in MUTATIONS
        if mark(other) not in case.document and case.field not in ("createApiKey", "revokeApiKey")
    ]
    return choose.sample(changes, k=min(len(changes), REQUESTS // 80))


def test_a_long_mix_of_two_callers_shows_no_foreign_row(
    server_dsn: Callable[[str], str], template: str
) -> None:
    """ISOLATION_REQUESTS says how many; 10,000 take some minutes."""
    choose = random.Random(20)
    # So few that the documents are kept ready, and each is asked for by both.
    queries = choose.sample(QUERIES, k=min(len(QUERIES), REQUESTS // 25))
    leaks: list[tuple[str, str, str]] = []
    answered = {"berlin": 0, "tokyo": 0}

    async def caller(client: Client, site: str, other: str, changes: list[Case]) -> None:
        cases = queries + changes
        for _ in range(-(-REQUESTS // 8)):
            case = choose.choice(cases)
            response = await client.post(case.document)
            answered[site] += mark(site).encode() in response.content
            if leak := foreign(case, response.content, site, other):
                leaks.append((site, case.document, leak))

    with _world(server_dsn, template, "mix", "berlin", "tokyo") as world:

        async def mix() -> None:
            callers = [
                (world.berlin, "berlin", "tokyo", changes_for(choose, "tokyo")),
                (world.tokyo, "tokyo", "berlin", changes_for(choose, "berlin")),
            ]
            await asyncio.gather(*(caller(*each) for each in callers * 4))

        world.api.runner.run(mix())
    assert leaks == []
    # Both were shown rows of their own, for an empty answer proves nothing.
    assert min(answered.values()) > REQUESTS / 20
