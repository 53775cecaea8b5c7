"""docs/errors.md has every code of errors and of refusals, each with the status that answers have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from graph.errors import ErrorCode, refusal
from graph.http.negotiation import MediaType
from graph.http.responses import Responses
from graph.types.refusals import RefusalCode
from resolvers.budgets.spending import BudgetExceeded
from resolvers.errors import Refusal

ROW = re.compile(r"^\| `([A-Z_]+)` \| (.+) \|$", re.MULTILINE)
# An operation that ran, so that it is no refusal.
RAN = ErrorCode.ANSWER_TOO_LARGE


def rows(repository: Path, title: str) -> dict[str, list[str]]:
    """The rows of a section's table, by code."""
    page = (repository / "docs/errors.md").read_text(encoding="utf-8")
    section = page.split(f"## {title}\n")[1].split("\n## ")[0]
    found = ROW.findall(section)
    assert len(dict(found)) == len(found)
    return {code: cells.split(" | ") for code, cells in found}


def status(code: ErrorCode, media: MediaType, *, draft: bool = False) -> int:
    return Responses(draft).refused(refusal(code, "no"), media).status


def test_every_code_of_an_error_has_a_row_with_its_statuses(repository: Path) -> None:
    table = rows(repository, "Errors")
    assert set(table) == set(ErrorCode.__members__)
    for code in ErrorCode:
        shown = [int(each) for each in table[code][0].split(", ")]
        new, old = (status(code, media) for media in (MediaType.GRAPHQL_RESPONSE, MediaType.JSON))
        assert shown == ([200] if code is RAN else [new] if new == old else [new, old]), code
        assert len(table[code]) == 3, code


def test_every_code_of_a_refusal_has_a_row(repository: Path) -> None:
    assert set(rows(repository, "Refusals")) == set(RefusalCode.__members__)


def kinds(of: type[Refusal]) -> set[type[Refusal]]:
    return {each for kind in of.__subclasses__() for each in {kind, *kinds(kind)}}


def test_every_refusal_has_a_code_of_the_enum() -> None:
    assert BudgetExceeded in kinds(Refusal)
    assert {kind.code for kind in kinds(Refusal)} == {code.value for code in RefusalCode}


@pytest.mark.parametrize("draft", [False, True])
def test_no_answer_without_data_is_a_success_in_the_newer_format(draft: bool) -> None:
    for code in ErrorCode:
        assert 400 <= status(code, MediaType.GRAPHQL_RESPONSE, draft=draft) < 600, code
