import pytest
from graphql import ASTValidationRule, GraphQLError, ValidationContext, get_introspection_query, parse

from graph.errors import ErrorCode, RequestRefused
from graph.execution.limits import CostTable, LimitExceeded, Limits, Measurement
from tests.http.server import ask, build_engine, schema

GRAPH = schema._schema


class Validated(Exception):
    """The standard rules have begun."""


class Tripwire(ASTValidationRule):
    def __init__(self, context: ValidationContext) -> None:
        super().__init__(context)
        raise Validated


def chain(count: int, spreads: int, body: str = "__typename") -> str:
    """Fragments of which each spreads the next several times: spreads ** count when they are expanded."""
    links = [f"fragment f{number} on Query {{ {f'...f{number + 1} ' * spreads} }}" for number in range(count)]
    return "{ ...f0 } " + " ".join(links) + f" fragment f{count} on Query {{ {body} }}"


def rows(levels: int) -> str:
    return "{ plainJobs { " + "plainRuns { job { " * levels + "id" + " } }" * levels + " } }"


BOMBS = {
    "fragments spread twice, 60 deep": ("cost", chain(60, 2)),
    "fragments spread five times": ("cost", chain(60, 5)),
    "fragments around lists": ("cost", chain(5, 3, "plainJobs { plainRuns { job { plainRuns { id } } } }")),
    "more fragments than allowed": ("definitions", chain(120, 1)),
    "amplification in 77 bytes": ("cost", rows(4)),
    "amplification by pages": (
        "cost",
        "{ jobs(first: 100) { edges { node { runs(last: 100) { edges { node { ...R } } } } } } } "
        "fragment R on Run { id status job { id } }",
    ),
    "a page of a number with 200 digits": (
        "cost",
        f"{{ jobs(first: {'9' * 200}) {{ edges {{ cursor }} }} }}",
    ),
    "alias flood": ("aliases", "{ " + " ".join(f"a{n}: __typename" for n in range(1_000)) + " }"),
    "alias flood behind brackets": (
        "aliases",
        "{ " + " ".join(f"a{n}: node(id: 1) {{ id }}" for n in range(100)) + " }",
    ),
    "directive flood": ("directives", "{ __typename " + "@skip(if: false) " * 300 + "}"),
    "directive flood of unknown ones": ("directives", "{ __typename " + "@a " * 1_000 + "}"),
    "200,000 tokens": ("length", "{" + " id" * 200_000 + "}"),
    "more tokens than allowed": ("tokens", "{" + " i" * 2_001 + "}"),
    "comments": ("tokens", "#\n" * 2_001 + "{ __typename }"),
    "a long string": ("length", '{ echo(value: "' + "a" * 30_000 + '") }'),
    "depth": ("depth", "{ a" * 150 + "}" * 150),
    "depth of inline fragments": ("depth", "{ ..." * 150 + "{ __typename }" + "}" * 150),
    "depth through fragments": (
        "depth",
        "{ plainJobs { ...f0 } } "
        + " ".join(
            f"fragment f{number} on Job {{ plainRuns {{ job {{ ...f{number + 1} }} }} }}"
            for number in range(20)
        )
        + " fragment f20 on Job { id }",
    ),
    "the schema again and again": (
        "introspection",
        "{ " + " ".join(f"a{number}: __schema {{ types {{ name }} }}" for number in range(6)) + " }",
    ),
    "the schema's fields again and again": (
        "introspection",
        "{ __schema { types { " + " ".join(f"a{n}: fields {{ name }}" for n in range(6)) + " } } }",
    ),
    "one field again and again": ("comparisons", "{" + " __typename" * 200 + "}"),
    "one field again and again in fragments": (
        "comparisons",
        "{"
        + "".join(f"...g{number} " for number in range(40))
        + "}"
        + "".join(f"fragment g{number} on Query {{ {'plainJobs{id} ' * 4} }} " for number in range(40)),
    ),
    "depth in a fragment that nobody spreads": (
        "depth",
        "{ __typename } fragment F on Query " + "{ a" * 20 + "}" * 20,
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_before_the_standard_rules_see_it(name: str) -> None:
    limit, document = BOMBS[name]
    with pytest.raises(RequestRefused) as refused:
        build_engine(rules=[Tripwire]).prepare(document)
    assert refused.value.code is ErrorCode.QUERY_TOO_COMPLEX
    assert refused.value.errors[0]["extensions"]["limit"] == limit


def test_the_tripwire_goes_off_for_a_document_within_the_limits() -> None:
    with pytest.raises(Validated):
        build_engine(rules=[Tripwire]).prepare("{ __typename }")


@pytest.mark.parametrize("spreads", [2, 5])
def test_each_fragment_is_measured_once(spreads: int) -> None:
    measurement = Measurement(
        CostTable(GRAPH, Limits(max_cost=10**12)), document := parse(chain(50, spreads))
    )
    measurement.operation(document.definitions[0])  # type: ignore[arg-type]
    assert measurement.visited == 1 + 50 * spreads + 1


@pytest.mark.parametrize(("max_depth", "allowed"), [(9, True), (8, False)])
def test_a_fragment_that_is_known_counts_from_where_it_is_spread(max_depth: int, allowed: bool) -> None:
    engine = build_engine(Limits(max_depth=max_depth, max_cost=10**9))
    document = "{ plainJobs { ...F plainRuns { job { plainRuns { job { ...F } } } } } }"
    fragment = "fragment F on Job { plainRuns { job { plainRuns { id } } } }"
    if allowed:
        assert engine.prepare(f"{document} {fragment}").depth == max_depth
    else:
        with pytest.raises(RequestRefused, match="nest at most 8 fields"):
            engine.prepare(f"{document} {fragment}")


def test_a_page_of_a_number_that_python_does_not_read_is_measured() -> None:
    document = parse("{ jobs(first: " + "9" * 5_000 + ") { edges { cursor } } }")
    measurement = Measurement(CostTable(GRAPH, Limits()), document)
    with pytest.raises(LimitExceeded):
        measurement.operation(document.definitions[0])  # type: ignore[arg-type]


def test_a_refused_document_is_measured_once_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = build_engine()
    with pytest.raises(RequestRefused) as first:
        engine.prepare(rows(4))
    monkeypatch.setattr("graph.execution.engine.parse", pytest.fail)
    with pytest.raises(RequestRefused) as second:
        engine.prepare(rows(4))
    assert first.value.errors == second.value.errors


@pytest.mark.parametrize(
    ("document", "cost"),
    [
        ("{ __typename }", 1),
        ("{ a: __typename b: __typename }", 2),
        ("{ plainJobs { id title } }", 1 + 20 * 2),
        ("{ days { id } }", 5 + 7),
        ("{ jobs { pageInfo { hasNextPage } } }", 1 + 2),
        ("{ jobs { edges { cursor node { id } } } }", 1 + 1 + 20 * 3),
        ("{ jobs(first: 3) { edges { cursor } } }", 1 + 1 + 3),
        ("{ jobs(last: 3) { edges { cursor } } }", 1 + 1 + 3),
        ("{ jobs(first: 3, last: 5) { edges { cursor } } }", 1 + 1 + 5),
        ("{ jobs(first: 0) { edges { cursor } } }", 1 + 1),
        ("{ jobs(first: null) { edges { cursor } } }", 1 + 1 + 20),
        ("{ jobs(first: 2) { ...F } } fragment F on JobConnection { edges { cursor } }", 1 + 1 + 2),
        ("{ jobs(first: 2) { ... { edges { cursor } } } }", 1 + 1 + 2),
        (
            "{ jobs(first: 2) { edges { node { runs(first: 3) { edges { cursor } } } } } }",
            2 + 2 * (1 + 2 + 3),
        ),
        ("{ jobs(first: 2) { edges @include(if: true) { cursor } } }", 1 + 1 + 2),
        ("{ node(id: 1) { id ... on Job { plainRuns { id } } } }", 1 + 1 + 1 + 20),
    ],
)
def test_the_cost_is_the_number_of_fields_in_the_answer(document: str, cost: int) -> None:
    assert build_engine().prepare(document).cost == cost


PAGES = """
query ($n: Int = 4, $m: Int) {
  jobs(first: $n) { edges { node { runs(last: $m) { edges { cursor } } } } }
}
"""


@pytest.mark.parametrize(
    ("variables", "outer", "inner"),
    [
        ({}, 4, 20),
        ({"n": 2}, 2, 20),
        ({"n": 2, "m": 3}, 2, 3),
        ({"n": None, "m": None}, 20, 20),
        ({"m": "many"}, 4, 100),
        ({"m": True}, 4, 100),
        ({"m": -5}, 4, 0),
    ],
)
def test_a_page_of_a_variable_costs_what_the_variable_says(
    variables: dict[str, object], outer: int, inner: int
) -> None:
    engine = build_engine()
    prepared = engine.prepare(PAGES)
    assert engine.cost(prepared, variables) == 2 + outer * (1 + 2 + inner)
    assert prepared.cost == 2 + 100 * (1 + 2 + 100)


def test_wrong_values_of_a_variable_do_not_change_the_cost_of_right_ones() -> None:
    engine = build_engine()
    prepared = engine.prepare(PAGES)
    costs = [engine.cost(prepared, {"n": n}) for n in (True, 1, "x", None, [], {}, 1.0)]
    assert costs == [2 + outer * (1 + 2 + 20) for outer in (100, 1, 100, 20, 100, 100, 100)]
    assert engine.cost(prepared, {}) == 2 + 4 * (1 + 2 + 20)


def test_a_variable_cannot_pass_the_limit() -> None:
    engine = build_engine(Limits(max_cost=1_000))
    prepared = engine.prepare(PAGES)
    assert engine.cost(prepared, {"n": 5, "m": 5}) < 1_000
    with pytest.raises(RequestRefused) as refused:
        engine.cost(prepared, {"n": 100, "m": 10**30})
    assert refused.value.errors[0]["extensions"]["limit"] == "cost"


def test_a_page_of_a_variable_that_costs_too_much_does_not_run() -> None:
    query = PAGES.replace("cursor", "cursor node { id status job { id title } }")
    assert "data" in ask(query, variables={"n": 1, "m": 1})
    error = ask(query, variables={"n": 100, "m": 100})["errors"][0]
    assert error["extensions"] == {"code": "QUERY_TOO_COMPLEX", "limit": "cost", "maximum": 50_000}


def test_the_standard_introspection_query_is_exempt_from_depth() -> None:
    query = get_introspection_query(specified_by_url=True, input_value_deprecation=True)
    prepared = build_engine(Limits(max_depth=3)).prepare(query)
    assert prepared.uses_introspection
    assert prepared.depth <= 1


def test_introspection_below_a_typename_does_not_count() -> None:
    assert not build_engine().prepare("{ __typename plainJobs { __typename } }").uses_introspection


FULL_PAGE = """
query Console($jobs: Int = 100, $runs: Int = 20) {
  a: jobs(first: $jobs) { ...Jobs }
  b: jobs(first: 20) { ...Jobs }
  days { id status job { id title } }
  node(id: "job_1") {
    id
    ... on Job { title runs(first: 100) { edges { cursor node { ...Run job { id } } } } }
  }
}
fragment Jobs on JobConnection {
  pageInfo { hasNextPage }
  edges { cursor node { id title runs(first: $runs) { edges { cursor node { ...Run } } } } }
}
fragment Run on Run { id status __typename }
"""


def test_a_full_page_of_the_console_is_allowed() -> None:
    engine = build_engine()
    prepared = engine.prepare(FULL_PAGE)
    assert 10_000 < engine.cost(prepared, {}) < engine.limits.max_cost


@pytest.mark.parametrize(
    "document",
    [
        "{ nonsense { deeper { still } } }",
        "{ ...Missing }",
        "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }",
        "{ ...A } fragment A on Query { plainJobs { ...A } }",
        "{ ... on JobFilter { limit } }",
        "{ ... on Nonsense { limit } }",
        "query ($n: Nonsense) { jobs(first: $n) { edges { cursor } } }",
        "subscription { anything { at { all } } }",
        "type A { b: Int } { __typename }",
    ],
)
def test_an_invalid_document_is_left_to_the_standard_rules(document: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        build_engine().prepare(document)
    assert refused.value.code is ErrorCode.GRAPHQL_VALIDATION_FAILED


@pytest.mark.parametrize(
    "text",
    [
        '{ echo(value: "a @b {c: 1} # no comment") }',
        '{ echo(value: """a "quoted" \\""" @b """) }',
        '{ echo(value: "\\"@@@") }',
        "{ a: echo(value: {a: 1, b: [{c: 2}]}) }",
        "query ($a: Int @deprecated, $b: Int) { __typename }",
    ],
)
def test_text_in_strings_and_values_is_not_counted(text: str) -> None:
    with pytest.raises(Validated):
        build_engine(Limits(max_directives=1, max_aliases=1), rules=[Tripwire]).prepare(text)


def test_a_rule_of_ones_own_is_run() -> None:
    class Refusing(ASTValidationRule):
        def enter_field(self, *_arguments: object) -> None:
            self.report_error(GraphQLError("not today"))

    with pytest.raises(RequestRefused, match="not today"):
        build_engine(rules=[Refusing]).prepare("{ __typename }")
