"""The compiler: runs operations of a Strawberry schema as graphql-core's executor does, in less time.

graphql-core's executor looks at the document again for every value of an answer: some 7 µs for a field that
only reads an attribute. The compiler looks at an operation once and keeps a plan of it.

    compiler = make_compiler(schema)               # None: the libraries' versions are not known
    operation = compiler.operation(document, node) # None: the standard executor runs the operation
    run = operation.run(variables)                 # None: the standard executor runs this request
    data, errors = await run(context, root)

There are two ways and nothing between them: a plan runs the whole operation, or graphql-core's executor does.
Which of them is decided before a resolver is called, so nothing is ever run twice.

The modules, in the order in which they work:

- `plan` collects the fields of an operation, with its fragments and conditions (@skip, @include), into a tree
  of selections. It refuses what plans cannot say: introspection, subscriptions, other directives, variables
  of fragments, and operations of more than 1,000 fields or 40 levels.
- `arguments` prepares the call of a resolver: what its arguments are made of.
- `execution` is the algorithm of the GraphQL specification on that tree: it calls resolvers, completes their
  values, makes errors, and lets null rise to the nearest place that may be null. Resolvers of a level are all
  called before the first of them is awaited, so that loaders can load for all of them at once.
- `source` writes a Python function for a selection in which nothing is called but getters: attributes, and
  methods that take only the row, and in which all types are object types, scalars and enums. That is most of
  an answer, and the function takes a tenth of the time. It knows values of the expected kind only. When it
  meets another one (an exception, null where none may be, an awaitable) it gives up, and `execution`
  completes the same value from the start and makes the errors. Therefore a getter may be called twice and
  must have no effects; so must serialisers and `is_type_of`, which reads of the info only schema and field.
- `adapter` holds everything of Strawberry and graphql-core that is not public.

A plan holds nothing of a request. The compiler keeps plans of 10,000 fields, those that were used last.
"""

from __future__ import annotations

import logging
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphql import GraphQLSchema

    from graph.compiler.plan import Compiler

__all__ = ["KNOWN", "make_compiler"]

log = logging.getLogger(__name__)

KNOWN = {"strawberry-graphql": "0.341.", "graphql-core": "3.3."}
"""The beginnings of the versions that `adapter` was written for."""


def make_compiler(
    schema: GraphQLSchema, *, hide_suggestions: bool = False, versions: dict[str, str] | None = None
) -> Compiler | None:
    """A compiler for a schema that Strawberry has made, or None where the libraries' versions are not known.

    `hide_suggestions` leaves names of the schema out of errors. `versions` are the installed ones by default.
    """
    found = versions or {name: version(name) for name in KNOWN}
    unknown = [f"{name} {found[name]}" for name, known in KNOWN.items() if not found[name].startswith(known)]
    if unknown:
        log.warning("%s: operations run without the compiler", ", ".join(unknown))
        return None
    # Only now, because other versions may lack names that it imports.
    from graph.compiler.plan import Compiler

    return Compiler(schema, hide_suggestions=hide_suggestions)
