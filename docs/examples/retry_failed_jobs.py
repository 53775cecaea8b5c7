"""Run the failed and cancelled jobs of a site again: a dry run, or, with --yes, the retry.

    pip install 'gql[httpx]'
    RUNGLASS_URL=http://127.0.0.1:8000/graphql RUNGLASS_KEY=rg_… \
        python retry_failed_jobs.py berlin 2026-11-24T08:00:00Z "the mail provider was down" --yes
"""

import argparse
import os
import sys
import uuid

from gql import Client, gql
from gql.transport.httpx import HTTPXTransport

RETRY = gql("""
mutation Retry($input: RetryJobsInput!) {
  retryJobs(input: $input) {
    __typename
    ... on RetriedJobs {
      matched
      count
      results { jobId job { id } refusal { code message } }
    }
    ... on Refusal { code message }
  }
}
""")


def main() -> int:
    """0 where every job was retried, or could be; 1 where some were refused, or all."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("site")
    arguments.add_argument("since", help="jobs created at or after this time")
    arguments.add_argument("reason", help="for the audit log")
    arguments.add_argument("--go-on", action="store_true", help="begin with the app that failed")
    arguments.add_argument("--yes", action="store_true", help="not only say what would be done")
    given = arguments.parse_args()
    key = {"Authorization": f"Bearer {os.environ['RUNGLASS_KEY']}"}
    client = Client(transport=HTTPXTransport(os.environ["RUNGLASS_URL"], headers=key, timeout=60))
    wanted = {
        "filter": {"siteId": given.site, "createdAt": {"from": given.since}},
        "from": "FAILED_APP" if given.go_on else "START",
        "reason": given.reason,
        "limit": 1000,
        "dryRun": not given.yes,
        # Where the answer is lost on its way, the same request again does nothing twice.
        "idempotencyKey": str(uuid.uuid4()),
    }
    RETRY.variable_values = {"input": wanted}
    answer = client.execute(RETRY)["retryJobs"]
    if answer["__typename"] != "RetriedJobs":
        print(f"{answer['code']}: {answer['message']}", file=sys.stderr)
        return 1
    print(f"{answer['count']} of {answer['matched']} jobs {'run again' if given.yes else 'would run again'}")
    refused = [each for each in answer["results"] if each["refusal"]]
    for each in refused:
        print(f"{each['jobId']}: {each['refusal']['message']}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
