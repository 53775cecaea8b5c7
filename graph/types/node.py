"""The interface of everything that has an id."""

import strawberry


@strawberry.interface(description="An object with an id of its own, which `node` finds again.")
class Node:
    """Relay's Node."""

    id: strawberry.ID = strawberry.field(description="The typed id, such as job_42 or run_7.")
