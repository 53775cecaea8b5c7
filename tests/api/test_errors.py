import logging

import pytest

from graph.errors import ErrorFormatter, RequestRefused, printable
from graph.execution.engine import Engine
from graph.execution.limits import Limits
from tests.http.server import TRANSLATIONS, Context, ask, build_app, build_engine, schema, send


def suggesting() -> Engine:
    return Engine(schema, errors=ErrorFormatter(show_suggestions=True, translations=TRANSLATIONS))


def first(query: str, **parameters: object) -> dict[str, object]:
    error: dict[str, object] = ask(query, **parameters)["errors"][0]
    return error


def test_a_coded_error_passes_with_its_extensions() -> None:
    assert ask("{ refused }") == {
        "data": {"refused": None},
        "errors": [
            {
                "message": "Not yours.",
                "locations": [{"line": 1, "column": 3}],
                "path": ["refused"],
                "extensions": {"code": "FORBIDDEN", "needs": "admin"},
            }
        ],
    }


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("{ domain }", "BAD_USER_INPUT", "that is not possible"),
        ("{ gone }", "SERVICE_UNAVAILABLE", "The database does not answer."),
        ("{ jobs(last: 101) { edges { cursor } } }", "BAD_USER_INPUT", "A page holds at most 100 rows."),
    ],
)
def test_a_domain_exception_is_translated(query: str, code: str, message: str) -> None:
    error = first(query)
    assert (error["message"], error["extensions"]) == (message, {"code": code})


@pytest.mark.parametrize("query", ["{ boom }", "{ tooBig }", "{ brokenNode { id } }"])
def test_anything_else_is_masked_by_an_id_that_is_in_the_log(
    query: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="graph"):
        error = first(query)
    extensions = error["extensions"]
    assert isinstance(extensions, dict)
    assert extensions["code"] == "INTERNAL_SERVER_ERROR"
    assert "hunter2" not in str(error)
    assert "1099511627776" not in str(error)
    assert "SecretRow" not in str(error)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert extensions["errorId"] in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is not None


def test_a_failing_context_is_masked_with_status_500() -> None:
    async def failing(_connection: object) -> Context:
        raise RuntimeError("the password is hunter2")

    reply = send(build_app(get_context=failing), json={"query": "{ __typename }"})
    assert reply.status_code == 500
    assert reply.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "hunter2" not in reply.text


@pytest.mark.parametrize(
    "body",
    [
        {"query": "{"},
        {"query": "{ nonsense }"},
        {"query": "query ($n: Int!) { jobs(first: $n) { edges { cursor } } }"},
        {"query": "{ refused }"},
        {"query": "{ echo(number: 1" + "0" * 400 + ") }"},
        {
            "query": "query N($n: ID!) { node(id: $n) { id } }",
            "variables": {"n": {"a\n2026 ERROR forged": 1}},
        },
    ],
)
def test_a_callers_mistake_is_one_line_without_a_traceback(
    body: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="graph"):
        send(build_app(), json=body)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert record.exc_info is None
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("query ($n: Int!) { jobs(first: $n) { edges { cursor } } }", {}),
        ("query ($n: Int!) { jobs(first: $n) { edges { cursor } } }", {"n": "x"}),
        ("query ($f: JobFilter) { jobs(filter: $f) { edges { cursor } } }", {"f": {"siteID": 1}}),
        ("query ($f: JobFilter) { jobs(filter: $f) { edges { cursor } } }", {"f": {"limit": 1e10}}),
    ],
)
def test_variables_that_do_not_fit_are_bad_user_input(query: str, variables: dict[str, object]) -> None:
    content = ask(query, variables=variables)
    assert "data" not in content
    assert {error["extensions"]["code"] for error in content["errors"]} == {"BAD_USER_INPUT"}


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        ("query ($n: Int!) { jobs(first: $n) { edges { cursor } } }", {"n": "x" * 500_000}),
        ("{ jobs(first: " + "x" * 20_000 + ") { edges { cursor } } }", {}),
        ("{ " + "x" * 20_000 + " }", {}),
    ],
)
def test_a_long_value_is_not_sent_back(query: str, variables: dict[str, object]) -> None:
    error = first(query, variables=variables)
    assert len(str(error["message"])) < 600


def test_a_line_of_the_log_cannot_be_forged() -> None:
    assert printable("a\n2026 ERROR\r\x1b[31m\x85é") == "a?2026 ERROR??[31m?é"


def test_only_so_many_errors_are_in_a_reply_and_the_rest_is_counted() -> None:
    content = ask("{ failingRows { value } }")
    assert len(content["errors"]) == 10
    assert content["extensions"] == {"errorsOmitted": 20}
    assert len(content["data"]["failingRows"]) == 30


def test_internal_errors_that_are_left_out_are_logged_too(caplog: pytest.LogCaptureFixture) -> None:
    content = ask("{ failingRows { value } brokenRows { value } }")
    assert {error["extensions"]["code"] for error in content["errors"]} == {"BAD_USER_INPUT"}
    assert content["extensions"] == {"errorsOmitted": 50}
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage().startswith("30 more internal errors")
    assert record.exc_info is not None


def test_an_absent_database_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    ask("{ gone }")
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.WARNING, None)
    assert "10.0.0.7" not in record.getMessage()


def test_a_null_for_a_directive_is_the_callers_mistake() -> None:
    query = (
        "query ($x: Boolean = true) { a: plainJobs { id @skip(if: $x) title } b: __typename @skip(if: $x) }"
    )
    error = first(query, variables={"x": None})
    assert error["extensions"] == {"code": "BAD_USER_INPUT"}


def test_only_so_many_errors_of_validation_are_in_a_reply() -> None:
    content = ask("{ " + " ".join(f"nonsense{number}" for number in range(40)) + " }")
    assert len(content["errors"]) == 10
    assert content["extensions"]["errorsOmitted"] >= 1


SUGGESTIVE = [
    ("{ plainJob { id } }", None),
    ("{ jobs(frist: 1) { edges { cursor } } }", None),
    ("{ ... on Jobb { id } }", None),
    ("{ __typename @skp(if: true) }", None),
    ("{ jobs }", None),
    ("{ jobs(filter: {siteID: 1}) { edges { cursor } } }", None),
    ("query ($f: JobFilte) { jobs(filter: $f) { edges { cursor } } }", None),
    ("query ($f: JobFilter) { jobs(filter: $f) { edges { cursor } } }", {"f": {"siteID": 1}}),
]


@pytest.mark.parametrize(("query", "variables"), SUGGESTIVE)
def test_names_of_the_schema_are_not_suggested(query: str, variables: dict[str, object] | None) -> None:
    content = ask(query, variables=variables)
    assert content["errors"]
    assert "Did you mean" not in str(content)


def test_suggestions_are_a_setting_and_only_for_those_who_may_introspect() -> None:
    engine = suggesting()
    with pytest.raises(RequestRefused) as shown:
        engine.prepare("{ plainJob { id } }")
    with pytest.raises(RequestRefused) as hidden:
        engine.prepare("{ plainJob { id } }", may_introspect=False)
    assert "Did you mean 'plainJobs'" in shown.value.errors[0]["message"]
    assert hidden.value.errors[0]["message"] == "Cannot query field 'plainJob' on type 'Query'."


def test_an_error_does_not_change_the_answer_that_is_remembered() -> None:
    engine = build_engine(Limits(max_errors=3))
    messages = []
    for _ in range(3):
        with pytest.raises(RequestRefused) as refused:
            engine.prepare("{ a b c d e f }")
        messages.append((refused.value.errors, refused.value.omitted))
    assert messages[0] == messages[1] == messages[2]
    assert len(messages[0][0]) == 3
