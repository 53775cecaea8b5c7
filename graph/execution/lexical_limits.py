"""Limits that a document's text shows before it is parsed.

The parser takes ten microseconds a lexeme; this scan takes a tenth of one and stops where a limit is passed.
"""

import re
from math import isfinite

from graph.errors import ApiError, ErrorCode
from graph.execution.limits import LimitExceeded, Limits

TOKEN = re.compile(
    r'#[^\n\r]*|"""(?:\\"""|[^"]|"{1,2}(?!"))*"""|"(?:[^"\\\n\r]|\\.)*"'
    r"|[_A-Za-z][_0-9A-Za-z]*|-?[0-9][0-9.eE+-]*|\.\.\.|[!$&()=:@\[\]{|}]"
)


NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
FLOAT_DIGITS = 300


def check_text(text: str, limits: Limits) -> None:
    """Raise `LimitExceeded` for too many characters, tokens, directives or aliases. A comment is a token.

    Counts at most what the parser would: text that is no GraphQL is left for the parser to name.
    """
    if len(text) > limits.max_document_length:
        raise _exceeded("length", limits.max_document_length, "characters")
    directives = aliases = parentheses = 0
    for tokens, match in enumerate(TOKEN.finditer(text), start=1):
        lexeme = match[0]
        if tokens > limits.max_tokens:
            raise _exceeded("tokens", limits.max_tokens, "tokens")
        if len(lexeme) > FLOAT_DIGITS or "e" in lexeme or "E" in lexeme:
            _check_number(lexeme)
        if lexeme == "@":
            directives += 1
        elif lexeme == "(":
            parentheses += 1
        elif lexeme == ")":
            parentheses -= 1
        elif lexeme == ":" and parentheses <= 0:
            aliases += 1
        if directives > limits.max_directives:
            raise _exceeded("directives", limits.max_directives, "directives")
        if aliases > limits.max_aliases:
            raise _exceeded("aliases", limits.max_aliases, "aliases")


def _check_number(lexeme: str) -> None:
    """graphql-core would hand a literal like 1e999 to a resolver as infinity, which JSON cannot express."""
    if NUMBER.fullmatch(lexeme) and not isfinite(float(lexeme)):
        raise ApiError(ErrorCode.GRAPHQL_VALIDATION_FAILED, "A number of the document is too large.")


def _exceeded(limit: str, maximum: int, noun: str) -> LimitExceeded:
    return LimitExceeded(limit, maximum, f"A document may hold at most {maximum} {noun}.")
