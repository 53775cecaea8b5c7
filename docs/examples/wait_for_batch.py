"""Wait until a batch has ended, and say how it went; exits with 0 where every job succeeded, else with 1.

pip install 'gql[httpx]'
RUNGLASS_URL=http://127.0.0.1:8000/graphql RUNGLASS_KEY=rg_… python wait_for_batch.py batch_2b3b…
"""

import os
import sys
import time

from gql import Client, gql
from gql.transport.exceptions import TransportServerError
from gql.transport.httpx import HTTPXTransport

BATCH = gql("""
query Batch($id: ID!) {
  batch(id: $id) {
    status
    cost
    progress { total succeeded failed tokensUsed expectedEndAt }
  }
}
""")
ENDED = {"COMPLETED", "COMPLETED_WITH_FAILURES", "CANCELLED", "EXPIRED"}
SECONDS = float(os.environ.get("SECONDS_BETWEEN", "5"))


def main() -> int:
    """The exit code."""
    key = {"Authorization": f"Bearer {os.environ['RUNGLASS_KEY']}"}
    client = Client(transport=HTTPXTransport(os.environ["RUNGLASS_URL"], headers=key, timeout=60))
    BATCH.variable_values = {"id": sys.argv[1]}
    while True:
        try:
            batch = client.execute(BATCH)["batch"]
        except TransportServerError as error:
            # The server restarts, or its database is away: the batch goes on by itself.
            if error.code not in (429, 502, 503):
                raise
            print(f"{error}; trying again", file=sys.stderr)
            time.sleep(SECONDS)
            continue
        if batch is None:
            print("there is no such batch", file=sys.stderr)
            return 1
        if progress := batch["progress"]:
            print(
                f"{batch['status']}: {progress['succeeded']} succeeded and {progress['failed']} failed"
                f" of {progress['total']}, {progress['tokensUsed']} tokens, cost {batch['cost']}"
            )
        if batch["status"] in ENDED:
            return 0 if batch["status"] == "COMPLETED" else 1
        time.sleep(SECONDS)


if __name__ == "__main__":
    sys.exit(main())
