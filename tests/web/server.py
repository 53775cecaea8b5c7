"""A small GraphQL server behind the explorer page, for the browser's test: `python server.py PORT_FILE`.

Answers UNAUTHENTICATED until the browser has been at /sign-in, which sets the cookie and leads to the explorer.
"""

import json
import socket
import sys
from pathlib import Path

import strawberry
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from graph.explorer import explorer_page, explorer_routes

UNAUTHENTICATED = {"message": "Sign in first: no key was sent.", "extensions": {"code": "UNAUTHENTICATED"}}


@strawberry.type(description="What one day of calls amounts to.")
class Day:
    calls: int = strawberry.field(description="How many calls were made.")
    success_rate: float = strawberry.field(description="Successful among finished calls, 0 to 1.")
    tokens: int = strawberry.field(description="Tokens used by all calls.")


@strawberry.type(description="The figures of a console's first page.")
class Dashboard:
    today: Day = strawberry.field(description="The day in progress.")


@strawberry.type
class Query:
    @strawberry.field(description="The figures of the first page. <style>body{display:none}</style>")
    def dashboard(self) -> Dashboard:
        return Dashboard(today=Day(calls=4711, success_rate=0.98, tokens=1_234_567))


schema = strawberry.Schema(query=Query)


async def graphql(request: Request) -> Response:
    if request.cookies.get("session") != "test":
        return JSONResponse({"errors": [UNAUTHENTICATED]})
    body = json.loads(await request.body())
    result = await schema.execute(
        body["query"], variable_values=body.get("variables"), operation_name=body.get("operationName")
    )
    errors = [error.formatted for error in result.errors or []]
    return JSONResponse({"data": result.data} | ({"errors": errors} if errors else {}))


async def page(request: Request) -> Response:
    return explorer_page(request)


async def sign_in(_request: Request) -> Response:
    response = RedirectResponse("/graphql", 303)
    response.set_cookie("session", "test", httponly=True, samesite="strict")
    return response


app = Starlette(
    routes=[
        Route("/graphql", page, methods=["GET"]),
        Route("/graphql", graphql, methods=["POST"]),
        Route("/sign-in", sign_in, methods=["GET"]),
        *explorer_routes(),
    ]
)


def main(port_file: Path) -> None:
    """Serve on a free port of the loopback address; the port is in `port_file` once connections are accepted."""
    listener = socket.create_server(("127.0.0.1", 0))
    partial = port_file.with_suffix(".partial")
    partial.write_text(str(listener.getsockname()[1]))
    partial.rename(port_file)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
