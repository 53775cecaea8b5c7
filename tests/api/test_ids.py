"""Typed ids are printed and parsed, and nothing else is one."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graph.errors import ApiError
from graph.types.ids import Kind, kind_of, parse_batch_id, parse_id, print_id

NUMBERED = [kind for kind in Kind if kind is not Kind.BATCH]


@given(st.sampled_from(NUMBERED), st.integers(1, 2**63 - 1))
def test_what_is_printed_is_parsed(kind: Kind, number: int) -> None:
    text = print_id(kind, number)
    assert text == f"{kind.value}_{number}"
    assert (kind_of(text, "id"), parse_id(text, kind, "id")) == (kind, number)


@given(st.uuids())
def test_the_id_of_a_batch_is_its_uuid_without_dashes(uuid: UUID) -> None:
    text = print_id(Kind.BATCH, uuid)
    assert text == "batch_" + str(uuid).replace("-", "")
    assert (kind_of(text, "id"), parse_batch_id(text, "id")) == (Kind.BATCH, uuid)


@given(st.text())
def test_any_other_text_is_a_coded_error_that_names_the_argument(text: str) -> None:
    for kind in NUMBERED:
        with pytest.raises(ApiError) as caught:
            parse_id(text + "!", kind, "jobId")
        assert caught.value.extensions == {"code": "BAD_USER_INPUT", "argument": "jobId"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "_",
        "job",
        "job_",
        "job_0",
        "job_01",
        "job_-1",
        "job_+1",
        "job_1_0",
        "job_ 1",
        "job_1\n",
        "job_9223372036854775808",
        "job_٣",
        "job_1.0",
        "JOB_1",
        " job_1",
        "run_1",
    ],
)
def test_near_misses_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ApiError, match="job_42"):
        parse_id(text, Kind.JOB, "id")


@pytest.mark.parametrize(
    "text",
    ["batch_", "batch_1", "batch_" + "0" * 31, "batch_" + "0" * 33, "batch_" + "A" * 32, "job_" + "0" * 32],
)
def test_near_misses_of_a_batch_are_refused(text: str) -> None:
    with pytest.raises(ApiError, match="32 hexadecimal digits"):
        parse_batch_id(text, "id")


@pytest.mark.parametrize("text", ["", "site_1", "Job_1", "1"])
def test_a_word_that_is_no_kind_is_refused(text: str) -> None:
    with pytest.raises(ApiError, match="job_42 or run_7"):
        kind_of(text, "id")


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(ApiError) as caught:
        parse_id("x" * 100_000, Kind.JOB, "id")
    assert len(caught.value.message) < 200
